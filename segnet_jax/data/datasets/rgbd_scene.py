"""The files of one image with its depth and its label, found in lists or in folders."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segnet_jax.data import image_files
from segnet_jax.data.class_table import VOID
from segnet_jax.data.datasets.indoor_classes import CLASS_SETS
from segnet_jax.data.faults import refuse
from segnet_jax.errors import InputError

MODALITIES = (("rgb",), ("rgb", "depth"))
"""The channels that images of RGB-D data sets can have."""

# Label files that are looked into for how they number the classes; unless they are strange, the first few tell it.
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


def with_shapes(scenes: Sequence[RgbdScene], source: str) -> tuple[list[RgbdScene], list[tuple[int, int]]]:
    """Returns the scenes, and the (height, width) of each from the headers of its files.

    Within `faults.collected` those whose files are missing, damaged or of different sizes are left out.

    Args:
      scenes: the images.
      source: the page where the data set is obtained, for messages.

    Raises:
      InputError: files are missing, and how many; or one is of another size than its image.
    """
    missing = [path for scene in scenes for path in scene.files if not os.path.isfile(path)]
    if missing:
        error = InputError(
            f"{missing[0]} does not exist ({len(missing)} of {sum(len(scene.files) for scene in scenes)} files of the "
            f"split are missing); complete the data set, which is obtained from {source}"
        )
        refuse(error, [f"{path} does not exist." for path in missing])
        scenes = [scene for scene in scenes if not set(scene.files) & set(missing)]
    return image_files.with_shapes(scenes, lambda scene: image_files.common_shape(scene.files))


def read_ids(path: str) -> np.ndarray:
    """Reads a label file of ids, uint8 or uint16 [H, W].

    Raises:
      InputError: it is missing or damaged, or holds colours.
    """
    mask = image_files.read_mask(path)
    if mask.ndim != 2:
        raise InputError(f"{path} holds colours and not the ids of classes; get the label files that hold ids.")
    return mask


def numbering_of(scenes: Sequence[RgbdScene], class_sets: Sequence[str]) -> tuple[str, bool]:
    """Finds out how label files number their classes, by looking into them.

    What is unlabelled is 255 where classes count from 0 on, and 0 where they count from 1 on.

    Args:
      scenes: with label files.
      class_sets: those that the files may hold, the one with fewest classes first.

    Returns:
      The class set, the first that has all ids that are seen, and whether the files count from 0 on.

    Raises:
      InputError: a label file is damaged or holds colours.
    """
    sizes = {name: CLASS_SETS[name].num_classes for name in class_sets}
    largest = class_sets[-1]
    count, from_zero = 0, False
    for scene in scenes[:_LOOKED_INTO]:
        ids = np.unique(read_ids(scene.label))
        from_zero |= bool(ids[-1] == VOID)
        count = max(count, int(ids[ids != VOID].max(initial=0)) + from_zero)
        if from_zero and all(count > sizes[name] for name in class_sets[:-1]):
            break
        if count >= sizes[largest]:
            break
    return next((name for name in class_sets if count <= sizes[name]), largest), from_zero
