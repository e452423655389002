"""Several data sets as one."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from bisect import bisect_right
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from segnet_jax.data.class_table import ClassTable
from segnet_jax.data.dataset import Dataset, modalities_of, modality_names_of, read_label, require_alike, value_types_of
from segnet_jax.data.resize import Example


class Mixture:
    """One split of several data sets of the same classes, one after the other; training draws from each by its weight.

    The kind of an example (`group`) is the name of its data set.

    Attributes, beside those of `Dataset`:
      datasets: the data sets.
      weights: whole numbers: how many of the training images come from each, in proportion.
    """

    def __init__(self, datasets: Sequence[Dataset], split: str, weights: Sequence[float] | None = None) -> None:
        """Joins data sets.

        Args:
          datasets: one or more, of one class table.
          split: the name of the split.
          weights: of each, at least 1e-6; None takes the numbers of their examples.

        Raises:
          InputError: their images have different channels or types.
        """
        first = datasets[0]
        self.datasets, self.split = tuple(datasets), split
        self.name = " + ".join(dataset.name for dataset in datasets)
        self.class_table: ClassTable = first.class_table
        self.modalities, self.modality_names = modalities_of(first), modality_names_of(first)
        self.value_types = value_types_of(first)
        for dataset in datasets[1:]:
            require_alike(first, dataset)
        lengths = list(map(len, datasets))
        self._ends = list(itertools.accumulate(lengths))
        fractions = [Fraction(weight).limit_denominator(10**6) for weight in weights or lengths]
        unit = math.lcm(*(fraction.denominator for fraction in fractions))
        self.weights = tuple(int(fraction * unit) for fraction in fractions)
        # A name that two data sets have is told apart by their numbers.
        names = [dataset.name for dataset in datasets]
        self._groups = [
            f"{name} {number}" if names.count(name) > 1 else name for number, name in enumerate(names, start=1)
        ]

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Example:
        part, index = self._find(index)
        return self.datasets[part][index]

    def label(self, index: int) -> np.ndarray:
        """Reads the label of an example alone, uint8 [H, W]."""
        part, index = self._find(index)
        return read_label(self.datasets[part], index)

    def shape(self, index: int) -> tuple[int, int]:
        """Returns the (height, width) of an example."""
        part, index = self._find(index)
        return self.datasets[part].shape(index)

    def group(self, index: int) -> str:
        """Returns the name of the data set that an example is of."""
        return self._groups[self._find(index)[0]]

    def fingerprint(self) -> str:
        """Returns a digest that changes when a file of one of the data sets does."""
        parts = [
            [dataset.name, len(dataset), dataset.fingerprint() if hasattr(dataset, "fingerprint") else ""]
            for dataset in self.datasets
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def _find(self, index: int) -> tuple[int, int]:
        """Returns the number of the data set that holds an example, and the example's number there."""
        index = range(len(self))[index]
        part = bisect_right(self._ends, index)
        return part, index - (self._ends[part - 1] if part else 0)
