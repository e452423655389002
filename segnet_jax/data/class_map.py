"""A data set in the classes of another one, by a map of classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from segnet_jax.data.augment import Example
from segnet_jax.data.class_table import VOID, ClassTable
from segnet_jax.data.dataset import Dataset, modalities_of, modality_names_of
from segnet_jax.errors import InputError


class Mapped:
    """A split whose labels are given in another class table; classes that the map does not name are void.

    Args:
      dataset: the split.
      class_table: the classes to map to.
      pairs: of a class of `dataset` and the one that it becomes, by name; several may become one.

    Raises:
      InputError: for a name that its table lacks.
    """

    def __init__(self, dataset: Dataset, class_table: ClassTable, pairs: Sequence[tuple[str, str]]) -> None:
        self._dataset = dataset
        self.name = dataset.name
        self.split = dataset.split
        self.class_table = class_table
        self.modalities, self.modality_names = modalities_of(dataset), modality_names_of(dataset)
        if hasattr(dataset, "group"):
            self.group = dataset.group
        self._labels = np.full(256, VOID, np.uint8)
        for ours, theirs in pairs:
            for name, table in ((ours, dataset.class_table), (theirs, class_table)):
                if name not in table.names:
                    raise InputError(
                        f"eval.class_map has the pair {(ours, theirs)!r}, but {name!r} is none of "
                        f"{', '.join(table.names)}; give pairs of a class of the data and one of the network."
                    )
            self._labels[dataset.class_table.names.index(ours)] = class_table.names.index(theirs)

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Example:
        example = self._dataset[index]
        return {**example, "label": self._labels[example["label"]]}

    def shape(self, index: int) -> tuple[int, int]:
        """Returns the (height, width) of an example."""
        return self._dataset.shape(index)
