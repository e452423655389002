"""The result of an evaluation, and the files that it leaves in `eval/` of a work directory."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_collections
import numpy as np
from PIL import Image

from segnet_jax import visualize
from segnet_jax.data.class_table import ClassTable
from segnet_jax.errors import InputError
from segnet_jax.evaluation import metrics


@dataclass(frozen=True)
class Picture:
    """One evaluated image: RGB, uint8 [H, W, 3], ground truth and prediction, uint8 [H, W], uncertainty, float32."""

    image: np.ndarray
    label: np.ndarray
    prediction: np.ndarray
    uncertainty: np.ndarray | None = None


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation gives: `metrics.summarize`'s report, and some of the images with their predictions."""

    report: dict[str, Any]
    pictures: list[Picture]

    @property
    def scores(self) -> dict[str, float]:
        """What is followed over time and saved with a checkpoint."""
        keys = ("mean_iou", "class_accuracy", "global_accuracy", "boundary_f1")
        return {key: self.report[key] for key in keys if self.report[key] is not None}

    @property
    def class_scores(self) -> dict[str, float]:
        """The IoU of each class that has one."""
        return {entry["name"]: entry["iou"] for entry in self.report["classes"] if entry["iou"] is not None}

    def line(self) -> str:
        """The main scores in a line."""
        shown = {"mIoU": "mean_iou", "C": "class_accuracy", "G": "global_accuracy"}
        return ", ".join(f"{name} {100 * self.scores.get(key, math.nan):.2f} %" for name, key in shown.items())

    def table(self) -> str:
        """All scores in several lines."""
        return metrics.format_table(self.report)

    def draw(self, class_table: ClassTable) -> Image.Image | None:
        """The sheet of image, ground truth, prediction, overlay and uncertainty, if any; None without pictures."""
        if not self.pictures:
            return None
        uncertainties = [picture.uncertainty for picture in self.pictures if picture.uncertainty is not None]
        return visualize.prediction_sheet(
            [picture.image for picture in self.pictures],
            [picture.label for picture in self.pictures],
            [picture.prediction for picture in self.pictures],
            class_table,
            uncertainties=uncertainties,
        )

    def write(
        self,
        workdir: Path,
        config: ml_collections.ConfigDict,
        split: str,
        step: int,
        class_table: ClassTable,
        trained: ml_collections.ConfigDict | None = None,
    ) -> Path:
        """Writes the report and the sheet beside it; returns the path of the former, see `report_file.report_path`."""
        path = report_path(workdir, config, split, step, trained)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if sheet := self.draw(class_table):
                sheet.save(path.with_suffix(".png"))
            temporary = path.with_suffix(".tmp")
            about = {
                "split": split,
                "step": step,
                "data": config.data.root or config.data.name,
                "image_size": config.data.image_size,
                "batch_norm": config.eval.batch_norm,
                "max_images": config.data.max_images,
            }
            report = {**about, **self.report}
            temporary.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
            # Last and at once: where there is a report, it is whole, and so is its sheet.
            temporary.replace(path)
        except OSError as error:
            raise InputError(f"{path} cannot be written ({error.strerror}); make room or choose another.") from error
        return path


# The step is the last number before what sets an evaluation apart; a split's own name may hold hyphens and numbers.
_NAME = re.compile(r"(.+)-(\d+)((?:-(?:crf|samples\d+|first\d+|exact|running|native|\d+x\d+))*)")


def report_path(
    workdir: Path,
    config: ml_collections.ConfigDict,
    split: str,
    step: int,
    trained: ml_collections.ConfigDict | None = None,
) -> Path:
    """Where the report of an evaluation lies: `eval/<split>-<step>.json`, with what sets it apart after the step.

    That is `-crf`, `-samples40` (stochastic passes) and `-first8` (of the images, by `data.max_images`), and where it
    is not as in the training run, `-exact` or `-running` (statistics of BatchNorm) and `-180x240` or `-native` (size).

    Args:
      workdir: of the training run.
      config: of the evaluation.
      split: what was evaluated.
      step: of the evaluated parameters.
      trained: the training run's configuration; None where it is `config`.
    """
    parts = ["crf"] if config.crf.enabled else []
    if config.eval.samples:
        parts.append(f"samples{config.eval.samples}")
    if config.data.max_images:
        parts.append(f"first{config.data.max_images}")
    if trained is not None:
        if config.eval.batch_norm != trained.eval.batch_norm:
            parts.append(config.eval.batch_norm)
        size = tuple(config.data.image_size)
        if size != tuple(trained.data.image_size):
            parts.append("x".join(map(str, size)) or "native")
    return workdir / "eval" / ("-".join([split, str(step), *parts]) + ".json")


def find_reports(workdir: Path) -> dict[tuple[str, int, str], Path]:
    """The reports of a work directory by split, step and what follows the step in the file's name, such as "-crf"."""
    found = {}
    for path in sorted((workdir / "eval").glob("*.json")):
        if match := _NAME.fullmatch(path.stem):
            found[match[1], int(match[2]), match[3]] = path
    return found
