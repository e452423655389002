"""Compares runs with published rows: their scores, and the conditions in which they differ."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segnet_jax.errors import InputError
from segnet_jax.report.from_config import CONDITIONS, default_conditions
from segnet_jax.report.published import METRICS, PublishedRow, find_row, nearest_row
from segnet_jax.report.runs import EvaluatedRun, read_runs

_WORDS = {
    "end_to_end": "end to end, by SGD",
    "layerwise": "layer by layer, by L-BFGS",
    "exact": "a pass over the training set",
    "running": "running averages",
    ".*": "all",
    "": "none",
}


@dataclass(frozen=True)
class Comparison:
    """Runs that differ at most in their seed, and their published row, or None where the papers lack the network."""

    runs: list[EvaluatedRun]
    row: PublishedRow | None

    @property
    def label(self) -> str:
        """The directories' names, followed by how the evaluation differs from a plain one of the whole split."""
        names, kind = ", ".join(run.path.resolve().name for run in self.runs), ", ".join(self.runs[0].kind)
        return f"{names} ({kind})" if kind else names

    @property
    def conditions(self) -> Mapping[str, Any]:
        """The conditions that the runs share."""
        return self.runs[0].conditions

    @property
    def scores(self) -> dict[str, tuple[float, float | None]]:
        """Mean and sample standard deviation (None for a single run) of each metric that the runs have, in %."""
        scores = {}
        for metric in METRICS:
            if values := [100 * run.report[metric] for run in self.runs if run.report[metric] is not None]:
                scores[metric] = statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None
        return scores

    @property
    def class_accuracies(self) -> dict[str, float | None]:
        """The mean accuracy of each class, in %; None for a class that has no pixels."""
        found: dict[str, list[float]] = {}
        for entry in itertools.chain.from_iterable(run.report["classes"] for run in self.runs):
            found.setdefault(entry["name"], []).extend([] if entry["accuracy"] is None else [entry["accuracy"]])
        return {name: 100 * statistics.fmean(values) if values else None for name, values in found.items()}

    @property
    def published_split(self) -> str:
        """The runs' split if the row has scores on it, else test."""
        split = self.conditions["split"]
        return split if self.row and split in self.row.scores else "test"

    @property
    def published(self) -> Mapping[str, float]:
        """The row's scores on `published_split`, in %."""
        return self.row.scores.get(self.published_split, {}) if self.row else {}


def compare(arguments: Sequence[str], split: str = "") -> tuple[list[Comparison], list[str]]:
    """Reads runs and compares each with a published row.

    Args:
      arguments: work directories; DIR=ROW compares with the row of the id ROW in place of the nearest one.
      split: the evaluated split, see `runs.read_runs`.

    Returns:
      The comparisons in the order of the arguments, and a sentence for each directory that could not be read.

    Raises:
      InputError: for a row that does not exist.
    """
    rows: dict[Path, PublishedRow | None] = {}
    for argument in arguments:
        directory, _, row_id = argument.rpartition("=")
        # A directory's own name may hold an equals sign.
        is_plain = not directory or Path(argument).expanduser().exists()
        path = Path(argument if is_plain else directory).expanduser()
        rows[path] = rows.get(path) if is_plain else find_row(row_id)
    comparisons: dict[str, Comparison] = {}
    faults = []
    for path, chosen in rows.items():
        try:
            runs = read_runs(path, split)
        except InputError as error:
            faults.append(str(error))
            continue
        for run in runs:
            conditions = run.conditions
            row = chosen or nearest_row(conditions["network"], conditions["data"], conditions.get("upsampling"))
            # Runs that have all of this in common differ only in their seed.
            key = repr((row, run.kind, run.settings, conditions))
            comparisons.setdefault(key, Comparison([], row)).runs.append(run)
    return list(comparisons.values()), faults


def differing_conditions(comparison: Comparison) -> list[tuple[str, str, str]]:
    """Returns the label, the runs' value and the paper's of each condition that the paper tells and that differs."""
    row, ours, split = comparison.row, comparison.conditions, comparison.published_split
    if row is None:
        return []
    defaults = default_conditions(row.model) if row.model else {}
    theirs = {**defaults, **row.conditions, "split": split}
    theirs["training_size"] = theirs.get("image_size")
    if split == "train":
        theirs["test_images"] = theirs.get("training_images")
    return [
        (condition.label, _in_words(key, ours), _in_words(key, theirs))
        for key, condition in CONDITIONS.items()
        if key in ours and (theirs.get(key) is not None or f"{key}_note" in theirs) and not _agree(key, ours, theirs)
    ]


def _agree(key: str, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
    if key in ("image_size", "training_size") and len(ours[key]) == 1:
        return ours[key][0] == math.prod(theirs[key])
    return ours[key] == theirs.get(key)


def _in_words(key: str, conditions: Mapping[str, Any]) -> str:
    value, note = conditions.get(key), conditions.get(f"{key}_note")
    if value is None:
        return str(note)
    if isinstance(value, bool):
        text = "yes" if value else "no"
    elif isinstance(value, list):
        text = "x".join(map(str, value)) if len(value) > 1 else f"as they are ({value[0]:,} pixels each)"
    elif isinstance(value, str):
        # Regular expressions and paths keep their underscores.
        text = _WORDS.get(value, value.replace("_", " ") if value.isidentifier() else value)
    else:
        text = f"{value:,}" if isinstance(value, int) else f"{value:g}"
    return f"{text} ({note})" if note else text
