"""Tests for segnet_jax/data/datasets/sunrgbd.py."""

import logging
import pickle
import shutil

import numpy as np
import pytest
import scipy.io
from PIL import Image

from segnet_jax.data.class_table import VOID, UnknownLabelError
from segnet_jax.data.datasets.indoor_classes import INDOOR13, SUNRGBD37
from segnet_jax.data.datasets.sunrgbd import SunRgbd
from segnet_jax.data.faults import collected
from segnet_jax.errors import InputError
from tests.helpers.camvid_files import save
from tests.helpers.indoor_files import (
    DISK,
    SCENES,
    SIZE,
    Hdf5Writer,
    cell,
    depths_of,
    images_of,
    labels_of,
    rotated,
    save_jpg,
    write_toolbox,
)

pytest.importorskip("h5py", reason="h5py comes with requirements-data.txt")
RGBD = ("rgb", "depth")


def of_37(ids):
    """Labels as they should be: 0 is void, and class k is k - 1."""
    return np.where(ids == 0, VOID, ids.astype(np.int64) - 1)


@pytest.mark.parametrize("as_hdf5", [False, True])
def test_sunrgbd_toolbox(tmp_path, as_hdf5):
    images, labels, filled, raw = write_toolbox(tmp_path, as_hdf5=as_hdf5)
    places = [*SCENES]
    for split, numbers in {"test": [0, 1], "train": [2, 3, 4], "train_half": [2, 4], "val": [3]}.items():
        dataset = SunRgbd(tmp_path, split)
        assert (dataset.name, dataset.split, dataset.class_table) == ("sunrgbd", split, SUNRGBD37)
        assert (dataset.modalities, dataset.modality_names) == ((3,), ("rgb",))
        assert dataset.names == [places[number].strip("/") for number in numbers]
        assert [dataset.shape(i) for i in range(len(dataset))] == [SIZE] * len(numbers)
        for example, number in zip([dataset[i] for i in range(len(dataset))], numbers, strict=True):
            assert (example["image"].dtype, example["label"].dtype) == (np.uint8, np.uint8)
            np.testing.assert_array_equal(example["image"], images[number])
            np.testing.assert_array_equal(example["label"], of_37(labels[number]))


@pytest.mark.parametrize("raw_depth", [False, True])
def test_sunrgbd_toolbox_depth_is_in_metres_with_holes_marked(tmp_path, raw_depth):
    images, labels, filled, raw = write_toolbox(tmp_path)
    dataset = SunRgbd(tmp_path, "train", modalities=RGBD, raw_depth=raw_depth)
    assert (dataset.modalities, dataset.modality_names) == ((3, 1), RGBD)
    example = pickle.loads(pickle.dumps(dataset))[1]
    millimetres = (raw if raw_depth else filled)[3].astype(np.float64)
    expected = np.where(millimetres == 0, np.nan, np.minimum(millimetres / 1000, 8))
    assert np.isnan(expected[0, 0]) == raw_depth and expected[1:].max() == 8
    assert example["image"].dtype == np.float32
    np.testing.assert_array_equal(example["image"][..., :3], images[3])
    np.testing.assert_allclose(example["image"][..., 3], expected, rtol=1e-6)
    np.testing.assert_array_equal(example["label"], of_37(labels[3]))


def test_sunrgbd_toolbox_in_13_classes(tmp_path):
    _, labels, *_ = write_toolbox(tmp_path / "data")
    dataset = SunRgbd(tmp_path, "val", class_set="13")  # the data may lie one folder deeper
    assert dataset.class_table == INDOOR13
    found = dataset.label(0)
    # Wall and door are wall, table and desk are table, blinds and curtain are window.
    for name, ids in {"wall": (1, 8), "table": (7, 14), "window": (9, 13, 16), "bed": (4,)}.items():
        assert (found == INDOOR13.names.index(name)).tolist() == np.isin(labels[3], ids).tolist()
    np.testing.assert_array_equal(found == VOID, labels[3] == 0)


def test_sunrgbd_fingerprint_tells_a_change_of_the_labels(tmp_path):
    write_toolbox(tmp_path)
    before = SunRgbd(tmp_path, "train").fingerprint()
    assert SunRgbd(tmp_path, "train").fingerprint() == before
    with Hdf5Writer(tmp_path / "SUNRGBDtoolbox" / "Metadata" / "SUNRGBD2Dseg.mat") as file:
        file.cells("SUNRGBD2Dseg/seglabel", labels_of(5, 37, seed=9))
    assert SunRgbd(tmp_path, "train").fingerprint() != before


