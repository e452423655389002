"""A data set in the classes of another one, by a map of classes."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence

import numpy as np

from segnet_jax.data.class_table import VOID, ClassTable
from segnet_jax.data.dataset import Dataset, Wrapper, read_label
from segnet_jax.data.resize import Example
from segnet_jax.errors import InputError


class Mapped(Wrapper):
    """A split whose labels are given in another class table; classes that the map does not name are void.

    Args:
      dataset: the split.
      class_table: the classes to map to.
      pairs: of a class of `dataset` and the one that it becomes, by name; several may become one.
      key: of the configuration, for messages.

    Raises:
      InputError: for a name that its table lacks, or a class that is mapped to two.
    """

    def __init__(
        self,
        dataset: Dataset,
        class_table: ClassTable,
        pairs: Sequence[tuple[str, str]],
        key: str = "eval.class_map",
    ) -> None:
        super().__init__(dataset)
        self.class_table = class_table
        self._labels = np.full(256, VOID, np.uint8)
        for ours, theirs in pairs:
            for name, table in ((ours, dataset.class_table), (theirs, class_table)):
                if name not in table.names:
                    raise InputError(
                        f"{key} has the pair {(ours, theirs)!r}, but {name!r} is none of {', '.join(table.names)}; "
                        "give pairs of a class of the data and one of those that they are mapped to."
                    )
            place, target = dataset.class_table.names.index(ours), class_table.names.index(theirs)
            if self._labels[place] not in (VOID, target):
                raise InputError(f"{key} maps {ours!r} to two classes, of which {theirs!r} is one; give it one.")
            self._labels[place] = target
        if hasattr(dataset, "fingerprint"):
            self.fingerprint = functools.partial(_fingerprint, dataset, self._labels.tobytes())

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Example:
        example = self._dataset[index]
        return {**example, "label": self._labels[example["label"]]}

    def label(self, index: int) -> np.ndarray:
        """Reads the label of an example alone, uint8 [H, W]."""
        return self._labels[read_label(self._dataset, index)]

    def shape(self, index: int) -> tuple[int, int]:
        """Returns the (height, width) of an example."""
        return self._dataset.shape(index)


def _fingerprint(dataset: Dataset, labels: bytes) -> str:
    """Returns a digest of a data set and of what becomes of its labels."""
    return hashlib.sha256(dataset.fingerprint().encode() + labels).hexdigest()  # type: ignore[attr-defined]
