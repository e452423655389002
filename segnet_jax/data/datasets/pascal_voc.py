"""PASCAL VOC's segmentation (Everingham et al. 2010) in 21 classes, with the further labels of SBD."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from segnet_jax.data import image_files
from segnet_jax.data.class_table import ClassTable, SegmentationClass, palette_color
from segnet_jax.data.datasets.class_set import ClassSet
from segnet_jax.data.datasets.paired_files import PairedFiles
from segnet_jax.errors import InputError

_NAMES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)

VOC21 = ClassTable(
    "voc21",
    (
        *(SegmentationClass(name, number, palette_color(number)) for number, name in enumerate(_NAMES)),
        SegmentationClass("void", 255, palette_color(255), ignored=True),
    ),
)
"""The background and VOC's 20 classes, in its order and colours; 255 are the edges of objects and what is difficult."""

_LISTS = "ImageSets/Segmentation"
_AUGMENTED = "train_aug"
_SBD = "benchmark_RELEASE/dataset/cls"
_SBD_PAGE = "http://home.bharathh.info/pubs/codes/SBD/download.html"


class PascalVoc(PairedFiles):
    """One split of PASCAL VOC, in `root` or a folder at most two below, as `VOCdevkit/VOC2012`.

    `JPEGImages/*.jpg`, `SegmentationClass/*.png` (palette files, whose indices are the classes), and
    `ImageSets/Segmentation/<split>.txt` with a name a line.

    The split "train_aug" adds to "train" what Hariharan et al. (2011) labelled, SBD, without the images of "val": the
    labels are `SegmentationClassAug/*.png`, or else those of SBD's own files, `benchmark_RELEASE/dataset/cls/*.mat` in
    `root`, beside `VOC2012` or beside `VOCdevkit`, but for the images of "train", which keep VOC's. The split's images
    are those of `ImageSets/Segmentation/train_aug.txt` (or `trainaug.txt`), or without such a list all that are
    labelled and not in `val.txt`.
    """

    name = "pascal_voc"
    title = "PASCAL VOC"
    page = "http://host.robots.ox.ac.uk/pascal/VOC/"

    def __init__(self, root: image_files.StrPath, split: str = "train") -> None:
        """Finds the files of the split.

        Args:
          root: the folder of the data.
          split: "train_aug" or a list in `ImageSets/Segmentation`: "train", "val" or "trainval".

        Raises:
          InputError: the layout is unknown, there is no list of the split, files are missing, or a label is of another
            size than its image.
        """
        folder, _ = self._find_folder(Path(root), [("JPEGImages", _LISTS)])
        if split == _AUGMENTED:
            labels = _augmented_labels(folder, Path(root))
            self.page = f"{self.page} and, for SBD, {_SBD_PAGE}"
        else:
            own = folder / "SegmentationClass"
            has_list = (folder / _LISTS / f"{split}.txt").is_file()
            names = _listed(folder, [split], "list its images there") if has_list or split != "test" else []
            labels = {name: own / f"{name}.png" for name in names}
            if split == "test" and not any(path.is_file() for path in labels.values()):  # 2007's are public
                self._refuse_split(split, ("train", "val"), unlabelled="test")
        pairs = {name: (folder / "JPEGImages" / f"{name}.jpg", path) for name, path in labels.items()}
        super().__init__(folder, split, pairs, ClassSet.own(VOC21))

    def label(self, index: int) -> np.ndarray:
        """Reads the label alone, uint8 [H, W]."""
        label = super().label(index)
        if label.shape != self._shapes[index]:  # only a file of SBD, whose size is not in its header
            image, path = self._paths[index]
            raise InputError(
                f"{path} is {label.shape[0]}x{label.shape[1]} pixels (height x width) but its image {image} is "
                f"{self._shapes[index][0]}x{self._shapes[index][1]}; copy both again from where they are obtained."
            )
        return label

    def _read_mask(self, path: str) -> np.ndarray:
        return read_sbd(path) if path.endswith(".mat") else image_files.read_mask(path)

    def _shape_of(self, pair: tuple[str, str]) -> tuple[int, int]:
        return image_files.image_shape(pair[0]) if pair[1].endswith(".mat") else image_files.common_shape(pair)


def read_sbd(path: image_files.StrPath) -> np.ndarray:
    """Reads a label file of SBD, MATLAB's `GTcls.Segmentation`.

    Returns:
      uint8 [H, W], 0 (background) to 20.

    Raises:
      InputError: the file is missing, damaged or another kind of MATLAB file.
    """
    from scipy.io import loadmat  # takes a third of a second, and only these files need it

    try:
        mask = loadmat(path, squeeze_me=True)["GTcls"]["Segmentation"].item()
    except Exception as error:  # SciPy raises almost any built-in one on damaged files
        reason = str(error) or type(error).__name__
        raise InputError(
            f"{path} cannot be read as a label file of SBD, a MATLAB file of version 5 with GTcls.Segmentation "
            f"({reason}); get it again at {_SBD_PAGE}."
        ) from error
    if mask.min() < 0 or mask.max() > 255:
        raise InputError(f"{path} holds {mask.max()}, which is no class of SBD; get it again at {_SBD_PAGE}.")
    return np.ascontiguousarray(mask, np.uint8)


def _listed(folder: Path, splits: list[str], advice: str) -> list[str]:
    """Returns the names in the first of the lists that there is; of each line the first entry, without folder."""
    lists = folder / _LISTS
    path = next((lists / f"{s}.txt" for s in splits if (lists / f"{s}.txt").is_file()), None)
    if path is None:
        present = sorted(p.stem for p in lists.glob("*.txt"))
        raise InputError(
            f"{lists / splits[0]}.txt does not exist; {advice}, or use a split that has a list ({', '.join(present)})."
        )
    names = [Path(line.split()[0]).stem for _, line in image_files.read_list(path)]
    if not names:
        raise InputError(f"{path} lists no image; fill it or restore the original.")
    return names


def _augmented_labels(folder: Path, root: Path) -> dict[str, Path]:
    """Returns the label files of "train_aug" by name, sorted."""
    own, converted = folder / "SegmentationClass", folder / "SegmentationClassAug"
    is_converted = converted.is_dir()
    source, ending = (converted, ".png") if is_converted else (_find_sbd(folder, root), ".mat")
    added = {path.stem: path for path in source.glob(f"*{ending}")}
    if not added:
        raise InputError(f"{source} holds no label file; unpack it again.")
    voc = {name: own / f"{name}.png" for name in _listed(folder, ["train"], "restore it")}
    labels = voc | added if is_converted else added | voc
    if any((folder / _LISTS / f"{name}.txt").is_file() for name in (_AUGMENTED, "trainaug")):
        names = _listed(folder, [_AUGMENTED, "trainaug"], "")
        return {name: labels.get(name, source / f"{name}{ending}") for name in names}
    validation = set(_listed(folder, ["val"], "restore it, since no image of it may be trained on"))
    return {name: labels[name] for name in sorted(labels.keys() - validation)}


def _find_sbd(folder: Path, root: Path) -> Path:
    """Returns the folder of SBD's class labels."""
    for place in (root, folder, *folder.parents[:2]):
        if (place / _SBD).is_dir():
            return place / _SBD
    raise InputError(
        f"The split {_AUGMENTED!r} needs the labels of SBD, {folder / 'SegmentationClassAug'} or {root / _SBD}, which "
        f"do not exist; get them at {_SBD_PAGE}."
    )