def write_numbered(root, counts=(3, 2), classes=37, depth_of=rotated):
    """Images numbered from 1 in each split, with labels of one folder, those of the test images first."""
    test, train = counts
    labels, depths = labels_of(test + train, classes), depths_of(test + train)
    images = []
    for split, count, first in (("test", test, 0), ("train", train, test)):
        for i in range(count):
            path = root / f"SUNRGBD-{split}_images" / f"img-{i + 1:06d}.jpg"
            save_jpg(path, images_of(test + train)[first + i])
            images.append(np.array(Image.open(path)))
            save(root / f"sunrgbd_{split}_depth" / f"{i + 1}.png", depth_of(depths[first + i]))
            if classes == 13:
                save(root / f"{split}13labels" / f"img13labels-{i + 1:06d}.png", labels[first + i])
            else:
                number = i + 1 + (5050 if split == "train" else 0)
                save(root / "sunrgbd_train_test_labels" / f"img-{number:06d}.png", labels[first + i])
    return images, labels, depths


def test_sunrgbd_numbered_images_and_labels_of_one_folder(tmp_path, caplog):
    images, labels, depths = write_numbered(tmp_path)
    with caplog.at_level(logging.WARNING, "segnet_jax"):
        train = SunRgbd(tmp_path, "train", modalities=RGBD)
    assert "holds only 2 of the 5285 images of SUN RGB-D's train split" in caplog.text
    assert train.names == ["img-000001", "img-000002"]
    np.testing.assert_array_equal(train[1]["image"][..., :3], images[4])
    expected = np.where(depths[4] == 0, np.nan, np.minimum(depths[4] / 1000.0, 8))
    np.testing.assert_allclose(train[1]["image"][..., 3], expected, rtol=1e-6)
    np.testing.assert_array_equal(train.label(1), of_37(labels[4]))
    test = SunRgbd(tmp_path, "test")
    np.testing.assert_array_equal(test[2]["image"], images[2])
    np.testing.assert_array_equal(test[2]["label"], of_37(labels[2]))
    assert len(SunRgbd(tmp_path, "test", class_set="13")) == 3


def test_sunrgbd_numbered_images_with_labels_of_13_classes(tmp_path):
    images, labels, _ = write_numbered(tmp_path, classes=13)
    train = SunRgbd(tmp_path, "train", class_set="13")
    np.testing.assert_array_equal(train[0]["image"], images[3])
    np.testing.assert_array_equal(train[0]["label"], of_37(labels[3]))
    with pytest.raises(InputError, match=r"holds no train split of SUN RGB-D with 37 classes .* https://rgbd"):
        SunRgbd(tmp_path, "train")


def write_pairs(root, labels, split="train", folder="label37", suffix="37", with_list=True, with_depth=True):
    lines = []
    for i, (image, label, depth) in enumerate(zip(images_of(5), labels, depths_of(5), strict=False), start=1):
        files = [f"image/{split}/img-{i:06d}.jpg", f"depth/{split}/{i:08d}.png", f"{folder}/{split}/{i:08d}.png"]
        save_jpg(root / files[0], image)
        if with_depth:
            save(root / files[1], rotated(depth))
        save(root / files[2], label)
        lines.append(" ".join(files if with_depth else files[::2]))
    if with_list:
        (root / f"{split}{suffix}.txt").write_text("\n".join(lines))
    return root


@pytest.mark.parametrize("with_list", [True, False])
@pytest.mark.parametrize("from_zero", [True, False])
def test_sunrgbd_pairs_of_either_numbering(tmp_path, with_list, from_zero):
    ids = labels_of(3, 37)
    ids[0] %= 9  # the first label has no sign of the numbering but 0 and 255
    folder = "semseg-label37" if from_zero else "label37"
    write_pairs(tmp_path, ids - np.uint8(from_zero), "test", folder, with_list=with_list)
    dataset = SunRgbd(tmp_path, "test", modalities=RGBD)
    for i in range(3):
        np.testing.assert_array_equal(dataset.label(i), of_37(ids[i]))
    expected = np.where(depths_of(5)[2] == 0, np.nan, np.minimum(depths_of(5)[2] / 1000.0, 8))
    np.testing.assert_allclose(dataset[2]["image"][..., 3], expected, rtol=1e-6)


