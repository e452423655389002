"""Keeps the numbers of a benchmark in files, reads them again, and merges those of several runs."""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.comparison import comparisons
from benchmarks.table import markdown
from segnet_jax.errors import InputError
from segnet_jax.runtime.files import write_atomically, write_errors

_FILE = "benchmark.json"


def require_writable(folder: Path) -> None:
    """Makes a folder and tries to write into it.

    Raises:
      InputError: if that fails.
    """
    with write_errors(f"--output={folder}", advice="choose another"):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass


def write(results: dict[str, Any], folder: Path) -> None:
    """Writes `benchmark.json` and the report `benchmark.md` into a folder.

    Raises:
      InputError: if they cannot be written.
    """
    with write_errors(f"--output={folder}", advice="choose another"):
        write_atomically(folder / _FILE, json.dumps(results, indent=2) + "\n")
        write_atomically(folder / "benchmark.md", markdown(results) + "\n")


def read(path: Path) -> dict[str, Any]:
    """Reads a `benchmark.json`, or the one of a folder.

    Raises:
      InputError: if it is none.
    """
    path = path / _FILE if path.is_dir() else path
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
        # The numbers of worker processes are text in JSON.
        for source, rates in results.get("input_images_per_second", {}).items():
            results["input_images_per_second"][source] = {int(count): rate for count, rate in rates.items()}
        markdown(results)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, StopIteration) as error:
        raise InputError(f"{path} is not the benchmark.json of an earlier run: {error}.") from error
    return results


def differences(one: dict[str, Any], other: dict[str, Any], more: Iterable[str] = ()) -> list[str]:
    """Returns in words what two runs differ in: machine, versions, settings and the keys `more`."""

    def conditions(results: dict[str, Any]) -> dict[str, Any]:
        names = ["image_size", "train_batch", "dtype", "rounds", *more]
        return {**results["machine"], **{name.replace("_", " "): results.get(name) for name in names}}

    ours, theirs = conditions(one), conditions(other)
    return [
        f"{name} ({ours.get(name)} and {theirs.get(name)})"
        for name in sorted(ours | theirs)
        if ours.get(name) != theirs.get(name)
    ]


def merge(paths: Sequence[Path], *, may_differ: bool = False) -> dict[str, Any]:
    """Returns the medians over several runs, with the spread of the runs' medians and the ratios of each run.

    Args:
      paths: of their files or folders.
      may_differ: whether machines, versions and settings may differ; those of the first are reported.

    Raises:
      InputError: if a file is none of a benchmark, there is one file only, or the runs differ.
    """
    runs = [read(path) for path in paths]
    if len(runs) < 2:
        raise InputError(f"--merge={paths[0]} is one run; name two at least, separated by spaces.")
    for path, run in zip(paths[1:], runs[1:], strict=True):
        found = differences(runs[0], run)
        if found and not may_differ:
            raise InputError(
                f"{path} and {paths[0]} differ in {', '.join(found)}; merge runs that are alike, or add "
                "--merge_different."
            )
    merged = _medians(runs)
    merged["runs"], merged["unfinished"] = len(runs), any(run.get("unfinished", False) for run in runs)
    merged.pop("baseline_ratios", None)
    for name, network in merged["models"].items():
        _add_spread(network, [run["models"].get(name, {}) for run in runs])
    for name, network in merged.get("batches", {}).items():
        _add_spread(network, [run.get("batches", {}).get(name, {}) for run in runs])
    ratios: dict[str, list[float]] = {}
    for run in runs:
        for found_one in comparisons(run):
            ratios.setdefault(found_one.key, []).append(found_one.ratio)
    merged["ratios"] = ratios
    return merged


def _medians(values: Sequence[Any]) -> Any:
    """Returns the medians of numbers at the same place; of anything else the first."""
    first = values[0]
    if isinstance(first, dict):
        keys = dict.fromkeys(key for value in values for key in value)
        return {key: _medians([value[key] for value in values if key in value]) for key in keys}
    if isinstance(first, float) or (isinstance(first, int) and not isinstance(first, bool)):
        middle = statistics.median(values)
        return round(middle) if isinstance(first, int) else middle
    return first


def _add_spread(merged: dict[str, Any], runs: Sequence[dict[str, Any]]) -> None:
    """Puts the least and the most of the runs' medians into `spread`."""
    merged["spread"] = {
        measure: {name: _ends(run.get("seconds", {}).get(measure, {}).get(name) for run in runs) for name in times}
        for measure, times in merged.get("seconds", {}).items()
    }


def _ends(values: Iterable[float | None]) -> list[float]:
    known = [value for value in values if value is not None]
    return [min(known), max(known)]
