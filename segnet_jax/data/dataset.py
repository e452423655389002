"""The interface of data sets, and the first examples of one."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from segnet_jax.data.augment import Example, resize
from segnet_jax.data.class_table import ClassTable
from segnet_jax.data.preprocessing import RGB


class Dataset(Protocol):
    """One split of a data set, with random access to its examples; picklable, so that worker processes can have it.

    Optional members: `modalities` if images have more channels than RGB, see `modalities_of`; `label(index)`, which
    reads a label without its image; and, of data sets in files, `fingerprint()`, which changes when a file does.
    """

    name: str
    split: str
    class_table: ClassTable

    def __len__(self) -> int:
        """Returns the number of examples."""

    def __getitem__(self, index: int) -> Example:
        """Returns `image` uint8 [H, W, 3] RGB (or more), `label` uint8 [H, W] (class index, or VOID), `name` str."""

    def shape(self, index: int) -> tuple[int, int]:
        """Returns (height, width) of an example, without decoding it."""


def modalities_of(dataset: Dataset) -> tuple[int, ...]:
    """Returns the number of channels of each modality of the images: `dataset.modalities`, or else (3,).

    The first three channels are always RGB.
    """
    return tuple(getattr(dataset, "modalities", RGB))


def read_label(dataset: Dataset, index: int) -> np.ndarray:
    """Reads the label of an example, without its image if the data set can."""
    return dataset.label(index) if hasattr(dataset, "label") else dataset[index]["label"]


class Resized:
    """A split whose examples come at one size; labels without their images come as they are."""

    def __init__(self, dataset: Dataset, size: tuple[int, ...], method: str) -> None:
        """Resizes each example of `dataset` to `size` (height, width), see `augment.resize`."""
        self._dataset, self._size, self._method = dataset, size, method
        self.name, self.split, self.class_table = dataset.name, dataset.split, dataset.class_table
        self.modalities = modalities_of(dataset)
        if hasattr(dataset, "fingerprint"):
            self.fingerprint = dataset.fingerprint

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Example:
        return resize(self._dataset[index], self._size, self._method)

    def label(self, index: int) -> np.ndarray:
        """Reads the label of an example alone, uint8 [H, W] of its own size."""
        return read_label(self._dataset, index)

    def shape(self, index: int) -> tuple[int, int]:
        """Returns the size, that of all examples."""
        del index
        return self._size[0], self._size[1]


class Subset:
    """The first examples of a split."""

    def __init__(self, dataset: Dataset, length: int) -> None:
        """Takes the first `length` examples of `dataset`, or all if there are fewer."""
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
        return self._length

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._dataset[self._checked(index)]

    def label(self, index: int) -> np.ndarray:
        """Reads the label of an example alone, uint8 [H, W]."""
        return read_label(self._dataset, self._checked(index))

    def shape(self, index: int) -> tuple[int, int]:
        """Returns the (height, width) of an example."""
        return self._dataset.shape(self._checked(index))

    def _checked(self, index: int) -> int:
        if not 0 <= index < self._length:
            raise IndexError(index)
        return index
