"""Accuracy with a part of the input missing: pixels, or a whole modality (arXiv 1505.07293, section 5)."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from segnet_jax import visualize
from segnet_jax.data.class_table import ClassTable
from segnet_jax.data.dataset import modality_names_of
from segnet_jax.data.masking import Missing
from segnet_jax.evaluation.from_config import CheckpointEvaluation
from segnet_jax.evaluation.result import Picture, report_path
from segnet_jax.runtime.files import write_atomically, write_errors
from segnet_jax.runtime.processes import is_first

_log = logging.getLogger("segnet_jax")

# Scores of an evaluation that take the host time, and are left out here.
_NOT_COMPUTED = ("boundary_f1", "smoothness")


def evaluate_missing(workdir: Path, overrides: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """Evaluates a checkpoint at each share of missing pixels, and without each modality if there are several.

    Prints a table, and writes it to `eval/<split>-<step>-missing.json` and predictions beside it (with a CRF or the
    like named as `result.report_path` does, before `-missing`). Every labelled pixel counts,
    whether the network saw it or not.

    Args:
      workdir: of a training run.
      overrides: by dotted key, over the run's configuration: `eval.missing_pixels`, `eval.missing_block`,
        `eval.checkpoint`, `data.eval_split`, ...

    Returns:
      For each evaluation the `missing_pixels` that was asked for, `missing_modality` (its number, from 0, or None),
      and the scores of `metrics.summarize`.

    Raises:
      InputError: if the checkpoint or the data cannot be read, or do not fit each other.
    """
    opened = CheckpointEvaluation(workdir, overrides)
    dataset, modalities, step = opened.dataset, opened.trained.modalities, opened.trained.step
    variables = opened.variables()
    cases: list[tuple[float, int | None]] = [(share, None) for share in opened.missing_pixels]
    if len(modalities) > 1:
        cases += [(0.0, number) for number in range(len(modalities))]
    rows, columns = [], []
    for share, modality in cases:
        missing = Missing(opened.normalize, share, opened.missing_block, modality, len(modalities))
        evaluation = opened.build_evaluator(missing)(variables, dataset, num_pictures=opened.pictures)
        rows.append(
            {"missing_pixels": share, "missing_modality": modality}
            | {key: value for key, value in evaluation.report.items() if key not in _NOT_COMPUTED}
        )
        columns.append(evaluation.pictures)
        _log.info("%-20s %s", _name(share, modality, modality_names_of(dataset)), evaluation.line())
    if not is_first():
        return rows
    path = report_path(workdir, dataset.split, step, f"{opened.settings.kind}-missing")
    about = {"split": dataset.split, "step": step, "missing_block": opened.missing_block}
    with write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if opened.pictures:
            headings = [_name(*case, modality_names_of(dataset)) for case in cases]
            _draw(headings, columns, dataset.class_table).save(path.with_suffix(".png"))
        write_atomically(path, json.dumps({**about, "evaluations": rows}, indent=2) + "\n")
    _log.info("Written: %s and the sheet beside it.", path)
    return rows


def _name(share: float, modality: int | None, names: Sequence[str]) -> str:
    if modality is None:
        return f"{100 * share:.4g} % missing"
    return f"{names[modality].replace('rgb', 'RGB')} missing"


def _draw(headings: Sequence[str], columns: Sequence[Sequence[Picture]], class_table: ClassTable) -> Image.Image:
    """Draws a row for each image: image, ground truth, and the prediction in each evaluation."""
    rows = []
    for pictures in zip(*columns, strict=True):
        labels = [pictures[0].label, *(picture.prediction for picture in pictures)]
        rows.append([pictures[0].image, *(visualize.colorize(label, class_table) for label in labels)])
    return visualize.picture_grid(rows, ("image", "ground truth", *headings), class_table=class_table)
