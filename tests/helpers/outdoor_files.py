"""Writes small data sets in the layouts of Cityscapes, KITTI and PASCAL VOC."""

import numpy as np
from PIL import Image
from scipy.io import savemat

from segnet_jax.data.class_table import palette_color
from tests.helpers.folder_files import save

SIZE = (4, 6)


def image(value):
    return np.full((*SIZE, 3), value, np.uint8)


def mask(*values):
    """A label of SIZE that begins with the values and goes on with the last one."""
    flat = np.full(SIZE[0] * SIZE[1], values[-1], np.uint8)
    flat[: len(values)] = values
    return flat.reshape(SIZE)


def write_cityscapes(root, split="train", stems=("aachen/aachen_000000_000019", "bochum/bochum_000000_000313")):
    for index, stem in enumerate(stems):
        save(root / "leftImg8bit" / split / f"{stem}_leftImg8bit.png", image(index))
        labels = root / "gtFine" / split
        save(labels / f"{stem}_gtFine_labelIds.png", mask(0, 31, 11, 7 + index))
        save(labels / f"{stem}_gtFine_instanceIds.png", mask(9))
    return root


def write_kitti(root, numbers=(0, 9, 40, 49, 50), suffix=".png"):
    for number in numbers:
        save(root / "training" / "image_2" / f"{number:06}_10{suffix}", image(number))
        save(root / "training" / "image_2" / f"{number:06}_11{suffix}", image(number))
        save(root / "training" / "semantic" / f"{number:06}_10.png", mask(0, 31, 22, 26))
    save(root / "testing" / "image_2" / "000000_10.png", image(0))
    return root


def write_ros(root, label, folder="GT_ind"):
    for below, stem in (("Training_00", "000002"), ("Training_00", "000010"), ("Validation_07", "000005")):
        save(root / below / "RGB" / f"{stem}.png", image(int(stem)))
        save(root / below / folder / f"{stem}.png", label)
    return root


def write_voc(root, lists, labelled=None):
    """Writes the lists by their names, and images and palette labels of all that they name (or of `labelled`)."""
    folder = root / "VOCdevkit" / "VOC2012"
    (folder / "ImageSets" / "Segmentation").mkdir(parents=True)
    for name, stems in lists.items():
        (folder / "ImageSets" / "Segmentation" / f"{name}.txt").write_text("".join(f"{stem}\n" for stem in stems))
    for index, stem in enumerate(sorted({stem for stems in lists.values() for stem in stems})):
        save(folder / "JPEGImages" / f"{stem}.jpg", image(10 * index))
        if labelled is None or stem in labelled:
            palette = Image.fromarray(mask(0, 15, 255, 20))
            palette.putpalette([value for number in range(256) for value in palette_color(number)])
            (folder / "SegmentationClass").mkdir(exist_ok=True)
            palette.save(folder / "SegmentationClass" / f"{stem}.png")
    return folder


def write_sbd(root, labels):
    """Writes SBD's files, a label of each stem, and returns their folder."""
    folder = root / "benchmark_RELEASE" / "dataset" / "cls"
    folder.mkdir(parents=True)
    for stem, label in labels.items():
        boundaries = np.empty((20, 1), object)
        boundaries[:] = [[np.zeros((0, 0))]] * 20
        classes = {"Boundaries": boundaries, "Segmentation": label, "CategoriesPresent": np.unique(label)[1:]}
        savemat(folder / f"{stem}.mat", {"GTcls": classes})
    return folder
