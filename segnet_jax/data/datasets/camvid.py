"""CamVid (Brostow et al. 2009) in 11 classes, in the layout of the SegNet tutorial or in Cambridge's own."""

import functools
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from segnet_jax.data import faults, image_files
from segnet_jax.data.class_table import VOID, ClassTable, Color, lookup_colors
from segnet_jax.errors import InputError

CAMVID11 = ClassTable.from_colors(
    "camvid11",
    11,
    "Unlabelled",
    [
        ("Sky", (128, 128, 128)),
        ("Building", (128, 0, 0)),
        ("Pole", (192, 192, 128)),
        ("Road", (128, 64, 128)),
        ("Pavement", (60, 40, 222)),
        ("Tree", (128, 128, 0)),
        ("SignSymbol", (192, 128, 128)),
        ("Fence", (64, 64, 128)),
        ("Car", (64, 0, 128)),
        ("Pedestrian", (64, 64, 0)),
        ("Bicyclist", (0, 128, 192)),
    ],
)
"""The papers' 11 classes of CamVid, in the order and colours of the authors' tutorial."""


CAMVID_NATIVE_COLORS: dict[Color, str] = {
    (64, 128, 64): "Unlabelled",  # Animal
    (192, 0, 128): "Unlabelled",  # Archway
    (0, 128, 192): "Bicyclist",
    (0, 128, 64): "Unlabelled",  # Bridge
    (128, 0, 0): "Building",
    (64, 0, 128): "Car",
    (64, 0, 192): "Unlabelled",  # CartLuggagePram
    (192, 128, 64): "Unlabelled",  # Child
    (192, 192, 128): "Pole",  # Column_Pole
    (64, 64, 128): "Fence",
    (128, 0, 192): "Road",  # LaneMkgsDriv
    (192, 0, 64): "Road",  # LaneMkgsNonDriv
    (128, 128, 64): "SignSymbol",  # Misc_Text
    (192, 0, 192): "Bicyclist",  # MotorcycleScooter
    (128, 64, 64): "Unlabelled",  # OtherMoving
    (64, 192, 128): "Pavement",  # ParkingBlock
    (64, 64, 0): "Pedestrian",
    (128, 64, 128): "Road",
    (128, 128, 192): "Road",  # RoadShoulder
    (0, 0, 192): "Pavement",  # Sidewalk
    (192, 128, 128): "SignSymbol",
    (128, 128, 128): "Sky",
    (64, 128, 192): "Car",  # SUVPickupTruck
    (0, 0, 64): "Unlabelled",  # TrafficCone
    (0, 64, 64): "SignSymbol",  # TrafficLight
    (192, 64, 128): "Unlabelled",  # Train
    (128, 128, 0): "Tree",
    (192, 128, 192): "Car",  # Truck_Bus
    (64, 0, 64): "Unlabelled",  # Tunnel
    (192, 192, 0): "Tree",  # VegetationMisc
    (0, 0, 0): "Unlabelled",  # Void
    (64, 192, 0): "Building",  # Wall
}
"""The 32 colours of CamVid's native label images and the entry of CAMVID11 that each belongs to."""

SPLITS = ("train", "val", "test")

_IMAGES, _LABELS = "701_StillsRaw_full", "LabeledApproved_full"

# The split of the papers, as (sequence, first frame, last frame, split). Validation is one stretch
# of 0016E5 filmed at 15 Hz; everything else is one frame a second.
_STANDARD_SPLIT = (
    ("0001TP", 6690, 8520, "train"),
    ("0001TP", 8550, 10380, "test"),
    ("0006R0", 930, 3930, "train"),
    ("0016E5", 390, 7920, "train"),
    ("0016E5", 7959, 8159, "val"),
    ("0016E5", 8190, 8640, "train"),
    ("Seq05VD", 0, 5100, "test"),
)
# The one sequence that was filmed at dusk.
_DUSK = "0001TP"
_STANDARD_SIZE = {"train": 367, "val": 101, "test": 233}

_PALETTE = np.array(list(CAMVID_NATIVE_COLORS), np.uint8)
_PALETTE_LABELS = np.array(
    [CAMVID11.names.index(name) if name in CAMVID11.names else VOID for name in CAMVID_NATIVE_COLORS.values()],
    np.uint8,
)

