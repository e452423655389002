"""Sums up what was found in a data set, as text and as JSON values."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from segnet_jax.data.check.inspection import Inspection
from segnet_jax.data.class_table import ClassTable
from segnet_jax.data.class_weights import LabelStatistics, frequency_weights
from segnet_jax.data.dataset import Dataset
from segnet_jax.errors import InputError

WEIGHTS = ("median_frequency", "inverse_frequency")
"""The class weights that are reported."""

_SHOWN = 20


class SplitSummary:
    """Sums up what was found in one split.

    Attributes:
      name: of the split.
      examples: its number of examples, those that cannot be read included.
      sizes: (height, width), and how many examples have it.
      statistics: the pixels of each class.
      images: int64 [K + 1], the number of images in which each class, and void, occurs.
      without_class: the names of the examples whose pixels are all void.
      readable: the indices of the examples without a fault.
      occurs: for each of these, bool [K], whether each class occurs.
      faults: sentences.
    """

    def __init__(self, dataset: Dataset) -> None:
        """Starts with nothing found in `dataset`."""
        count = dataset.class_table.num_classes + 1
        self.name, self.examples = dataset.split, len(dataset)
        self.sizes: Counter[tuple[int, int]] = Counter()
        self.statistics = LabelStatistics(np.zeros(count, np.int64), np.zeros(count, np.int64))
        self.images = np.zeros(count, np.int64)
        self.without_class: list[str] = []
        self.readable: list[int] = []
        self.occurs: list[np.ndarray] = []
        self.faults: list[str] = []
        self._unknown: Counter[Any] = Counter()

    def add(self, inspection: Inspection) -> None:
        """Adds what was found in one example."""
        self.faults += inspection.faults
        self._unknown.update(inspection.unknown)
        if inspection.pixels is None:
            return
        occurs = inspection.pixels > 0
        self.images += occurs
        self.statistics.pixels[:] += inspection.pixels
        self.statistics.present[:] += np.where(occurs, inspection.pixels.sum(), 0)
        if inspection.size is not None:
            self.sizes[inspection.size] += 1
        if not inspection.faults:
            self.readable.append(inspection.index)
            self.occurs.append(occurs[:-1])
            if not occurs[:-1].any():
                self.without_class.append(inspection.name)

    def shares(self) -> np.ndarray:
        """Returns the share of each class in the labelled pixels, float64 [K]; zeros if there are none."""
        pixels = self.statistics.pixels[:-1]
        return pixels / max(int(pixels.sum()), 1)

    def unknown_values(self) -> str:
        """Returns a sentence on all that the class table lacks; "" if it lacks nothing."""
        if len(self._unknown) < 2:
            return ""
        values = some([f"{value} ({count} masks)" for value, count in self._unknown.most_common()])
        return f"In all, the {self.name} masks hold {len(self._unknown)} values that the class table lacks: {values}."


class Summary:
    """Sums up what was found in a data set.

    Attributes:
      name: of the data set.
      class_table: its classes.
      splits: the splits, by name.
      left_out: of each split that could not be opened, why.
      faults: sentences on what keeps the data set from being used as it is; without any it is in order.
    """

    def __init__(
        self,
        datasets: Sequence[Dataset],
        faults: Iterable[str],
        left_out: Mapping[str, str],
        configured: Collection[str] = (),
    ) -> None:
        """Starts with nothing found in the splits but the `faults` that showed when they were opened.

        Args:
          datasets: the splits.
          faults: sentences.
          left_out: of each split that could not be opened, why.
          configured: the splits that are trained and evaluated on, which may share no image.
        """
        self.name, self.class_table = datasets[0].name, datasets[0].class_table
        self.splits = {dataset.split: SplitSummary(dataset) for dataset in datasets}
        self.left_out = dict(left_out)
        self._opening = list(faults)
        self._configured = frozenset(configured)
        # Of each content of an image, in which split it is, under which name, and the content of its label.
        self._contents: dict[bytes, list[tuple[str, str, bytes]]] = {}

    def add(self, split: str, inspection: Inspection) -> None:
        """Adds what was found in one example of a split."""
        self.splits[split].add(inspection)
        if inspection.image_digest:
            place = (split, inspection.name, inspection.label_digest)
            self._contents.setdefault(inspection.image_digest, []).append(place)

    @property
    def training(self) -> SplitSummary:
        """The first split, whose labels make the class weights."""
        return next(iter(self.splits.values()))

    @property
    def faults(self) -> list[str]:
        """All sentences, each once."""
        found = list(self._opening)
        for split in self.splits.values():
            found += [*split.faults, *filter(None, [split.unknown_values()])]
            if not split.statistics.pixels[:-1].any():
                found.append(f"No pixel of the split {split.name} has a class; correct its masks or the class table.")
        parts = self.parts()
        for places in self.duplicates(across=True):
            splits = {split for split, _, _ in places}
            if any(pair not in parts for pair in itertools.permutations(splits, 2) if pair[::-1] not in parts):
                found.append(_same_images(places))
        return list(dict.fromkeys(found))

    def parts(self) -> list[tuple[str, str]]:
        """Returns the pairs of splits of which the first is a list of images of the second: all of it is there too.

        That is how train belongs to trainval, and no fault, unless both are configured.
        """
        held: dict[str, set[bytes]] = {name: set() for name in self.splits}
        for content, places in self._contents.items():
            for split, _, _ in places:
                held[split].add(content)
        return [
            (part, whole)
            for part, whole in itertools.permutations(held, 2)
            if held[part] and held[part] <= held[whole] and not {part, whole} <= self._configured
        ]

    @property
    def notes(self) -> list[str]:
        """Sentences on what may be right as it is."""
        found = [f"The split {name} is left out: {reason}" for name, reason in self.left_out.items()]
        for split in self.splits.values():
            if split.without_class:
                names = some(split.without_class)
                found.append(f"{len(split.without_class)} {split.name} images have no class, all void: {names}.")
        missing = [n for n, pixels in zip(self.class_table.names, self._training_pixels(), strict=True) if not pixels]
        if missing:
            found.append(f"In {self.training.name} never occur: {', '.join(missing)}.")
        found += [f"All images of {part} are in {whole} too." for part, whole in self.parts()]
        groups = self.duplicates(across=False)
        found += [_same_images(places) for places in groups[:_SHOWN]]
        if len(groups) > _SHOWN:
            found.append(f"{len(groups) - _SHOWN} more groups of images that are the same within a split.")
        return found

    def duplicates(self, across: bool) -> list[list[tuple[str, str, bytes]]]:
        """Returns the groups of examples whose images have the same pixels, in several splits or within one."""
        groups = [places for places in self._contents.values() if len(places) > 1]
        return [places for places in groups if (len({split for split, _, _ in places}) > 1) == across]

    def weights(self, power: float = 1.0) -> dict[str, np.ndarray]:
        """Returns the class weights of each method, float32 [K]; none if no training pixel has a class."""
        try:
            statistics = self.training.statistics
            return {name: frequency_weights(name, statistics, self.class_table, power) for name in WEIGHTS}
        except InputError:
            return {}

    def _training_pixels(self) -> np.ndarray:
        return self.training.statistics.pixels[:-1]

    def to_text(self) -> str:
        """Returns counts, sizes, classes and notes, in lines."""
        counts = ", ".join(f"{split.name} {split.examples}" for split in self.splits.values())
        lines = [f"{self.name}: {counts} images"]
        for split in self.splits.values():
            sizes = [f"{height}x{width} ({count})" for (height, width), count in split.sizes.most_common()]
            lines.append(f"Sizes of {split.name}, height x width: {some(sizes)}")
        return "\n".join([*lines, "", *self._class_lines(), *[""] * bool(self.notes), *self.notes])

    def _class_lines(self) -> list[str]:
        """Returns the table of the classes."""
        weights = self.weights()
        header = ["class", *(f"{name} %" for name in self.splits), f"{self.training.name} images"]
        header += [name.replace("_frequency", "") for name in weights]
        rows = [header]
        shares = [split.shares() for split in self.splits.values()]
        for k, name in enumerate(self.class_table.names):
            row = [name, *(f"{100 * share[k]:.3g}" for share in shares), f"{self.training.images[k]}"]
            rows.append(row + [f"{values[k]:.4f}" for values in weights.values()])
        voids = [
            100 * split.statistics.pixels[-1] / max(split.statistics.pixels.sum(), 1) for split in self.splits.values()
        ]
        rows.append(["void, of all", *(f"{void:.3g}" for void in voids), f"{self.training.images[-1]}"])
        lines = [""] * len(rows)
        for column in range(len(header)):
            texts = [row[column] if column < len(row) else "" for row in rows]
            width = max(map(len, texts))
            texts = [text.rjust(width + 2) if column else text.ljust(width) for text in texts]
            lines = [line + text for line, text in zip(lines, texts, strict=True)]
        return [line.rstrip() for line in lines]

    def to_dict(self) -> dict[str, Any]:
        """Returns all that was found, as JSON values."""
        weights = {
            method: {name: _number(value) for name, value in zip(self.class_table.names, values, strict=True)}
            for method, values in self.weights().items()
        }
        return {
            "name": self.name,
            "class_table": self.class_table.to_dict(),
            "splits": {name: _split_dict(split, self.class_table) for name, split in self.splits.items()},
            "left_out": self.left_out,
            "class_weights": weights,
            "duplicates_across_splits": [_names(places) for places in self.duplicates(across=True)],
            "duplicates_within_splits": [_names(places) for places in self.duplicates(across=False)],
            "faults": self.faults,
            "notes": self.notes,
        }


def _split_dict(split: SplitSummary, class_table: ClassTable) -> dict[str, Any]:
    pixels, images = split.statistics.pixels.tolist(), split.images.tolist()
    names = class_table.names
    return {
        "examples": split.examples,
        "without_fault": len(split.readable),
        "sizes": [{"height": h, "width": w, "examples": count} for (h, w), count in split.sizes.most_common()],
        "classes": [
            {"name": name, "pixels": count, "images": number}
            for name, count, number in zip(names, pixels[:-1], images[:-1], strict=True)
        ],
        "void": {"pixels": pixels[-1], "images": images[-1]},
        "without_class": split.without_class,
    }


def some(texts: Sequence[str]) -> str:
    """Joins the first texts of a list, and says how many others there are."""
    more = f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return ", ".join(texts[:_SHOWN]) + more


def _same_images(places: Sequence[tuple[str, str, bytes]]) -> str:
    names = " and ".join(f"{name} ({split})" for split, name, _ in places)
    labels = ", with labels that differ" if len({label for _, _, label in places}) > 1 else ""
    across = len({split for split, _, _ in places}) > 1
    advice = "keep it in one split, or scores look better than they are" if across else "keep one, unless that is meant"
    return f"{names} are the same image{labels}; {advice}."


def _names(places: Sequence[tuple[str, str, bytes]]) -> list[dict[str, str]]:
    return [{"split": split, "name": name} for split, name, _ in places]


def _number(value: np.floating) -> float:
    # float32 in as few digits as tell it apart.
    number = float(np.format_float_positional(value))
    assert math.isfinite(number)
    return number
