"""NYUv2 (Silberman et al. 2012), read in place from the authors' file or from images, with or without depth."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segnet_jax.data import image_files
from segnet_jax.data.datasets.indoor_classes import CLASS_SETS, LabelCoding
from segnet_jax.data.datasets.rgbd_scene import (
    MODALITIES,
    RgbdScene,
    listed_scenes,
    numbering_of,
    read_ids,
    with_shapes,
)
from segnet_jax.data.matlab_files import MatlabArrays, read_numbers
from segnet_jax.data.metric_depth import join_depth, to_metres
from segnet_jax.data.preprocessing import RGB, RGBD
from segnet_jax.errors import InputError

NYUV2_CLASS_SETS = ("13", "14", "40")
"""The class sets of NYUv2, the 2015 paper's first."""

SOURCE = "https://cs.nyu.edu/~fergus/datasets/nyu_depth_v2.html"
"""The page where NYUv2 is obtained."""

_MAP_SOURCE = "https://github.com/ankurhanda/nyuv2-meta-data"
_DATA, _SPLITS, _MAP = "nyu_depth_v2_labeled.mat", "splits.mat", "classMapping40.mat"
_SPLIT_LISTS = {"train": "trainNdxs", "test": "testNdxs"}
_RAW, _FILLED = "rawDepths", "depths"
# The sensor's reach, in metres; in raw depth it stands for what is farther, or was not measured at all.
_FARTHEST = 10.0


class Nyuv2:
    """One split of NYUv2, 795 training and 654 test images of 480x640.

    Two layouts are recognised, in `root` or in a folder directly below it:

    - the authors': `nyu_depth_v2_labeled.mat`, from which single images are read where they lie, `splits.mat`, and
      `classMapping40.mat`, which makes 40 classes of 894 names.
    - lists: `train.txt` and `test.txt` with the paths of an image, its depth (may be absent) and its label a line, with
      labels of 40 or 13 classes.

    Images with depth are float32 [H, W, 4], the last channel in metres, NaN where nothing was measured.

    Attributes, beside those of `Dataset`:
      names: of every image its number, from 1 to 1449, in four digits, or the name of its file.
    """

    name = "nyuv2"

    def __init__(
        self,
        root: image_files.StrPath,
        split: str = "train",
        class_set: str = "13",
        modalities: Sequence[str] = ("rgb",),
        raw_depth: bool = False,
        depth_scale: float = 0.0,
        label_start: int = -1,
    ) -> None:
        """Finds the files, and checks that they are of one size.

        Args:
          root: the folder of the data.
          split: "train" or "test".
          class_set: "13", "14" (with what is unlabelled as a class of its own) or "40".
          modalities: ("rgb",) or ("rgb", "depth").
          raw_depth: whether depth is as it was measured, with holes, and not the filled one; of the authors' file.
          depth_scale: what stands for one metre in depth images; 0: 1000, which are then in millimetres.
          label_start: 0 if label files in lists count classes from 0 on, with 255 for what is unlabelled; 1 if from 1
            on, with 0; -1 finds it out from those of both splits.

        Raises:
          InputError: a value, the layout or the split is not known, or a file is missing or damaged, or of another
            MATLAB version or size, or label files do not tell how they count.
        """
        if class_set not in NYUV2_CLASS_SETS:
            raise InputError(f"data.class_set={class_set!r}, but nyuv2 has {', '.join(NYUV2_CLASS_SETS)}.")
        if tuple(modalities) not in MODALITIES:
            raise InputError(f"data.modalities={modalities!r}, but nyuv2 has {' and '.join(map(str, MODALITIES))}.")
        self.split, self.class_table = split, CLASS_SETS[class_set]
        self.modality_names = tuple(modalities)
        with_depth = "depth" in self.modality_names
        self.modalities = RGBD if with_depth else RGB
        folder, is_list = _find_layout(Path(root), split)
        if is_list and with_depth and raw_depth:
            raise InputError(
                f"{folder} has one kind of depth, and data.raw_depth=True chooses between two; set it to False, or get "
                f"{_DATA} from {SOURCE}"
            )
        self._source = (
            _Listed(folder, split, class_set, with_depth, depth_scale or 1000.0, label_start)
            if is_list
            else _Arrays(folder, split, class_set, with_depth, raw_depth)
        )
        self.names = self._source.names

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"image": self._source.image(index), "label": self._source.label(index), "name": self.names[index]}

    def label(self, index: int) -> np.ndarray:
        """Reads the label alone, uint8 [H, W]."""
        return self._source.label(index)

    def shape(self, index: int) -> tuple[int, int]:
        """Returns the (height, width) of an image, which the constructor has read."""
        return self._source.shape(index)

    def fingerprint(self) -> str:
        """Returns a digest that changes when a file of the split does, or how labels are read."""
        return f"{image_files.fingerprint(self._source.files)} {self._source.reading}"


