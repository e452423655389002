"""Cityscapes (Cordts et al. 2016), finely labelled, in its 19 classes or in CamVid's 11."""

from __future__ import annotations

from pathlib import Path

from segnet_jax.data import image_files
from segnet_jax.data.class_table import ClassTable, Color, SegmentationClass
from segnet_jax.data.datasets.camvid import CAMVID11
from segnet_jax.data.datasets.class_set import ClassSet, choose_class_set
from segnet_jax.data.datasets.paired_files import PairedFiles

# Of every id of the label files the name, and the colour if it is one of the 19 classes that are trained and scored.
_IDS: tuple[tuple[str, Color | None], ...] = (
    ("unlabeled", None),
    ("ego vehicle", None),
    ("rectification border", None),
    ("out of roi", None),
    ("static", None),
    ("dynamic", None),
    ("ground", None),
    ("road", (128, 64, 128)),
    ("sidewalk", (244, 35, 232)),
    ("parking", None),
    ("rail track", None),
    ("building", (70, 70, 70)),
    ("wall", (102, 102, 156)),
    ("fence", (190, 153, 153)),
    ("guard rail", None),
    ("bridge", None),
    ("tunnel", None),
    ("pole", (153, 153, 153)),
    ("polegroup", None),
    ("traffic light", (250, 170, 30)),
    ("traffic sign", (220, 220, 0)),
    ("vegetation", (107, 142, 35)),
    ("terrain", (152, 251, 152)),
    ("sky", (70, 130, 180)),
    ("person", (220, 20, 60)),
    ("rider", (255, 0, 0)),
    ("car", (0, 0, 142)),
    ("truck", (0, 0, 70)),
    ("bus", (0, 60, 100)),
    ("caravan", None),
    ("trailer", None),
    ("train", (0, 80, 100)),
    ("motorcycle", (0, 0, 230)),
    ("bicycle", (119, 11, 32)),
)

CITYSCAPES19 = ClassTable(
    "cityscapes19",
    tuple(
        SegmentationClass(name, number, color or (0, 0, 0), ignored=color is None)
        for number, (name, color) in enumerate(_IDS)
    ),
)
"""The 34 ids of label files (`labelIds`); the 19 that count have the order and the colours of the train ids."""

CITYSCAPES_TO_CAMVID = {
    "road": "Road",
    "sidewalk": "Pavement",
    "building": "Building",
    "wall": "Building",
    "fence": "Fence",
    "pole": "Pole",
    "traffic light": "SignSymbol",
    "traffic sign": "SignSymbol",
    "vegetation": "Tree",
    "terrain": "Tree",
    "sky": "Sky",
    "person": "Pedestrian",
    "rider": "Bicyclist",
    "car": "Car",
    "truck": "Car",
    "bus": "Car",
    "motorcycle": "Bicyclist",
    "bicycle": "Bicyclist",
}
"""Maps the 19 classes to CamVid's 11, as CamVid's own 32 classes become them; "train" is void there too."""

CLASS_SETS = {
    "cityscapes19": ClassSet.own(CITYSCAPES19),
    "camvid11": ClassSet(CITYSCAPES19, CAMVID11, CITYSCAPES_TO_CAMVID),
}
"""The classes that files of Cityscapes' ids can be read in, by the value of `data.class_set`."""

_IMAGE, _LABEL = "_leftImg8bit.png", "_gtFine_labelIds.png"
_SIZES = {"train": 2975, "val": 500}


class Cityscapes(PairedFiles):
    """One split of Cityscapes as it is unpacked.

    `leftImg8bit/<split>/<city>/*_leftImg8bit.png` and `gtFine/<split>/<city>/*_gtFine_labelIds.png`, in `root` or a
    folder at most two below.
    """

    name = "cityscapes"
    title = "Cityscapes"
    page = "https://www.cityscapes-dataset.com"

    def __init__(self, root: image_files.StrPath, split: str = "train", class_set: str = "") -> None:
        """Finds the files of the split.

        Args:
          root: the folder of the data.
          split: "train" or "val"; the labels of "test" are not public.
          class_set: "cityscapes19", which "" is too, or "camvid11".

        Raises:
          InputError: the layout, the split or the classes are unknown, files are missing, or a label is of another
            size than its image.
        """
        self._refuse_split(split, tuple(_SIZES), unlabelled="test")
        classes = choose_class_set(class_set, CLASS_SETS, self.name)
        folder, _ = self._find_folder(Path(root), [("leftImg8bit", "gtFine")])
        images, labels = folder / "leftImg8bit" / split, folder / "gtFine" / split
        names = {str(path.relative_to(images)).removesuffix(_IMAGE) for path in images.glob(f"*/*{_IMAGE}")}
        names |= {str(path.relative_to(labels)).removesuffix(_LABEL) for path in labels.glob(f"*/*{_LABEL}")}
        self._report_size(folder, split, len(names), _SIZES[split])
        pairs = {Path(name).name: (images / f"{name}{_IMAGE}", labels / f"{name}{_LABEL}") for name in sorted(names)}
        super().__init__(folder, split, pairs, classes)
