"""TODO."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from segnet_jax.data.augment import Example
from segnet_jax.data.class_table import ClassTable
from segnet_jax.data.preprocessing import RGB

pass


class Dataset(Protocol):
    """One split of a data set: examples by random access. Picklable, so that worker processes can have it.

    A data set whose images have more than RGB says so in an attribute `modalities`, see `modalities_of`.
    """

    name: str
    split: str
    class_table: ClassTable

    def __len__(self) -> int:
        """The number of examples."""

    def __getitem__(self, index: int) -> Example:
        """`image` uint8 [H, W, 3] RGB (or more), `label` uint8 [H, W] (class index, or VOID), `name` str."""

    def shape(self, index: int) -> tuple[int, int]:
        """(H, W) of an example, without decoding it."""


def modalities_of(dataset: Dataset) -> tuple[int, ...]:
    """The number of channels of each modality of the images: (3,) unless `dataset.modalities` says, such as (3, 1).

    The first three channels are always RGB.
    """
    return tuple(getattr(dataset, "modalities", RGB))


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
