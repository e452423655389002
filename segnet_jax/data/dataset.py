"""The interface of data sets, and the first examples of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from segnet_jax.data.class_table import ClassTable
from segnet_jax.data.preprocessing import RGB, RGBD
from segnet_jax.data.resize import Example, resize
from segnet_jax.errors import InputError


class Dataset(Protocol):
    """One split of a data set, with random access to its examples; picklable, so that worker processes can have it.

    Optional members: `modalities`, `modality_names` and `value_types` if images are not RGB alone, see the functions of
    such names; `label(index)`, which reads a label without its image; `group(index)`, the name of the kind of images
    that are scored apart from others, such as "dusk"; and, of data sets in files, `fingerprint()`, which changes when a
    file does.
    """

    name: str
    split: str
    class_table: ClassTable

    def __len__(self) -> int:
        """Returns the number of examples."""

    def __getitem__(self, index: int) -> Example:
        """Returns `image` [H, W, channels], `label` uint8 [H, W] (class index, or VOID), `name` str.

        The images of a data set are all uint8, as RGB is, or all float32 of any range, with NaN where a value is
        missing.
        """

    def shape(self, index: int) -> tuple[int, int]:
        """Returns (height, width) of an example, without decoding it."""


def modalities_of(dataset: Dataset) -> tuple[int, ...]:
    """Returns the number of channels of each modality of the images: `dataset.modalities`, or else (3,)."""
    return tuple(getattr(dataset, "modalities", RGB))


def modality_names_of(dataset: Dataset) -> tuple[str, ...]:
    """Returns what the modalities are: `dataset.modality_names`, or else `default_modality_names`."""
    return tuple(getattr(dataset, "modality_names", default_modality_names(modalities_of(dataset))))


def value_types_of(dataset: Dataset) -> tuple[str, ...]:
    """Returns of each modality the type of the values in its files, where they are read exactly: `value_types`."""
    return tuple(getattr(dataset, "value_types", ()))


def image_dtype_of(dataset: Dataset) -> str:
    """Returns the type of the images, "uint8" or "float32", by reading the first."""
    return str(dataset[0]["image"].dtype)


def require_alike(first: Dataset, other: Dataset) -> None:
    """Checks that two data sets or splits have images of the same channels and types, so that one network takes both.

    Raises:
      InputError: they have not, or the first image of one cannot be read.
    """
    described = [
        " and ".join(
            f"{n} of {name}" for n, name in zip(modalities_of(dataset), modality_names_of(dataset), strict=True)
        )
        + f" ({', '.join((image_dtype_of(dataset), *filter(None, value_types_of(dataset))))})"
        for dataset in (first, other)
    ]
    if described[0] != described[1]:
        raise InputError(
            f"The images of {other.name} ({other.split}) have the channels {described[1]}, and those of {first.name} "
            f"({first.split}) {described[0]}; bring all to the same channels and type."
        )


def default_modality_names(modalities: Sequence[int]) -> tuple[str, ...]:
    """Returns the names of modalities of so many channels each that have no others: three channels first are "rgb"."""
    if tuple(modalities) == RGBD:
        return "rgb", "depth"
    return tuple("rgb" if (i, n) == (0, 3) else f"modality {i}" for i, n in enumerate(modalities))


def read_label(dataset: Dataset, index: int) -> np.ndarray:
    """Reads the label of an example, without its image if the data set can."""
    return dataset.label(index) if hasattr(dataset, "label") else dataset[index]["label"]


class Wrapper:
    """A data set made of another one, whose description it has."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self.name, self.split, self.class_table = dataset.name, dataset.split, dataset.class_table
        self.modalities, self.modality_names = modalities_of(dataset), modality_names_of(dataset)
        self.value_types = value_types_of(dataset)
        if hasattr(dataset, "fingerprint"):
            # Of all files, so it changes at least whenever those that are used do.
            self.fingerprint = dataset.fingerprint
        if hasattr(dataset, "group"):
            self.group = dataset.group


class Resized(Wrapper):
    """A split whose examples come at one size; labels without their images come as they are."""

    def __init__(self, dataset: Dataset, size: tuple[int, ...], method: str) -> None:
        """Resizes each example of `dataset` to `size` (height, width), see `resize.resize`."""
        super().__init__(dataset)
        self._size, self._method = size, method

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


class Subset(Wrapper):
    """The first examples of a split."""

    def __init__(self, dataset: Dataset, length: int) -> None:
        """Takes the first `length` examples of `dataset`, or all if there are fewer."""
        super().__init__(dataset)
        self._length = min(length, len(dataset))

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
