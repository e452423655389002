"""Runs held against published rows: which against which, and what differs in how they came about."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segnet_jax.errors import InputError
from segnet_jax.evaluated import EvaluatedRun, differ_only_in_seed, mean_and_deviation, read_run
from segnet_jax.published import METRICS, PublishedRow, find_row, match_row


@dataclass(frozen=True)
class Comparison:
    """Runs that differ at most in their seed, and what they are held against.

    Attributes:
      runs: one or more.
      row: the published row, or None where there is none of this network.
    """

    runs: list[EvaluatedRun]
    row: PublishedRow | None

    @property
    def label(self) -> str:
        """The directories' names."""
        return ", ".join(run.path.resolve().name for run in self.runs)

    @property
    def scores(self) -> dict[str, tuple[float, float | None]]:
        """Of the metrics that the runs have, mean and standard deviation (None of a single run), in %."""
        found = {metric: mean_and_deviation(self.runs, metric) for metric in METRICS}
        return {metric: values for metric, values in found.items() if values is not None}

    @property
    def published_split(self) -> str:
        """The split whose published scores count: the runs' own where the row has it, else test."""
        split = self.runs[0].split
        return split if self.row and split in self.row.scores else "test"

    @property
    def published(self) -> dict[str, float]:
        """The row's scores on `published_split`, in %."""
        return dict(self.row.scores.get(self.published_split, {})) if self.row else {}


def compare(arguments: Sequence[str], split: str = "") -> tuple[list[Comparison], list[str]]:
    """Reads runs and finds the rows that they are held against.

    Args:
      arguments: work directories, each followed by =ROW if its row is to be the one of the id ROW; patterns such as
        runs/* stand for what they match.
      split: as of `evaluated.read_run`.

    Returns:
      The comparisons in the order of the arguments, and a sentence for each directory that could not be read.

    Raises:
      InputError: for a row that does not exist.
    """
    comparisons: list[Comparison] = []
    faults: list[str] = []
    seen = set()
    for path, forced in _expand(arguments):
        if path.resolve() in seen:
            continue
        seen.add(path.resolve())
        try:
            run = read_run(path, split)
        except InputError as error:
            faults.append(str(error))
            continue
        row = forced or match_row(run.model, run.conditions)
        for comparison in comparisons:
            if comparison.row is row and differ_only_in_seed(comparison.runs[0], run):
                comparison.runs.append(run)
                break
        else:
            comparisons.append(Comparison([run], row))
    return comparisons, faults


def _expand(arguments: Sequence[str]) -> Iterator[tuple[Path, PublishedRow | None]]:
    for argument in arguments:
        name, separator, row_id = argument.rpartition("=")
        # A directory's own name may hold an equals sign.
        if not separator or _matches(argument):
            name, row_id = argument, ""
        row = find_row(row_id) if row_id else None
        for path in _matches(name) or [Path(name)]:
            yield path, row


def _matches(pattern: str) -> list[Path]:
    # A path that is there is meant as it stands, whatever brackets and stars are in its name.
    path = Path(pattern).expanduser()
    return [path] if path.exists() else [Path(match) for match in sorted(glob.glob(str(path)))]


def differing_conditions(comparison: Comparison) -> list[tuple[str, str, str]]:
    """Condition, the runs', and the paper's, for each that differs or that the paper leaves open in numbers.

    Of what the paper does not tell, nothing is said. Runs of a comparison share their conditions.
    """
    row = comparison.row
    if row is None:
        return []
    ours, theirs = comparison.runs[0].conditions, row.conditions
    split = comparison.published_split
    theirs = {
        "width": 1.0,
        "samples": 0,
        "crf": False,
        "schedule": "constant",
        **theirs,
        "split": split,
        "training_size": theirs.get("image_size"),
        "test_images": theirs.get("training_images" if split == "train" else "test_images"),
    }
    lines = []
    for key, (label, _) in _CONDITIONS.items():
        if key not in ours or (theirs.get(key) is None and f"{key}_note" not in theirs):
            continue
        if not _agree(key, ours, theirs):
            lines.append((label, _in_words(key, ours), _in_words(key, theirs)))
    return lines


def _agree(key: str, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
    if key in ("image_size", "training_size") and not ours[key]:
        height, width = theirs[key]
        return ours["pixels"] == height * width
    wanted = theirs.get(key)
    return (tuple(wanted) if isinstance(wanted, list) else wanted) == ours[key]


def _in_words(key: str, conditions: Mapping[str, Any]) -> str:
    value, note = conditions.get(key), conditions.get(f"{key}_note", "")
    if key == "training_images" and "training_data" in conditions:
        note = conditions["training_data"]
    if key in ("image_size", "training_size") and not value:
        value, note = "as they are", f"{conditions['pixels']:,} pixels each"
    text = "" if value is None and note else _CONDITIONS[key][1](value)
    return f"{text} ({note})" if text and note else text or note


def _plain(value: Any) -> str:
    return "unknown" if value is None else str(value).replace("_", " ")


def _number(value: Any) -> str:
    return "unknown" if value is None else f"{value:,}"


def _size(value: Any) -> str:
    return value if isinstance(value, str) else "x".join(map(str, value))


def _batch_norm(value: str) -> str:
    return {"exact": "a pass over the training set", "running": "running averages"}[value]


# By key of the conditions: what it is called, and how its values are written.
_CONDITIONS = {
    "data": ("data set", _plain),
    "split": ("scored split", _plain),
    "test_images": ("scored images", _number),
    "image_size": ("scored at", _size),
    "training_images": ("training images", _number),
    "training_size": ("trained at", _size),
    "iterations": ("iterations", _number),
    "width": ("features, as a share of the paper's", "{:g}".format),
    "class_weights": ("class weights", _plain),
    "pretrained": ("initial weights of the encoder", _plain),
    "preprocessing": ("normalisation of images", _plain),
    "batch_size": ("batch size", _number),
    "learning_rate": ("learning rate", "{:g}".format),
    "schedule": ("learning rate schedule", _plain),
    "batch_norm": ("statistics of BatchNorm", _batch_norm),
    "samples": ("stochastic passes per image", _number),
    "crf": ("dense CRF", lambda value: "yes" if value else "no"),
    "upsampling": ("upsampling", _plain),
}