def test_sunrgbd_pairs_are_numbered_as_both_splits_tell(tmp_path):
    train, test = labels_of(2, 36), labels_of(2, 20)
    test[:, 0, 2] = 255
    write_pairs(tmp_path, train, with_list=False)
    with pytest.raises(InputError, match=r"up to 36, without 255, which for 37 classes fits .*; set data\.label_start"):
        SunRgbd(tmp_path, "train")
    np.testing.assert_array_equal(SunRgbd(tmp_path, "train", label_start=1).label(0), of_37(train[0]))
    write_pairs(tmp_path, test, "test", with_list=False)
    for split, labels in (("train", train), ("test", test)):
        np.testing.assert_array_equal(SunRgbd(tmp_path, split).label(1), labels[1])
    assert SunRgbd(tmp_path, "train").fingerprint() != SunRgbd(tmp_path, "train", label_start=1).fingerprint()


def test_sunrgbd_names_all_labels_of_the_toolbox_of_another_size(tmp_path):
    images, labels, *_ = write_toolbox(tmp_path)
    with Hdf5Writer(tmp_path / "SUNRGBDtoolbox" / "Metadata" / "SUNRGBD2Dseg.mat") as file:
        file.cells("SUNRGBD2Dseg/seglabel", [labels[0], labels[1], labels[2][1:], labels[3], labels[4][:, 2:]])
    with collected() as found:
        dataset = SunRgbd(tmp_path, "train")
    assert len(found) == 2 and "NYU0003 is (5, 8) pixels" in found[0] and "img_0063 is (6, 6) pixels" in found[1]
    assert (dataset.names, dataset.shape(0)) == (["xtion/sun3ddata/hotel/0001_c"], SIZE)
    np.testing.assert_array_equal(dataset[0]["image"], images[3])
    np.testing.assert_array_equal(dataset[0]["label"], of_37(labels[3]))


def test_sunrgbd_pairs_of_13_classes_and_in_another_unit(tmp_path):
    ids = labels_of(2, 13)
    write_pairs(tmp_path, ids, folder="label13", suffix="13")
    for i in range(2):
        save(tmp_path / "depth" / "train" / f"{i + 1:08d}.png", 15001 + np.arange(48, dtype=np.uint16).reshape(SIZE))
    dataset = SunRgbd(tmp_path, "train", class_set="13", modalities=RGBD, depth_scale=10000)
    np.testing.assert_array_equal(dataset.label(1), of_37(ids[1]))
    np.testing.assert_allclose(dataset[1]["image"][..., 3], 1.5001 + np.arange(48).reshape(SIZE) / 1e4, rtol=1e-6)
    with pytest.raises(InputError, match=r"00000002\.png is not coded as .* toolbox is; set data\.depth_scale to the"):
        SunRgbd(tmp_path, "train", class_set="13", modalities=RGBD)[1]


