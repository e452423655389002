"""Reads the evaluations in the work directories of runs."""

from __future__ import annotations

import json
import math
import re
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segnet_jax.checkpoint.manager import newest_metadata
from segnet_jax.errors import InputError
from segnet_jax.evaluation.result import KINDS, find_reports
from segnet_jax.report.from_config import changed_settings, read_conditions, read_config
from segnet_jax.report.published import METRICS


@dataclass(frozen=True)
class EvaluatedRun:
    """An evaluation of a run.

    Attributes:
      path: the work directory.
      kind: how the evaluation differs from a plain one of the whole split, in words; () is a plain one.
      conditions: the values of those `from_config.CONDITIONS` that apply.
      report: what `evaluation.result.Evaluation.write` wrote.
      settings: the settings of the training run, other than the seed, that are not the defaults.
    """

    path: Path
    kind: tuple[str, ...]
    conditions: Mapping[str, Any]
    report: Mapping[str, Any]
    settings: list[str]


def read_runs(path: Path, split: str = "") -> list[EvaluatedRun]:
    """Reads the newest evaluation of each kind: the plain one, and those with a CRF, of the first images and so on.

    Args:
      path: a work directory.
      split: the evaluated split; "" takes test, else val, else any, and prefers one that was evaluated whole.

    Raises:
      InputError: if the directory is no run, has not been evaluated, or cannot be read.
    """
    config = read_config(path)
    found = {key: file for key, file in find_reports(path).items() if split in ("", key[0])}
    if not found:
        of_split, flag = (f" on the split {split}", f" --config.data.eval_split={split}") if split else ("", "")
        raise InputError(
            f"{path} has not been evaluated yet{of_split}; let the run finish, or evaluate a checkpoint with "
            f"python -m segnet_jax.main --mode=eval --workdir={path}{flag}"
        )
    split, *_ = min(found, key=lambda key: ("-first" in key[2], key[0] != "test", key[0] != "val", key[0]))
    newest = {suffix: file for (name, _, suffix), file in sorted(found.items()) if name == split}
    training_images = _count_training_images(path / "checkpoints")
    runs = []
    for suffix, file in sorted(newest.items()):
        try:
            report = json.loads(file.read_text(encoding="utf-8"))
            _require_whole(report)
        except (OSError, ValueError) as error:
            raise InputError(
                f"{file} is no report of an evaluation ({error}); restore a copy, evaluate again or leave the run out."
            ) from error
        kind = tuple(_describe_kind(suffix, report["images"]))
        conditions = read_conditions(config, report | {"training_images": training_images})
        if any(words.startswith("first") for words in kind):
            conditions["test_images_note"] = "the first of the split"
        runs.append(EvaluatedRun(path, kind, conditions, report, changed_settings(config)))
    return runs


def _require_whole(report: Any) -> None:
    """Refuses what an evaluation does not write, or somebody has changed.

    Raises:
      ValueError: with the first thing that is wrong.
    """
    kinds: dict[str, Any] = {"split": str, "batch_norm": str, "image_size": list, "classes": list}
    kinds |= dict.fromkeys(("step", "images", "pixels", "void_pixels"), int)
    kinds |= dict.fromkeys(METRICS, float | int | None)
    for key, kind in kinds.items():
        if not (isinstance(report, dict) and key in report and isinstance(report[key], kind)):
            raise ValueError(f"its {key} is missing or of another kind")
    means = {"class_accuracy": "accuracy", "mean_iou": "iou"}
    for metric, key in means.items():
        try:
            values = [entry[key] for entry in report["classes"] if entry["name"] and entry[key] is not None]
            agrees = math.isclose(statistics.fmean(values), report[metric], abs_tol=1e-9) if values else True
        except (KeyError, TypeError) as error:
            raise ValueError("its classes are of another kind") from error
        if not agrees:
            raise ValueError(f"its {metric} is not the mean of its classes'")


def _describe_kind(suffix: str, images: int) -> Iterator[str]:
    for part in suffix.split("-")[1:]:
        for pattern, words in KINDS.items():
            match = re.fullmatch(pattern, part)
            # A split that has fewer images than the limit was evaluated whole.
            if match and not (words.startswith("first") and int(match[1]) > images):
                yield match.expand(words)


def _count_training_images(checkpoints: Path) -> int | str:
    return (newest_metadata(checkpoints) or {}).get("train_examples", "unknown")
