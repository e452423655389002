"""Work directories that have been evaluated: their scores, and the conditions these came about under."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_collections
import numpy as np

from segnet_jax.checkpoint.manifest import DamagedError, find_steps, read_manifest
from segnet_jax.config import differences, flatten, from_dict, reconstructs
from segnet_jax.errors import InputError
from segnet_jax.evaluation.result import find_reports
from segnet_jax.report.conditions import network_conditions, source_of, trained_part_of
from segnet_jax.report.published import METRICS


@dataclass(frozen=True)
class EvaluatedRun:
    """One evaluation of one run.

    Attributes:
      path: the work directory.
      config: of the training run.
      report: what `evaluate.Evaluation.write` wrote.
      training_images: length of the training split; None if no checkpoint is left that tells.
      file: where the report lies.
      is_newest: whether no evaluation of the split is of a later step.
    """

    path: Path
    config: ml_collections.ConfigDict
    report: Mapping[str, Any]
    training_images: int | None
    file: Path
    is_newest: bool = True

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
    def name(self) -> str:
        """The directory's, followed by @STEP if there is an evaluation of a later one."""
        name = self.path.resolve().name
        return name if self.is_newest else f"{name}@{self.step}"

    @property
    def first_images(self) -> int:
        """If only so many images from the first on were evaluated, their number, else 0."""
        limit = self.report.get("max_images", self.config.data.max_images)
        # A split that has fewer was evaluated whole.
        return limit if limit and limit <= self.report["images"] else 0

    @property
    def kind(self) -> tuple[str, ...]:
        """What sets the evaluation apart from a plain one of the whole split, in words."""
        kind, report, config = [], self.report, self.config
        if report.get("crf"):
            kind.append("dense CRF")
        if report.get("samples"):
            kind.append(f"{report['samples']} stochastic passes")
        if self.first_images:
            kind.append(f"first {self.first_images} images" if self.first_images > 1 else "first image")
        if report["batch_norm"] != config.eval.batch_norm:
            kind.append(f"{report['batch_norm']} statistics of BatchNorm")
        size = tuple(report["image_size"])
        if size != tuple(config.data.image_size):
            kind.append(f"at {'x'.join(map(str, size))}" if size else "at the images' own size")
        return tuple(kind)

    @property
    def conditions(self) -> dict[str, Any]:
        """Named as in `published.PublishedRow.conditions`, and some that the papers' rows have no need of."""
        config, report = self.config, self.report
        weights = config.loss.class_weights
        if weights != "none" and config.loss.class_weight_power != 1:
            weights = f"{weights} to the power {config.loss.class_weight_power:g}"
        conditions = {
            "network": self.model,
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
            "procedure": config.train.procedure,
            "source": source_of(config),
            "trained_part": trained_part_of(config),
            **network_conditions(self.model, flatten(config)),
        }
        if self.first_images:
            conditions["test_images_note"] = "the first of the split"
        if "pairs" in report:
            conditions["pairs"] = report["pairs"]
        # Of a network without BatchNorm there are no statistics, and L-BFGS finds the length of its steps itself.
        if not conditions.get("has_batch_norm", True) or self.model == "segnet_flat":
            del conditions["batch_norm"]
        if config.train.procedure == "layerwise":
            conditions |= {
                "lbfgs_iterations": config.layerwise.iterations,
                "pair_duration": config.layerwise.duration,
            }
            del conditions["learning_rate"], conditions["schedule"]
        return conditions


def read_runs(path: Path, split: str = "", step: int | None = None) -> list[EvaluatedRun]:
    """Reads the evaluations of a split: the plain one, and those with a CRF and the like.

    Args:
      path: a work directory.
      split: its name; "" takes test, or val where test has not been evaluated, or else whatever there is.
      step: of the evaluated parameters; None takes the highest that each kind of evaluation has.

    Raises:
      InputError: if the directory is no run, has no evaluation yet or none of that step, or cannot be read.
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
    if reconstructs(config):
        raise InputError(
            f"{path} holds a network that reconstructs its input, which has no scores to compare; train labels from it "
            f"with --config.transfer.source={path}, and name the work directory of that run."
        )
    found = find_reports(path)
    # A few images of a split do not stand for it as long as another one was evaluated whole.
    choices = sorted({name for name, *_ in found}, key=lambda name: (_is_limited(name, found), *_preference(name)))
    choice = split or (choices[0] if choices else "")
    files = {(kind, at): file for (name, at, kind), file in found.items() if name == choice}
    if not files:
        of_split = f" on the split {split}" if split else ""
        raise InputError(
            f"{path} has not been evaluated yet{of_split}; let the run finish, or evaluate a checkpoint with "
            f"python -m segnet_jax.main --mode=eval --workdir={path}{split and f' --config.data.eval_split={split}'}"
        )
    newest = {kind: max(at for other, at in files if other == kind) for kind, _ in files}
    chosen = [(kind, at) for kind, at in sorted(files) if at == (newest[kind] if step is None else step)]
    if not chosen:
        steps = ", ".join(map(str, sorted({at for _, at in files})))
        raise InputError(f"{path} has no evaluation of step {step} on the split {choice}; choose one of {steps}.")
    training_images = _count_training_images(path / "checkpoints")
    last = max(newest.values())
    runs: dict[tuple[str, ...], EvaluatedRun] = {}
    for kind, at in chosen:
        file = files[kind, at]
        run = EvaluatedRun(path, config, _read_report(file), training_images, file, at == last)
        # What a report says counts: those of older versions are all named as plain ones.
        if run.kind not in runs or at >= runs[run.kind].step:
            runs[run.kind] = run
    return list(runs.values())


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


def _read_report(path: Path) -> dict[str, Any]:
    report = _read_json(path)
    needed = {*METRICS, "split", "step", "images", "pixels", "void_pixels", "classes", "image_size", "batch_norm"}
    if missing := sorted(needed - report.keys()):
        raise InputError(f"{path} lacks {missing[0]}; evaluate the run again.")
    return report


def _is_limited(split: str, found: Mapping[tuple[str, int, str], Path]) -> bool:
    return all("-first" in kind for name, _, kind in found if name == split)


def _preference(split: str) -> tuple[int, str]:
    return {"test": 0, "val": 1}.get(split, 2), split


def _count_training_images(directory: Path) -> int | None:
    for step in reversed(find_steps(directory)):
        try:
            return read_manifest(directory / str(step))["metadata"].get("train_examples")
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
