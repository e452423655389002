"""Class sets: the classes that a data set's label files are read in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from segnet_jax.data.class_table import VOID, ClassTable
from segnet_jax.errors import InputError


@dataclass(frozen=True)
class ClassSet:
    """The classes of a data set's files, or those of another table that they become.

    Attributes:
      files: the table of the values and colours in the files.
      class_table: the table of the labels.
      becomes: by the name of a class of `files`, the name of one of `class_table`; several may become one, and those
        that are not named are void.
    """

    files: ClassTable
    class_table: ClassTable
    becomes: Mapping[str, str]

    @classmethod
    def own(cls, files: ClassTable) -> ClassSet:
        """Returns the set whose classes are those of the files."""
        return cls(files, files, {name: name for name in files.names})

    @cached_property
    def _labels(self) -> np.ndarray:
        """The label of each class of the files, uint8 [256]."""
        labels = np.full(VOID + 1, VOID, np.uint8)
        for name, other in self.becomes.items():
            labels[self.files.names.index(name)] = self.class_table.names.index(other)
        return labels

    def to_labels(self, mask: np.ndarray, source: str) -> np.ndarray:
        """Maps what a label file holds, ids [H, W] or colours [H, W, 3], to class indices.

        Args:
          mask: uint8 or uint16, see `image_files.read_mask`.
          source: the file, for error messages.

        Returns:
          uint8 [H, W], indices in `class_table` and VOID.

        Raises:
          UnknownLabelError: the mask holds what `files` lacks.
        """
        read = self.files.ids_to_labels if mask.ndim == 2 else self.files.colors_to_labels
        return self._labels[read(mask, source)]


def choose_class_set(name: str, sets: Mapping[str, ClassSet], dataset: str) -> ClassSet:
    """Returns the set of a name; "" is the first, the data set's own.

    Raises:
      InputError: there is no such set.
    """
    if not name:
        return next(iter(sets.values()))
    if name not in sets:
        raise InputError(f"data.class_set={name!r} is not known to {dataset}; choose {' or '.join(sets)}.")
    return sets[name]