def test_sunrgbd_refuses_values_that_it_does_not_know(tmp_path):
    write_pairs(tmp_path, labels_of(1, 37))
    for options, message in (
        ({"split": "dev"}, r"SUN RGB-D has no split 'dev'; use one of train, test, train_half, val"),
        (
            {"split": "val"},
            r"does not tell which images are in the split 'val'; use train or test, or get the toolbox's",
        ),
        ({"class_set": "40"}, r"data\.class_set='40', but sunrgbd has 37 and 13"),
        (
            {"modalities": ("depth",)},
            r"data\.modalities=\('depth',\), but sunrgbd has \('rgb',\) and \('rgb', 'depth'\)",
        ),
        (
            {"raw_depth": True, "modalities": RGBD},
            r"has one kind of depth, and data\.raw_depth=True chooses between two",
        ),
    ):
        with pytest.raises(InputError, match=message):
            SunRgbd(tmp_path, **options)
    with pytest.raises(
        InputError, match=r"none is not a folder; set data\.root to that of SUN RGB-D, obtained from htt"
    ):
        SunRgbd(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty holds no train split of SUN RGB-D with 37 classes"):
        SunRgbd(tmp_path / "empty")


@pytest.mark.parametrize(
    "missing",
    [
        "traintestSUNRGBD/allsplit.mat",
        "Metadata/SUNRGBDMeta.mat",
        "Metadata/SUNRGBD2Dseg.mat",
    ],
)
def test_sunrgbd_names_the_file_of_the_toolbox_that_is_missing(tmp_path, missing):
    write_toolbox(tmp_path)
    (tmp_path / "SUNRGBDtoolbox" / missing).unlink()
    with pytest.raises(InputError, match=rf"{missing} does not exist; it is obtained from https://rgbd\.cs\.princeton"):
        SunRgbd(tmp_path, "train")


def test_sunrgbd_names_the_toolbox_if_only_its_images_are_there(tmp_path):
    write_toolbox(tmp_path)
    shutil.rmtree(tmp_path / "SUNRGBDtoolbox")
    with pytest.raises(InputError, match=r"SUNRGBDtoolbox/traintestSUNRGBD/allsplit\.mat does not exist; it is obtain"):
        SunRgbd(tmp_path, "train")


def test_sunrgbd_counts_images_that_are_missing(tmp_path):
    write_toolbox(tmp_path)
    shutil.rmtree(tmp_path / "SUNRGBD" / "kv1")
    with pytest.raises(
        InputError, match=r"NYU0003/image/0000002\.jpg does not exist \(4 of 6 files of the split are mis"
    ):
        SunRgbd(tmp_path, "train", modalities=RGBD)
    write_numbered(tmp_path / "numbered")
    (tmp_path / "numbered" / "sunrgbd_train_test_labels" / "img-005052.png").unlink()
    with pytest.raises(InputError, match=r"labels holds no file of the number 5052 \(1 are missing for the images in "):
        SunRgbd(tmp_path / "numbered", "train")
    shutil.rmtree(tmp_path / "numbered" / "sunrgbd_test_depth")
    with pytest.raises(InputError, match=r"sunrgbd_test_depth holds no file of the number 1 \(3 are missing"):
        SunRgbd(tmp_path / "numbered", "test", modalities=RGBD)


def test_sunrgbd_refuses_files_of_the_toolbox_that_do_not_belong_together(tmp_path):
    write_toolbox(tmp_path)
    metadata = tmp_path / "SUNRGBDtoolbox" / "Metadata"
    with Hdf5Writer(metadata / "SUNRGBD2Dseg.mat") as file:
        file.cells("SUNRGBD2Dseg/seglabel", labels_of(4, 37))
    with pytest.raises(
        InputError, match=r"SUNRGBDMeta\.mat describes 5 images and .* holds 4 labels; get both from http"
    ):
        SunRgbd(tmp_path, "train")
    scipy.io.savemat(metadata / "SUNRGBD2Dseg.mat", {"SUNRGBD2Dseg": np.zeros(3)})
    with pytest.raises(InputError, match=r"SUNRGBD2Dseg\.mat is not of MATLAB's version 7\.3"):
        SunRgbd(tmp_path, "train")
    with Hdf5Writer(metadata / "SUNRGBD2Dseg.mat") as file:
        file.cells("SUNRGBD2Dseg/seglabel", labels_of(5, 37, size=(6, 7)))
    with pytest.raises(InputError, match=r"the label of kv1/NYUdata/NYU0003 is \(6, 7\) pixels .*2\.jpg is \(6, 8\)"):
        SunRgbd(tmp_path, "train")
    extra = [f"{DISK}/kv1/NYUdata/NYU0003", f"{DISK}/kv1/NYUdata/NYU9999"]
    scipy.io.savemat(metadata.parent / "traintestSUNRGBD" / "allsplit.mat", {"alltrain": cell(extra)})
    with pytest.raises(
        InputError, match=r"SUNRGBDMeta\.mat lacks kv1/NYUdata/NYU9999 \(1 scenes in all\) of the split"
    ):
        SunRgbd(tmp_path, "train")


def test_sunrgbd_refuses_labels_and_depth_that_do_not_fit(tmp_path):
    write_pairs(tmp_path, labels_of(2, 38))
    with pytest.raises(UnknownLabelError, match=r"00000002\.png: the label id 38 at row \d, column \d is not in .*37'"):
        SunRgbd(tmp_path, "train").label(1)
    save(tmp_path / "depth" / "train" / "00000002.png", np.zeros((6, 9), np.uint16))
    with pytest.raises(InputError, match=r"depth/train/00000002\.png is 6x9 pixels .*img-000002\.jpg is 6x8"):
        SunRgbd(tmp_path, "train", modalities=RGBD)
    save(tmp_path / "depth" / "train" / "00000002.png", np.zeros(SIZE, np.uint8))
    with pytest.raises(
        InputError, match=r"00000002\.png is a PNG file of the mode L and holds no depth; give a gray PNG"
    ):
        SunRgbd(tmp_path, "train", modalities=RGBD)[1]
    save(tmp_path / "label37" / "train" / "00000001.png", np.zeros((*SIZE, 3), np.uint8))
    with pytest.raises(InputError, match=r"00000001\.png holds colours and not the ids of classes"):
        SunRgbd(tmp_path, "train")
    (tmp_path / "label37" / "train" / "00000001.png").unlink()
    with pytest.raises(InputError, match=r"label37/train/00000001\.png does not exist \(1 of 4 .* obtained from https"):
        SunRgbd(tmp_path, "train")
    (tmp_path / "train37.txt").write_text("image/train/img-000001.jpg label37/train/00000001.png")
    with pytest.raises(
        InputError, match=r"Line 1 of .*train37\.txt is 'image.*'; give the paths of image, depth and la"
    ):
        SunRgbd(tmp_path, "train", modalities=RGBD)
    (tmp_path / "train37.txt").write_text("\n")
    with pytest.raises(InputError, match=r"train37\.txt lists no image"):
        SunRgbd(tmp_path, "train")


def test_sunrgbd_real_pair_in_both_numberings(samples_root, tmp_path):
    pairs = samples_root / "sunrgbd" / "pairs"
    dataset = SunRgbd(pairs, "train")
    assert (len(dataset), dataset.shape(0)) == (1, (530, 730))
    label = dataset[0]["label"]
    present = {dataset.class_table.names[k] for k in np.unique(label[label != VOID])}
    assert {"wall", "floor", "chair", "table", "whiteboard", "bag"} - present == {"whiteboard"}
    (tmp_path / "train37.txt").write_text(
        f"{pairs}/image/train/img-000001.jpg {pairs}/label37_raw0_37_DERIVED/train/00000001.png"
    )
    again = SunRgbd(tmp_path, "train")
    # The derived file has a class for some pixels that the other leaves out; where both have one they agree.
    other = again.label(0)
    both = (label != VOID) & (other != VOID)
    assert both.mean() > 0.8
    np.testing.assert_array_equal(label[both], other[both])


def test_sunrgbd_real_scenes_of_the_toolbox(samples_root, tmp_path):
    native = samples_root / "sunrgbd" / "native_tree"
    scenes = {
        "kv1/b3dodata/img_0063": ("img_0063.jpg", "img_0063_abs.png", (427, 561)),
        "kv2/align_kv2/2014-12-18_11-31-54_260595134347": ("0000144.jpg", "0000144.png", (530, 730)),
    }
    toolbox = tmp_path / "SUNRGBDtoolbox"
    (toolbox / "Metadata").mkdir(parents=True)
    (tmp_path / "SUNRGBD").symlink_to(native / "SUNRGBD")
    described = np.zeros((1, 2), [("rgbpath", object), ("depthpath", object)])
    labels = []
    for number, (scene, (color, depth, size)) in enumerate(scenes.items()):
        described[0, number] = (f"{DISK}/{scene}/image/{color}", f"{DISK}/{scene}/depth_bfx/{depth}")
        labels.append(np.full(size, number + 1, np.uint8))
    scipy.io.savemat(toolbox / "Metadata" / "SUNRGBDMeta.mat", {"SUNRGBDMeta": described})
    with Hdf5Writer(toolbox / "Metadata" / "SUNRGBD2Dseg.mat") as file:
        file.cells("SUNRGBD2Dseg/seglabel", labels)
    # The real lists name 10,333 scenes more, which is told.
    shutil.copytree(native / "SUNRGBDtoolbox" / "traintestSUNRGBD", toolbox / "traintestSUNRGBD")
    with pytest.raises(InputError, match=r"\((5284|5285) scenes in all\) of the split 'train'"):
        SunRgbd(tmp_path, "train")
    lists = toolbox / "traintestSUNRGBD" / "allsplit.mat"
    lists.chmod(0o644)
    scipy.io.savemat(lists, {"alltrain": cell([f"{DISK}/{scene}" for scene in scenes])})

    filled = SunRgbd(tmp_path, "train", modalities=RGBD)
    raw = SunRgbd(tmp_path, "train", modalities=RGBD, raw_depth=True)
    assert [filled.shape(i) for i in range(2)] == [(427, 561), (530, 730)]
    holes = []
    for i in range(2):
        metres, measured = filled[i]["image"][..., 3], raw[i]["image"][..., 3]
        assert np.isfinite(metres).all() and 0.6 < metres.min() < metres.max() < 4
        holes.append(float(np.isnan(measured).mean()))
        assert np.abs(metres - measured)[np.isfinite(measured)].mean() < 0.1
    assert holes == pytest.approx([0.3234, 0.1340], abs=1e-3)
    assert filled.label(1).shape == (530, 730) and (filled.label(1) == 1).all()