_Listing = Callable[[Path], set[str]]

_log = logging.getLogger("segnet_jax")


class Camvid:
    """One split of CamVid.

    Two layouts are recognised, in `root` or in a folder directly below it:

    - the authors' tutorial: `train.txt`, `val.txt` and `test.txt` with an image and a label path a
      line, and labels of 360x480 as class indices. The paths may be those of another machine; their
      ends are looked up below the folder of the list.
    - Cambridge's own: `701_StillsRaw_full` and `LabeledApproved_full`, 720x960, labels as colours.
      The papers' split is used unless the folder holds lists of stems `train.txt`, ...; colours
      outside the palette are void, with a warning.

    Attributes, beside those of `Dataset`:
      names: the stem of every image, in order.
    """

    name = "camvid"
    class_table = CAMVID11

    def __init__(self, root: image_files.StrPath, split: str = "train") -> None:
        """Finds the files of the split, and checks that all of them exist.

        Args:
          root: the folder of the data.
          split: "train", "val" or "test".

        Raises:
          InputError: the layout is unknown, the split is unknown, absent, empty or incomplete, or a label is of
            another size than its image.
        """
        if split not in SPLITS:
            raise InputError(f"CamVid has no split {split!r}; use one of {', '.join(SPLITS)}.")
        self.split = split
        folder, native = _find_layout(Path(root))
        find = _native_pairs if native else _listed_pairs
        # One listing of each folder is far faster on a network disk than a look at each file.
        pairs = find(folder, split, functools.cache(_names_in))
        paths = [(str(image), str(label)) for image, label in pairs]
        self._paths, self._shapes = faults.with_shapes(paths, image_files.common_shape)
        self.names = [Path(image).stem for image, _ in self._paths]
        self._warned: set[str] = set()

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        image = image_files.read_image(self._paths[index][0])
        return {"image": image, "label": self.label(index), "name": self.names[index]}

    def label(self, index: int) -> np.ndarray:
        """Reads the label alone, uint8 [H, W]."""
        path = self._paths[index][1]
        mask = image_files.read_mask(path)
        if mask.ndim == 2:
            return CAMVID11.ids_to_labels(mask, path)
        labels, known = lookup_colors(mask, _PALETTE, _PALETTE_LABELS)
        if not known.all() and path not in self._warned:
            self._warned.add(path)
            _log.warning(
                "%s: %d pixels have a colour outside CamVid's palette; they count as void.", path, np.sum(~known)
            )
        return labels

    def shape(self, index: int) -> tuple[int, int]:
        """Returns the (height, width) of an image, which the constructor has read."""
        return self._shapes[index]

    def group(self, index: int) -> str:
        """Returns "dusk" or "day", when the image's sequence was filmed (Brostow et al. 2009)."""
        return "dusk" if self.names[index].startswith(_DUSK) else "day"

    def fingerprint(self) -> str:
        """Returns a digest that changes when a file of the split does."""
        return image_files.fingerprint(path for pair in self._paths for path in pair)


def standard_split(stem: str) -> str | None:
    """Returns the papers' split ("train", "val", "test") of a stem such as "0006R0_f00930"; None if unknown."""
    sequence, _, frame = stem.rpartition("_")
    number = frame.removeprefix("f")
    if not (number.isascii() and number.isdigit()):
        return None
    for name, first, last, split in _STANDARD_SPLIT:
        if sequence == name and first <= int(number) <= last:
            return split
    return None


def _names_in(folder: Path) -> set[str]:
    try:
        return set(os.listdir(folder))
    except OSError:
        return set()


def _find_layout(root: Path) -> tuple[Path, bool]:
    """Returns the folder that holds the data, and whether they are in the native layout."""
    if not root.is_dir():
        raise InputError(f"{root} is not a folder; set the root of the data to CamVid's folder.")
    for folder in [root, *sorted(path for path in root.iterdir() if path.is_dir())]:
        if (folder / _IMAGES).is_dir() and (folder / _LABELS).is_dir():
            return folder, True
        if any((folder / f"{split}.txt").is_file() for split in SPLITS):
            return folder, False
    raise InputError(
        f"{root} has no known layout of CamVid; it needs train.txt, val.txt or test.txt beside the "
        f"SegNet tutorial's folders, or else the folders {_IMAGES} and {_LABELS}."
    )


