"""Writes small data sets in the layouts of SUN RGB-D and NYUv2, with the files of MATLAB that they have."""

import numpy as np
import scipy.io
from PIL import Image

from tests.helpers.camvid_files import save

SIZE = (6, 8)
DISK = "/n/fs/sun3d/data/SUNRGBD"
# In the order of the toolbox's description, with the split of each; the path of some ends in a slash there.
SCENES = {
    "kv2/kinect2data/000002_a-resize": "test",
    "realsense/sa/2014_b/": "test",
    "kv1/NYUdata/NYU0003": "train",
    "xtion/sun3ddata/hotel/0001_c": "train",
    "kv1/b3dodata/img_0063": "train",
}
HALVES = {"kv1/NYUdata/NYU0003": "train", "xtion/sun3ddata/hotel/0001_c": "val", "kv1/b3dodata/img_0063": "train"}


def images_of(count, seed=0, size=SIZE):
    return np.random.default_rng(seed).integers(0, 256, (count, *size, 3), np.uint8)


def labels_of(count, highest, seed=1, size=SIZE):
    """Ids from 0 to `highest`, both of which every label holds."""
    labels = np.random.default_rng(seed).integers(0, highest + 1, (count, *size), np.uint8)
    labels[:, 0, 0], labels[:, 0, 1] = 0, highest
    return labels


def rotated(millimetres):
    """The code of SUN RGB-D's depth files, worked out from its definition: 16 bits, rotated left by 3."""
    return ((millimetres.astype(np.uint32) * 8) % 65536 + millimetres // 8192).astype(np.uint16)


def depths_of(count, seed=2, size=SIZE):
    """Millimetres up to 9 m, 0 in the first pixel."""
    depth = np.random.default_rng(seed).integers(500, 9000, (count, *size)).astype(np.uint16)
    depth[:, 0, 0] = 0
    return depth


def save_jpg(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, quality=95)


class Hdf5Writer:
    """Writes a .mat file as MATLAB's version 7.3 does: HDF5 after a header, axes reversed, cells as references."""

    def __init__(self, path):
        import h5py

        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self.file = h5py.File(path, "w", userblock_size=512)
        self.reference = h5py.ref_dtype
        self.count = 0

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()
        with open(self.path, "r+b") as file:
            file.write(
                b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Mon Jan  1 00:00:00 2015 HDF5 schema 1.00 ."
            )

    def array(self, name, value, **options):
        value = np.asarray(value)
        dataset = self.file.create_dataset(name, data=value.T, **options)
        dataset.attrs["MATLAB_class"] = np.bytes_(value.dtype.name.replace("float32", "single"))
        return dataset

    def text(self, name, value):
        codes = np.array([[ord(c)] for c in value], np.uint16) if value else np.zeros(2, np.uint64)
        dataset = self.file.create_dataset(name, data=codes)
        dataset.attrs["MATLAB_class"] = np.bytes_("char")
        if not value:
            dataset.attrs["MATLAB_empty"] = np.uint8(1)

    def cells(self, name, values):
        references = []
        for value in values:
            self.count += 1
            target = f"#refs#/{self.count}"
            (self.text if isinstance(value, str) else self.array)(target, value)
            references.append([self.file[target].ref])
        self.file.create_dataset(name, data=np.array(references, self.reference), dtype=self.reference)


def cell(values):
    array = np.empty((1, len(values)), object)
    array[0] = values
    return array


def write_toolbox(root, scenes=SCENES, labels=None, size=SIZE, as_hdf5=False):
    """The toolbox's layout; returns the images (as they are decoded), the labels and both kinds of millimetres."""
    count = len(scenes)
    labels = labels_of(count, 37, size=size) if labels is None else labels
    pictures, filled, raw = images_of(count, size=size), depths_of(count, size=size) + 1, depths_of(count, size=size)
    decoded, colors, depths = [], [], []
    for number, scene in enumerate(scenes):
        folder = root / "SUNRGBD" / scene
        save_jpg(folder / "image" / f"{number:07d}.jpg", pictures[number])
        decoded.append(np.array(Image.open(folder / "image" / f"{number:07d}.jpg")))
        save(folder / "depth_bfx" / f"{number:07d}_abs.png", rotated(filled[number]))
        save(folder / "depth" / f"{number:07d}_abs.png", rotated(raw[number]))
        colors.append(f"{DISK}/{scene}/image/{number:07d}.jpg")
        depths.append(f"{DISK}/{scene}/depth_bfx/{number:07d}_abs.png")
    toolbox = root / "SUNRGBDtoolbox"
    (toolbox / "traintestSUNRGBD").mkdir(parents=True)
    (toolbox / "Metadata").mkdir()
    of = {split: [f"{DISK}/{scene}" for scene, s in scenes.items() if s == split] for split in ("train", "test")}
    half = {split: [f"{DISK}/{scene}" for scene, s in HALVES.items() if s == split] for split in ("train", "val")}
    scipy.io.savemat(
        toolbox / "traintestSUNRGBD" / "allsplit.mat",
        {
            "alltrain": cell(of["train"]),
            "alltest": cell(of["test"]),
            "trainvalsplit": {split: cell(paths).T for split, paths in half.items()},
        },
    )
    meta = toolbox / "Metadata" / "SUNRGBDMeta.mat"
    if as_hdf5:
        with Hdf5Writer(meta) as file:
            file.cells("SUNRGBDMeta/rgbpath", colors)
            file.cells("SUNRGBDMeta/depthpath", depths)
    else:
        described = np.zeros((1, count), [("sequenceName", object), ("rgbpath", object), ("depthpath", object)])
        for number in range(count):
            described[0, number] = ("", colors[number], depths[number])
        scipy.io.savemat(meta, {"SUNRGBDMeta": described})
    with Hdf5Writer(toolbox / "Metadata" / "SUNRGBD2Dseg.mat") as file:
        file.cells("SUNRGBD2Dseg/seglabel", labels)
    return decoded, labels, filled, raw


def write_nyuv2(root, count=5, train=(3, 5), test=(1, 2, 4), names=894, size=SIZE, **options):
    """The authors' file, the split and the map to 40 classes; returns images, ids, metres, raw metres and the map."""
    rng = np.random.default_rng(7)
    images = images_of(count, size=size)
    ids = rng.integers(0, names + 1, (count, *size)).astype(np.uint16)
    ids[:, 0, 0] = 0
    metres = rng.uniform(0.7, 9.9, (count, *size)).astype(np.float32)
    raw = metres.copy()
    raw[:, 0, 0], raw[:, 0, 1] = 0, 10
    with Hdf5Writer(root / "nyu_depth_v2_labeled.mat") as file:
        file.array("images", images.transpose(1, 2, 3, 0), **options)
        file.array("labels", ids.transpose(1, 2, 0), **options)
        file.array("depths", metres.transpose(1, 2, 0), **options)
        file.array("rawDepths", raw.transpose(1, 2, 0), **options)
    scipy.io.savemat(
        root / "splits.mat",
        {"trainNdxs": np.array(train, np.uint16)[:, None], "testNdxs": np.array(test, np.uint16)[:, None]},
    )
    mapped = rng.integers(1, 41, (1, names)).astype(np.uint8)
    scipy.io.savemat(root / "classMapping40.mat", {"mapClass": mapped})
    return images, ids, metres, raw, mapped[0]
