"""The result of an evaluation, and the files that it leaves in `eval/` of a work directory."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from segnet_jax import visualize
from segnet_jax.data.class_table import ClassTable
from segnet_jax.evaluation import metrics
from segnet_jax.runtime.files import write_atomically, write_errors
from segnet_jax.visualize.confusion import draw_confusion

# What sets an evaluation apart from a plain one, as a part of its report's file name, and in words.
KINDS = {
    r"crf": "dense CRF",
    r"samples(\d+)": r"\1 stochastic passes",
    r"flip": "over mirror images too",
    r"scales": "over scaled copies",
    r"first(\d+)": r"first \1 images",
    r"exact|running": r"\g<0> statistics of BatchNorm",
    r"\d+x\d+": r"at \g<0>",
    r"native": "at the images' own size",
    r"firstset": "the first of the mixture's data sets",
    r"allsets": "all of the mixture's data sets",
    r"mapped": "classes mapped",
    r"weights": "weights from elsewhere",
}
# The step is the last number before that; a split's own name may hold hyphens and numbers.
_NAME = re.compile(rf"(.+)-(\d+)((?:-(?:{'|'.join(KINDS)}))*)")


@dataclass(frozen=True)
class Settings:
    """The settings of an evaluation that its report states.

    Attributes:
      data: folder or name of the data set.
      image_size: (height, width) at which images are seen and scored; () is their own.
      batch_norm: "running" or "exact".
      max_images: the number of first images of the split, 0 for all.
      scales: factors of the image's size over which predictions are the mean.
      flip: whether they are the mean over the mirror image too.
      class_map: pairs of a class of the data and one of the network; () where they are the same.
      weights: the network that was evaluated in place of the run's own, or "".
      kind: what sets the evaluation apart from a plain one in its file's name, such as "-crf-first8", or "".
    """

    data: str
    image_size: tuple[int, ...]
    batch_norm: str
    max_images: int
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    class_map: tuple[tuple[str, str], ...] = ()
    weights: str = ""
    kind: str = ""


@dataclass(frozen=True)
class Picture:
    """One evaluated image: RGB, uint8 [H, W, 3], ground truth and prediction, uint8 [H, W], uncertainty, float32."""

    image: np.ndarray
    label: np.ndarray
    prediction: np.ndarray
    uncertainty: np.ndarray | None = None


@dataclass(frozen=True)
class Evaluation:
    """The result of an evaluation: the report of `metrics.summarize`, and some images with their predictions."""

    report: dict[str, Any]
    pictures: list[Picture]

    @property
    def scores(self) -> dict[str, float]:
        """The scores that are followed over time and saved with a checkpoint."""
        keys = ("mean_iou", "class_accuracy", "global_accuracy", "boundary_f1")
        return {key: self.report[key] for key in keys if self.report[key] is not None}

    @property
    def class_scores(self) -> dict[str, float]:
        """The IoU of each class that has one."""
        return {entry["name"]: entry["iou"] for entry in self.report["classes"] if entry["iou"] is not None}

    def line(self) -> str:
        """Returns the main scores in a line."""
        shown = {"mIoU": "mean_iou", "C": "class_accuracy", "G": "global_accuracy"}
        return ", ".join(f"{name} {100 * self.scores.get(key, math.nan):.2f} %" for name, key in shown.items())

    def table(self) -> str:
        """Returns all scores in several lines."""
        return metrics.format_table(self.report)

    def draw(self, class_table: ClassTable) -> Image.Image | None:
        """Draws `visualize.prediction_sheet` of the pictures; None without any."""
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

    def draw_confusion(self, title: str) -> Image.Image | None:
        """Draws the confusion matrix below a title; None for a network without classes."""
        if "confusion" not in self.report:
            return None
        names = [entry["name"] for entry in self.report["classes"]]
        return draw_confusion(np.array(self.report["confusion"], np.int64), names, title)

    def write(self, workdir: Path, split: str, step: int, class_table: ClassTable, settings: Settings) -> Path:
        """Writes the report and the sheet beside it; returns the path of the former, see `report_path`.

        Raises:
          InputError: if they cannot be written.
        """
        path = report_path(workdir, split, step, settings.kind)
        about = {key: value for key, value in dataclasses.asdict(settings).items() if key != "kind"}
        report = {"split": split, "step": step, **about, **self.report}
        with write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if sheet := self.draw(class_table):
                sheet.save(path.with_suffix(".png"))
            # Last: where there is a report, its sheet is whole.
            write_atomically(path, json.dumps(report, indent=2) + "\n")
        return path


def report_path(workdir: Path, split: str, step: int, kind: str = "") -> Path:
    """Returns where the report of an evaluation lies: `eval/<split>-<step><kind>.json`.

    Args:
      workdir: of the training run.
      split: the evaluated split.
      step: of the evaluated parameters.
      kind: what sets it apart from a plain evaluation: `-crf`, `-samples40` (stochastic passes), `-flip` and `-scales`
        (the mean over copies of an image) and `-first8` (of the images, by `data.max_images`), and where it is not as
        in the training run, `-exact` or `-running` (statistics of BatchNorm) and `-180x240` or `-native` (size);
        `-mapped` (classes, by `eval.class_map`).
    """
    return workdir / "eval" / f"{split}-{step}{kind}.json"


def find_reports(workdir: Path) -> dict[tuple[str, int, str], Path]:
    """Finds the reports of a work directory, by split, step and kind (see `report_path`)."""
    found = {}
    for path in sorted((workdir / "eval").glob("*.json")):
        if match := _NAME.fullmatch(path.stem):
            found[match[1], int(match[2]), match[3]] = path
    return found
