"""Runs held against published rows: which against which, and what differs in how they came about."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from segnet_jax.errors import InputError
from segnet_jax.report.conditions import _CONDITIONS, EVERYTHING, _agree, _in_words, network_conditions
from segnet_jax.report.published import METRICS, PublishedRow, find_row, match_row
from segnet_jax.report.runs import EvaluatedRun, differ_only_in_seed, mean_and_deviation, read_runs


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
        """The directories' names, and what sets the evaluation apart from a plain one of the whole split."""
        kind = ", ".join(self.runs[0].kind)
        return ", ".join(run.name for run in self.runs) + (f" ({kind})" if kind else "")

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
      arguments: work directories, each followed by @STEP if another than the newest evaluation is meant, and by =ROW
        if its row is to be the one of the id ROW; patterns such as runs/* stand for what they match.
      split: as of `evaluated.read_runs`.

    Returns:
      The comparisons in the order of the arguments, and a sentence for each directory that could not be read.

    Raises:
      InputError: for a row that does not exist.
    """
    comparisons: list[Comparison] = []
    faults: list[str] = []
    seen = set()
    for path, step, forced in _expand(arguments):
        try:
            runs = read_runs(path, split, step)
        except InputError as error:
            if str(error) not in faults:
                faults.append(str(error))
            continue
        for run in runs:
            if run.file.resolve() in seen:
                continue
            seen.add(run.file.resolve())
            row = forced or match_row(run.model, run.conditions)
            for comparison in comparisons:
                if comparison.row is row and differ_only_in_seed(comparison.runs[0], run):
                    comparison.runs.append(run)
                    break
            else:
                comparisons.append(Comparison([run], row))
    return comparisons, faults


def _expand(arguments: Sequence[str]) -> Iterator[tuple[Path, int | None, PublishedRow | None]]:
    for argument in arguments:
        readings = list(_readings(argument))
        name, step, row_id = next((reading for reading in readings if _matches(reading[0])), readings[-1])
        row = find_row(row_id) if row_id else None
        for path in _matches(name) or [Path(name)]:
            yield path, step, row


def _readings(argument: str) -> Iterator[tuple[str, int | None, str]]:
    """Directory, step and row; a directory's own name may hold an equals sign, or end as a step does."""
    directory, separator, row_id = argument.rpartition("=")
    for name, row in ((argument, ""), (directory, row_id)) if separator else ((argument, ""),):
        yield name, None, row
        yield *_split_step(name), row


def _split_step(name: str) -> tuple[str, int | None]:
    directory, separator, step = name.rpartition("@")
    return (directory, int(step)) if separator and step.isdecimal() else (name, None)


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
        **network_conditions(row.model or ""),
        "network": row.model,
        "procedure": "end_to_end",
        "source": "",
        "trained_part": EVERYTHING,
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
