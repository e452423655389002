"""The files of one image with its depth and its label, found in lists or in folders."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segnet_jax.data import faults, image_files
from segnet_jax.data.class_table import VOID
from segnet_jax.data.datasets.indoor_classes import CLASS_SETS
from segnet_jax.errors import InputError

MODALITIES = (("rgb",), ("rgb", "depth"))
"""The channels that images of RGB-D data sets can have."""

# Label files of a split that are looked into for how they number the classes.
_LOOKED_INTO = 200


@dataclass(frozen=True)
class RgbdScene:
    """Where an image and what belongs to it is.

    Attributes:
      name: of the image.
      image: its file.
      depth: that of its depth; "" without.
      label: that of its label; "" if labels lie elsewhere, at `place`.
      place: the position of the label there.
    """

    name: str
    image: str
    depth: str
    label: str = ""
    place: int = -1

    @property
    def files(self) -> list[str]:
        """The files that there are."""
        return [path for path in (self.image, self.label, self.depth) if path]


def listed_scenes(list_file: Path, with_depth: bool) -> list[RgbdScene]:
    """Returns the scenes of a list: of each line the paths of image, depth (if the list has it) and label.

    Args:
      list_file: two or three paths a line with blanks between them, absolute or from the list's folder on.
      with_depth: whether depth is asked for.

    Raises:
      InputError: the list is missing or empty, or a line has another number of paths.
    """
    scenes = []
    for number, line in image_files.read_list(list_file):
        paths = [str(list_file.parent / field) for field in line.split()]
        if len(paths) not in ((3,) if with_depth else (2, 3)):
            wanted = "image, depth and label" if with_depth else "image and label, or of image, depth and label"
            raise InputError(f"Line {number} of {list_file} is {line!r}; give the paths of {wanted}.")
        scenes.append(RgbdScene(Path(paths[0]).stem, paths[0], paths[1] if with_depth else "", paths[-1]))
    if not scenes:
        raise InputError(f"{list_file} lists no image; fill it or restore the original.")
    return scenes


def common_shape(scene: RgbdScene) -> tuple[int, int]:
    """Returns the (height, width) of all files of a scene, see `image_files.common_shape`."""
    return image_files.common_shape(scene.files)


def with_shapes(
    scenes: Sequence[RgbdScene], source: str, shape_of: Callable[[RgbdScene], tuple[int, int]] = common_shape
) -> tuple[list[RgbdScene], list[tuple[int, int]]]:
    """Returns the scenes, and the (height, width) of each from the headers of its files.

    Within `faults.collected` those whose files are missing, damaged or of different sizes are left out.

    Args:
      scenes: the images.
      source: the page where the data set is obtained, for messages.
      shape_of: reads the shape of a scene whose files are there, and raises InputError if something has another.

    Raises:
      InputError: files are missing, and how many; or one is of another size than its image.
    """
    missing = [path for scene in scenes for path in scene.files if not os.path.isfile(path)]
    if missing:
        error = InputError(
            f"{missing[0]} does not exist ({len(missing)} of {sum(len(scene.files) for scene in scenes)} files of the "
            f"split are missing); complete the data set, which is obtained from {source}"
        )
        faults.refuse(error, [f"{path} does not exist." for path in missing])
        scenes = [scene for scene in scenes if not set(scene.files) & set(missing)]
    return faults.with_shapes(scenes, shape_of)


def read_ids(path: str) -> np.ndarray:
    """Reads a label file of ids, uint8 or uint16 [H, W].

    Raises:
      InputError: it is missing or damaged, or holds colours.
    """
    mask = image_files.read_mask(path)
    if mask.ndim != 2:
        raise InputError(f"{path} holds colours and not the ids of classes; get the label files that hold ids.")
    return mask


def numbering_of(
    splits: Sequence[Sequence[RgbdScene]], class_sets: Sequence[str], label_start: int = -1
) -> tuple[str, bool]:
    """Finds out how label files number their classes, by looking into those of all splits, that are read alike.

    Among K classes, the id K is there only where they count from 1 on. Where they count from 0 on, K - 1 is the last
    and 255 is unlabelled. Anything else fits both, and shifting classes by one would be seen by nobody.

    Args:
      splits: the scenes of each, with label files, first of the split that is opened; in others, files that are
        missing or damaged are passed over.
      class_sets: those that the files may hold, the one that is asked for first, then finer ones.
      label_start: 0 or 1 is where the classes count from; -1 finds it out.

    Returns:
      The first class set that has all ids that are seen, or else the last; and whether the files count from 0 on.

    Raises:
      InputError: the ids fit both, or splits differ; or a label file of the first split is damaged or holds colours.
    """
    if label_start >= 0 and len(class_sets) == 1:
        return class_sets[0], label_start == 0
    seen = [_ids_of(scenes, skip_faulty=number > 0) for number, scenes in enumerate(splits)]
    together = set().union(*seen)
    top = max(together - {VOID}, default=0)
    # Unless it is known that classes count from 0 on, an id as high as their number is the last of them.
    held = next((s for s in class_sets if top + (label_start == 0) <= CLASS_SETS[s].num_classes), class_sets[-1])
    if label_start >= 0:
        return held, label_start == 0
    last = CLASS_SETS[held].num_classes
    if top > last:
        return held, False
    starts = {_start(ids, last) for ids in (*seen, together)} - {-1}
    if len(starts) == 1:
        return held, starts == {0}
    example = splits[0][0].label
    found = f"have ids up to {top}, {'with' if VOID in together else 'without'} 255"
    reason = "fits classes from 0 on as well as from 1 on" if not starts else "differs between the splits"
    raise InputError(
        f"The label files, such as {example}, {found}, which for {held} classes {reason}; set data.label_start to 0 if "
        "they count from 0 on, with 255 for what is unlabelled, or to 1 if from 1 on, with 0, and data.class_set to "
        "what they hold."
    )


def _start(ids: set[int], last: int) -> int:
    """Returns where ids of that many classes count from, or -1 if they do not tell."""
    if last in ids:
        return 1
    return 0 if {last - 1, VOID} <= ids else -1


def _ids_of(scenes: Sequence[RgbdScene], skip_faulty: bool) -> set[int]:
    """Returns the ids in label files, from all over the list if it is long."""

    def ids_of(scene: RgbdScene) -> set[int]:
        try:
            return set(np.flatnonzero(np.bincount(read_ids(scene.label).ravel())).tolist())
        except InputError:
            if skip_faulty:
                return set()
            raise

    with ThreadPoolExecutor() as pool:
        return set().union(*pool.map(ids_of, scenes[:: -(-len(scenes) // _LOOKED_INTO) or 1]))