def _find_layout(root: Path, split: str) -> tuple[Path, bool]:
    """Returns the folder that holds the data, and whether lists tell where they are."""
    if split not in _SPLIT_LISTS:
        raise InputError(f"NYUv2 has no split {split!r}; use one of {', '.join(_SPLIT_LISTS)}.")
    if not root.is_dir():
        raise InputError(f"{root} is not a folder; set data.root to that of NYUv2, obtained from {SOURCE}")
    for folder in [root, *sorted(path for path in root.iterdir() if path.is_dir())]:
        if (folder / _DATA).is_file():
            return folder, False
        if (folder / f"{split}.txt").is_file():
            return folder, True
    raise InputError(f"{root} holds neither {_DATA}, obtained from {SOURCE}, nor the list {split}.txt.")


class _Arrays:
    """A split in the authors' file."""

    reading = "names"

    def __init__(self, folder: Path, split: str, class_set: str, with_depth: bool, raw_depth: bool) -> None:
        self._arrays = MatlabArrays(folder / _DATA, SOURCE)
        self._depth = (_RAW if raw_depth else _FILLED) if with_depth else ""
        sizes = {key: self._arrays.shape(key) for key in ("images", "labels", self._depth) if key}
        for key, shape in sizes.items():
            if len(shape) != (4 if key == "images" else 3) or (key == "images" and shape[2] != 3):
                wanted = "(height, width, 3, count)" if key == "images" else "(height, width, count)"
                raise InputError(
                    f"{self._arrays.path}: {key} are of the shape {shape} and not {wanted}; download the file again "
                    f"from {SOURCE}"
                )
        height, width, _, count = sizes["images"]
        for key, shape in sizes.items():
            if (*shape[:2], shape[-1]) != (height, width, count):
                raise InputError(
                    f"{self._arrays.path}: {key} are {shape} and images {sizes['images']}, so they do not belong "
                    f"together; download the file again from {SOURCE}"
                )
        self._shape = height, width
        split_file, map_file = folder / _SPLITS, folder / _MAP
        self._places = read_numbers(split_file, SOURCE, _SPLIT_LISTS[split]).astype(np.int64) - 1
        if not ((self._places >= 0) & (self._places < count)).all():
            raise InputError(
                f"{split_file} lists images from {self._places.min() + 1} to {self._places.max() + 1}, and {_DATA} "
                f"holds {count}; get both from {SOURCE}"
            )
        # 0 is unlabelled.
        self._class_of_name = np.append(0, read_numbers(map_file, _MAP_SOURCE, "mapClass")).astype(np.uint8)
        self._coding = LabelCoding("40", class_set)
        self.names = [f"{place + 1:04d}" for place in self._places]
        self.files = [self._arrays.path, str(split_file), str(map_file)]

    def image(self, index: int) -> np.ndarray:
        place = int(self._places[index])
        image = np.ascontiguousarray(self._arrays.image("images", place))
        if not self._depth:
            return image
        depth = self._arrays.image(self._depth, place)
        if self._depth == _RAW:
            depth = np.where(depth < _FARTHEST, depth, 0)
        return join_depth(image, to_metres(depth, 1.0))

    def label(self, index: int) -> np.ndarray:
        ids = self._arrays.image("labels", int(self._places[index]))
        source = f"{self._arrays.path}, image {self.names[index]}"
        if ids.max() >= len(self._class_of_name):
            raise InputError(
                f"{source}: the label id {ids.max()} is above the {len(self._class_of_name) - 1} names that {_MAP} "
                f"knows; get that file from {_MAP_SOURCE}"
            )
        return np.ascontiguousarray(self._coding.labels(self._class_of_name[ids], source))

    def shape(self, index: int) -> tuple[int, int]:
        range(len(self.names))[index]
        return self._shape


class _Listed:
    """A split in files that a list names."""

    def __init__(
        self, folder: Path, split: str, class_set: str, with_depth: bool, depth_scale: float, label_start: int
    ) -> None:
        self._scenes, self._shapes = with_shapes(listed_scenes(folder / f"{split}.txt", with_depth), SOURCE)
        splits: list[Sequence[RgbdScene]] = [self._scenes]
        (other,) = _SPLIT_LISTS.keys() - {split}
        with contextlib.suppress(InputError):  # of a split that nobody asked for
            splits.append(listed_scenes(folder / f"{other}.txt", with_depth=False))
        held, from_zero = numbering_of(splits, ("40",) if class_set == "40" else ("13", "40"), label_start)
        self._coding = LabelCoding(held, class_set, from_zero)
        self.reading = f"{held} from {int(not from_zero)}"
        self._scale = depth_scale
        self.names = [scene.name for scene in self._scenes]
        self.files = [path for scene in self._scenes for path in scene.files]

    def image(self, index: int) -> np.ndarray:
        scene = self._scenes[index]
        image = image_files.read_image(scene.image)
        if not scene.depth:
            return image
        metres = to_metres(image_files.read_uint16(scene.depth), self._scale)
        if np.count_nonzero(metres > _FARTHEST) > np.count_nonzero(metres <= _FARTHEST):
            raise InputError(
                f"Most of {scene.depth} would lie beyond {_FARTHEST:g} m with {self._scale:g} for one metre; set "
                "data.depth_scale to the value that stands for one metre in it."
            )
        return join_depth(image, metres)

    def label(self, index: int) -> np.ndarray:
        path = self._scenes[index].label
        return self._coding.labels(read_ids(path), path)

    def shape(self, index: int) -> tuple[int, int]:
        return self._shapes[index]
