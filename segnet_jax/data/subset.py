"""The first examples of a data set."""

from __future__ import annotations

from typing import Any

import numpy as np

from segnet_jax.data.pipeline import Dataset, modalities_of


class Subset:
    """The first `length` examples of a split, or all if there are fewer.

    Attributes:
      name, split, class_table, modalities: those of the whole.
    """

    def __init__(self, dataset: Dataset, length: int) -> None:
        """Takes a data set and a length of at least 0."""
        self._dataset = dataset
        self._length = min(length, len(dataset))
        self.name = dataset.name
        self.split = dataset.split
        self.class_table = dataset.class_table
        self.modalities = modalities_of(dataset)
        if hasattr(dataset, "fingerprint"):
            # Of all files, so it changes at least whenever these do.
            self.fingerprint = dataset.fingerprint

    def __len__(self) -> int:
        """The number of examples."""
        return self._length

    def __getitem__(self, index: int) -> dict[str, Any]:
        """An example, as the whole data set gives it.

        Raises:
          IndexError: if there is none of this number.
        """
        return self._dataset[self._checked(index)]

    def label(self, index: int) -> np.ndarray:
        """The label of an example alone, uint8 [H, W]."""
        index = self._checked(index)
        if hasattr(self._dataset, "label"):
            return self._dataset.label(index)
        return self._dataset[index]["label"]

    def shape(self, index: int) -> tuple[int, int]:
        """The (height, width) of an example."""
        return self._dataset.shape(self._checked(index))

    def _checked(self, index: int) -> int:
        if not 0 <= index < self._length:
            raise IndexError(index)
        return index
