"""Work directories that have been evaluated: their scores, and the conditions these came about under."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_collections
import numpy as np

from segnet_jax.checkpoint_record import DamagedError, find_steps, read_record
from segnet_jax.config import differences, flatten, from_dict
from segnet_jax.errors import InputError
from segnet_jax.published import METRICS


@dataclass(frozen=True)
class EvaluatedRun:
    """One evaluation of one run.

    Attributes:
      path: the work directory.
      config: of the training run.
      report: what `evaluate.Evaluation.write` wrote.
      training_images: length of the training split; None if no checkpoint is left that tells.
    """

    path: Path
    config: ml_collections.ConfigDict
    report: Mapping[str, Any]
    training_images: int | None

    @property
    def split(self) -> str:
        """The evaluated split."""
        return self.report["split"]

    @property
    def step(self) -> int:
        """Training steps behind the evaluated parameters."""
        return self.report["step"]

    @property
    def model(self) -> str:
        """The network's name."""
        return self.config.model.name

    @property
    def data(self) -> str:
        """The name of the data set; of records, of the one that they were made from."""
        name = self.config.data.name
        return self.report.get("dataset", name) if name == "records" else name

    @property
    def conditions(self) -> dict[str, Any]:
        """Named as in `published.PublishedRow.conditions`, and some that the papers' rows have no need of."""
        config, report = self.config, self.report
        weights = config.loss.class_weights
        if weights != "none" and config.loss.class_weight_power != 1:
            weights = f"{weights} to the power {config.loss.class_weight_power:g}"
        values = flatten(config)
        conditions = {
            "data": self.data,
            "split": self.split,
            "test_images": report["images"],
            "training_images": self.training_images,
            "iterations": self.step,
            "training_size": tuple(config.augment.crop_size or config.data.image_size),
            "image_size": tuple(report["image_size"]),
            "pixels": (report["pixels"] + report["void_pixels"]) // report["images"],
            "class_weights": weights,
            "width": config.model.width_multiplier,
            "pretrained": config.pretrained.weights,
            "preprocessing": config.preprocessing,
            "batch_size": config.train.batch_size,
            "learning_rate": config.optimizer.learning_rate,
            "schedule": config.optimizer.schedule,
            "batch_norm": report["batch_norm"],
            "samples": report.get("samples", 0),
            "crf": bool(report.get("crf")),
        }
        # Only FCN has one; without a value, it is learnt.
        if "model.upsampling" in values:
            conditions["upsampling"] = values["model.upsampling"] or "learnt"
        return conditions


def read_run(path: Path, split: str = "") -> EvaluatedRun:
    """Reads the evaluation of the highest step of a split.

    Args:
      path: a work directory.
      split: its name; "" takes test, or val where test has not been evaluated, or else whatever there is.

    Raises:
      InputError: if the directory is no run, has no evaluation yet, or cannot be read.
    """
    if not path.is_dir():
        raise InputError(f"{path} is no directory; name the work directory of a training run.")
    if not (path / "config.json").is_file():
        raise InputError(f"{path} is no run, as it has no config.json; name the work directory of a training run.")
    stored = _read_json(path / "config.json")
    try:
        config = from_dict(stored)
    except (TypeError, ValueError) as error:
        raise InputError(f"{path / 'config.json'} is none of this program's ({error}); leave this run out.") from error
    found = _find_reports(path)
    choices = [split] if split else sorted({name for name, _ in found}, key=_preference)
    steps = [step for name, step in found if choices and name == choices[0]]
    if not steps:
        of_split = f" on the split {split}" if split else ""
        raise InputError(
            f"{path} has not been evaluated yet{of_split}; let the run finish, or evaluate a checkpoint with "
            f"python -m segnet_jax.main --mode=eval --workdir={path}{split and f' --config.data.eval_split={split}'}"
        )
    report_path = found[choices[0], max(steps)]
    report = _read_json(report_path)
    needed = {*METRICS, "split", "step", "images", "pixels", "void_pixels", "classes", "image_size", "batch_norm"}
    if missing := sorted(needed - report.keys()):
        raise InputError(f"{report_path} lacks {missing[0]}; evaluate the run again.")
    return EvaluatedRun(path, config, report, _count_training_images(path / "checkpoints"))


def differ_only_in_seed(run: EvaluatedRun, other: EvaluatedRun) -> bool:
    """Whether two runs are the same experiment, evaluated alike; where the data lies does not matter."""
    differing = differences(run.config.to_dict(), other.config)
    return all(text.startswith("seed:") for text in differing) and run.conditions == other.conditions


def mean_and_deviation(runs: Sequence[EvaluatedRun], metric: str) -> tuple[float, float | None] | None:
    """Of one score over runs, in %: the mean and, of several, the sample standard deviation.

    Returns:
      None if no run has the score; runs without it are left out.
    """
    values = [100 * run.report[metric] for run in runs if run.report[metric] is not None]
    if not values:
        return None
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None


def _find_reports(path: Path) -> dict[tuple[str, int], Path]:
    reports = {}
    for file in sorted((path / "eval").glob("*.json")):
        name, _, step = file.stem.rpartition("-")
        if name and step.isdecimal():
            reports[name, int(step)] = file
    return reports


def _preference(split: str) -> tuple[int, str]:
    return {"test": 0, "val": 1}.get(split, 2), split


def _count_training_images(directory: Path) -> int | None:
    for step in reversed(find_steps(directory)):
        try:
            return read_record(directory / str(step))["metadata"].get("train_examples")
        except DamagedError:
            continue
    return None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}); restore a copy, or leave this run out.") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no JSON object; restore a copy, or leave this run out.")
    return content
