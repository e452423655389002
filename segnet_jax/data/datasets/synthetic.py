"""Procedurally drawn road scenes: a data set without files, for tests and for first runs."""

from typing import Any

import numpy as np

from segnet_jax.data.class_table import VOID, ClassTable
from segnet_jax.data.datasets.road_scene import BASE_SIZE, Size, draw_scene
from segnet_jax.data.preprocessing import RGB, RGBD
from segnet_jax.errors import InputError

_LENGTHS = {"train": 2000, "val": 200, "test": 200}  # the position of a split is part of its seed: append only

SYNTHETIC = ClassTable.from_colors(
    "synthetic",
    VOID,
    "void",
    [
        ("sky", (128, 128, 128)),
        ("building", (128, 0, 0)),
        ("pole", (192, 192, 128)),
        ("road", (128, 64, 128)),
        ("lane_marking", (255, 69, 0)),
        ("pavement", (60, 40, 222)),
        ("tree", (128, 128, 0)),
        ("sign", (192, 128, 128)),
        ("car", (64, 0, 128)),
        ("pedestrian", (64, 64, 0)),
    ],
)
"""The classes of the drawn road scenes."""


class SyntheticScenes:
    """One split of the drawn scenes; scene `index` is a function of (seed, split, index) alone.

    Args:
      split: "train", "val" or "test"; they share no scene.
      size: height and width of every image in pixels, at least 1 each.
      length: number of scenes; None for 2000 (train) or 200 (val, test).
      seed: 0 to 2**32 - 1; another seed gives other scenes in every split.
      depth: whether images have a fourth channel, see `draw_scene`, and `modalities` says so; all else is the same.

    Raises:
      InputError: the split is another.
    """

    modalities: tuple[int, ...] = RGB

    def __init__(
        self, split: str, size: Size = BASE_SIZE, length: int | None = None, seed: int = 0, depth: bool = False
    ) -> None:
        if split not in _LENGTHS:
            raise InputError(f"No split {split!r} of synthetic scenes; choose from {[*_LENGTHS]}.")
        self.name, self.split, self.class_table = "synthetic", split, SYNTHETIC
        self._length = _LENGTHS[split] if length is None else length
        self._size, self._seed, self._depth = size, seed, depth
        if depth:
            self.modalities = RGBD

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> dict[str, Any]:
        index = range(self._length)[index]
        rng = np.random.default_rng([self._seed, [*_LENGTHS].index(self.split), index])
        image, label = draw_scene(rng, self._size, self._depth)
        return {"image": image, "label": label, "name": f"{self.split}_{index:05d}"}

    def shape(self, index: int) -> Size:
        """Returns the height and width of a scene in pixels, without drawing it."""
        range(self._length)[index]
        return self._size
