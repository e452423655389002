"""Chooses the images of a split that an evaluation shows."""

from __future__ import annotations

import numpy as np

from segnet_jax.evaluation.result import Picture
from segnet_jax.runtime import collectives


class PictureChoice:
    """Keeps a few images of a split with their predictions: spread over it, or the best and the worst.

    Args:
      number: of images to keep.
      length: of the split.
      by_score: whether half of them are those of the greatest score and half those of the least, not spread evenly.
    """

    def __init__(self, number: int, length: int, *, by_score: bool = False) -> None:
        """Keeps nothing yet."""
        self._number = number
        self._places: set[int] = set(np.linspace(0, length - 1, number).round().astype(int).tolist())
        self._by_score = by_score
        self._kept: dict[int, tuple[float, Picture]] = {}

    def wants(self, index: int) -> bool:
        """Tells whether an image, by its number in the split, may be among those to show."""
        return self._number > 0 if self._by_score else index in self._places

    def add(self, index: int, picture: Picture, score: float | None = None) -> None:
        """Keeps an image that is wanted, if it is among the best or the worst so far or these do not matter.

        Args:
          index: of the image.
          picture: what is kept.
          score: how well it was predicted; one without a score, as of an image without labels, is not kept if they do.
        """
        if not self._by_score:
            self._kept[index] = 0.0, picture
        elif score is not None:
            self._kept = self._extremes({**self._kept, index: (score, picture)})

    def gather(self) -> list[Picture]:
        """Returns the pictures of all processes: in the order of the split, or from the best to the worst."""
        parts = collectives.gather({index: (score, vars(picture)) for index, (score, picture) in self._kept.items()})
        kept = {index: (score, Picture(**fields)) for part in parts for index, (score, fields) in part.items()}
        ordered = self._extremes(kept) if self._by_score else dict(sorted(kept.items()))
        return [picture for _, picture in ordered.values()]

    def _extremes(self, kept: dict[int, tuple[float, Picture]]) -> dict[int, tuple[float, Picture]]:
        """Returns the best and the worst, from best to worst; of equal ones those that come first in the split."""
        ordered = sorted(kept, key=lambda index: (-kept[index][0], index))
        worst = self._number // 2
        if len(ordered) > self._number:
            ordered = ordered[: self._number - worst] + ordered[len(ordered) - worst :]
        return {index: kept[index] for index in ordered}