def _listed_pairs(folder: Path, split: str, names_in: _Listing) -> list[tuple[Path, Path]]:
    """Returns the (image, label) paths of the tutorial's layout."""
    list_file = _list_file(folder, split)
    pairs = []
    missing = []
    for number, line in image_files.read_list(list_file):
        fields = line.split()
        if len(fields) != 2:
            faults.refuse(
                InputError(
                    f"Line {number} of {list_file} is {line!r}; "
                    "give an image path and a label path with a space between them."
                )
            )
            continue
        image, label = (_resolve(field, folder, names_in) for field in fields)
        if image is None or label is None:
            missing += [f for f, found in zip(fields, (image, label), strict=True) if not found]
        elif image == label:
            faults.refuse(
                InputError(
                    f"Line {number} of {list_file} leads to {image} both as image and as label; "
                    "put images and labels into the folders that the list names."
                )
            )
        else:
            pairs.append((image, label))
    _refuse_missing(missing, list_file, folder)
    if not pairs:
        raise InputError(f"{list_file} lists no image; fill it or restore the original.")
    return pairs


def _native_pairs(folder: Path, split: str, names_in: _Listing) -> list[tuple[Path, Path]]:
    """Returns the (image, label) paths of Cambridge's layout."""
    images = {name.removesuffix(".png") for name in names_in(folder / _IMAGES)}
    labels = {name.removesuffix("_L.png") for name in names_in(folder / _LABELS)}
    if any((folder / f"{name}.txt").is_file() for name in SPLITS):
        source = _list_file(folder, split)
        entries = (line.split()[0] for _, line in image_files.read_list(source))
        stems = [entry.replace("\\", "/").split("/")[-1].split(".")[0] for entry in entries]
    else:
        source = folder
        stems = sorted(stem for stem in images | labels if standard_split(stem) == split)
        if 0 < len(stems) < _STANDARD_SIZE[split]:
            size = _STANDARD_SIZE[split]
            _log.warning("%s holds only %d of the %d frames of CamVid's %s split.", folder, len(stems), size, split)
    pairs = [(folder / _IMAGES / f"{s}.png", folder / _LABELS / f"{s}_L.png") for s in stems]
    missing = [str(image) for image, _ in pairs if image.stem not in images]
    missing += [str(label) for image, label in pairs if image.stem not in labels]
    _refuse_missing(missing, source, folder)
    pairs = [(image, label) for image, label in pairs if image.stem in images & labels]
    if not pairs:
        raise InputError(
            f"{source} holds no frame of CamVid's {split} split; complete it, or list the frames "
            f"of each split in {folder / 'train.txt'}, val.txt and test.txt."
        )
    return pairs


def _list_file(folder: Path, split: str) -> Path:
    path = folder / f"{split}.txt"
    if not path.is_file():
        present = [name for name in SPLITS if (folder / f"{name}.txt").is_file()]
        raise InputError(f"{path} does not exist; add it, or use a split that does ({', '.join(present)}).")
    return path


def _resolve(listed: str, folder: Path, names_in: _Listing) -> Path | None:
    """Returns the file of a listed path: itself, or its longest end below `folder`; None if neither exists."""
    path = Path(listed.replace("\\", "/"))
    if path.is_absolute() and path.name in names_in(path.parent):
        return path
    parts = [part for part in path.parts if part != path.anchor]
    candidates = (folder.joinpath(*parts[start:]) for start in range(len(parts)))
    return next((file for file in candidates if file.name in names_in(file.parent)), None)


def _refuse_missing(missing: list[str], source: Path, folder: Path) -> None:
    if missing:
        error = InputError(
            f"{source}: {missing[0]} cannot be found ({len(missing)} files missing in all); "
            f"restore the files in {folder}, or correct the list."
        )
        faults.refuse(
            error, [f"{source}: {name} cannot be found; restore it, or correct the list." for name in missing]
        )
