"""KITTI: the 200 images of its semantics benchmark, and the 146 that Ros et al. (2015) labelled."""

from __future__ import annotations

import math
import re
from pathlib import Path

from segnet_jax.data import image_files
from segnet_jax.data.class_table import ClassTable
from segnet_jax.data.datasets import cityscapes
from segnet_jax.data.datasets.camvid import CAMVID11
from segnet_jax.data.datasets.class_set import ClassSet, choose_class_set
from segnet_jax.data.datasets.paired_files import PairedFiles
from segnet_jax.data.faults import refuse
from segnet_jax.errors import InputError

ROS11 = ClassTable.from_colors(
    "ros11",
    11,
    "Void",
    [
        ("Sky", (128, 128, 128)),
        ("Building", (128, 0, 0)),
        ("Road", (128, 64, 128)),
        ("Sidewalk", (0, 0, 192)),
        ("Fence", (64, 64, 128)),
        ("Vegetation", (128, 128, 0)),
        ("Pole", (192, 192, 128)),
        ("Car", (64, 0, 128)),
        ("Sign", (192, 128, 128)),
        ("Pedestrian", (64, 64, 0)),
        ("Cyclist", (0, 128, 192)),
    ],
)
"""The classes, order and colours of the labels of Ros et al."""

_MOVING = ("Car", "Pedestrian", "Cyclist")

KITTI8 = ClassTable.from_colors(
    "kitti8",
    255,
    "Void",
    [(c.name, c.color) for c in ROS11.classes if not c.ignored and c.name not in _MOVING],
)
"""The 8 classes of the 2015 paper's table 3: those of Ros et al. but what moves, of which they made no map.

The paper gives their number alone, and the seven accuracies besides the sky's, which no map has either.
"""

_CAMVID_TO_ROS = {
    "Pavement": "Sidewalk",
    "Tree": "Vegetation",
    "SignSymbol": "Sign",
    "Bicyclist": "Cyclist",
    **{name: name for name in ("Sky", "Building", "Pole", "Road", "Fence", "Car", "Pedestrian")},
}
_ROS_TO_CAMVID = {ros: camvid for camvid, ros in _CAMVID_TO_ROS.items()}

_BENCHMARK_SETS = {
    **cityscapes.CLASS_SETS,
    "kitti8": ClassSet(
        cityscapes.CITYSCAPES19,
        KITTI8,
        {
            name: _CAMVID_TO_ROS[camvid]
            for name, camvid in cityscapes.CITYSCAPES_TO_CAMVID.items()
            if _CAMVID_TO_ROS[camvid] not in _MOVING
        },
    ),
}
_ROS_SETS = {
    "ros11": ClassSet.own(ROS11),
    "camvid11": ClassSet(ROS11, CAMVID11, _ROS_TO_CAMVID),
    "kitti8": ClassSet(ROS11, KITTI8, {name: name for name in KITTI8.names}),
}

SPLITS = ("train", "val")

_BENCHMARK_SIZE = 200
_NAME = re.compile(r"\d{6}_10")
_ROS_FOLDERS = {"train": ("Training_00", 100), "val": ("Validation_07", 46)}

# Images of one drive have neighbouring numbers, so whole blocks go to a split.
_BLOCK = 10


class Kitti(PairedFiles):
    """One split of KITTI, in one of two layouts, in `root` or a folder at most two below.

    - the semantics benchmark's: `training/image_2` with PNG or JPEG images and `training/semantic` with Cityscapes'
      label ids. It has no validation images, so every so many blocks of ten images are taken, see
      `is_for_validation`. Images without a label, as the scene flow benchmark puts them there, are left out.
    - that of Ros et al.: `Training_00` for training and `Validation_07` for validation, each with `RGB` and `GT_ind`
      (indices) or, without it, `GT` (colours).
    """

    name = "kitti"
    title = "KITTI"
    page = "https://www.cvlibs.net/datasets/kitti/eval_semantics.php"

    def __init__(
        self,
        root: image_files.StrPath,
        split: str = "train",
        class_set: str = "",
        val_fraction: float = 0.2,
    ) -> None:
        """Finds the files of the split.

        Args:
          root: the folder of the data.
          split: "train" or "val"; the labels of the benchmark's "test" are not public.
          class_set: "cityscapes19" (the benchmark) or "ros11" (Ros et al.), of which "" is the one of the files; or
            "camvid11"; or "kitti8", those of the 2015 paper.
          val_fraction: the share of the benchmark's images that are for validation, 0 to below 1.

        Raises:
          InputError: the layout, the split or the classes are unknown, files are missing, the split is empty, or a
            label is of another size than its image.
        """
        self._refuse_split(split, SPLITS, unlabelled="test")
        benchmark = ("training/image_2", "training/semantic")
        ros = tuple(f"{folder}/RGB" for folder, _ in _ROS_FOLDERS.values())
        folder, layout = self._find_folder(Path(root), [benchmark, ros])
        classes = choose_class_set(class_set, _ROS_SETS if layout else _BENCHMARK_SETS, f"{self.name} in {folder}")
        if layout:
            below, size = _ROS_FOLDERS[split]
            has_indices = (folder / below / "GT_ind").is_dir()
            images, labels = folder / below / "RGB", folder / below / ("GT_ind" if has_indices else "GT")
            names = sorted({path.stem for part in (images, labels) for path in part.glob("*.png")})
            self._report_size(folder, split, len(names), size)
        else:
            images, labels = folder / "training" / "image_2", folder / "training" / "semantic"
            names = sorted(path.stem for path in labels.glob("*.png"))
            self._report_size(folder, "training", len(names), _BENCHMARK_SIZE)
            if strange := [name for name in names if not _NAME.fullmatch(name)]:
                error = f"{labels} has {strange[0]}.png, but KITTI's names are such as 000017_10; take it away."
                refuse(InputError(error), [f"{labels / name}.png is none of KITTI's." for name in strange])
            # Images without a label are named, but for those of the scene flow benchmark.
            names = sorted({*names, *(path.stem for path in images.iterdir())})
            names = [name for name in names if _NAME.fullmatch(name)]
            names = [n for n in names if is_for_validation(n, val_fraction) == (split == "val")]
            if not names:
                raise InputError(
                    f"{split} gets none of the images of {images} with data.val_fraction={val_fraction}; change it."
                )
        found = {path.stem: path for path in images.iterdir() if path.suffix.lower() in image_files.IMAGE_SUFFIXES}
        pairs = {n: (found.get(n, images / f"{n}.png"), labels / f"{n}.png") for n in names}
        super().__init__(folder, split, pairs, classes)


def is_for_validation(name: str, fraction: float) -> bool:
    """Tells whether an image of the benchmark is for validation: the last of every 1 / `fraction` blocks of ten.

    With a fifth these are 000040_10 to 000049_10, 000090_10 to 000099_10, and so on. It depends on the image's number
    alone, not on what other images there are.

    """
    block = int(name.partition("_")[0]) // _BLOCK
    # Rounded, as a fifth of five is not always one.
    return math.floor(round((block + 1) * fraction, 6)) > math.floor(round(block * fraction, 6))
