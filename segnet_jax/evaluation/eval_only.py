"""Evaluation of a work directory's checkpoint, which needs nothing but the directory and the data."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segnet_jax.checkpoint.manager import newest_metadata
from segnet_jax.config import to_json
from segnet_jax.evaluation.from_config import CheckpointEvaluation
from segnet_jax.runtime.files import write_atomically
from segnet_jax.runtime.processes import is_first

_log = logging.getLogger("segnet_jax")


def evaluate_checkpoint(
    workdir: Path, overrides: Mapping[str, Any] | None = None, weights: str = "", **caffe: str
) -> dict[str, Any]:
    """Evaluates a checkpoint on a split, prints the table, and writes its report and a sheet.

    They lie in `eval/` of `workdir`, under names that tell this evaluation from others, see `result.report_path`. A
    directory without checkpoints also gets the `config.json` of the network.

    Args:
      workdir: of a training run.
      overrides: as of `from_config.CheckpointEvaluation`.
      weights: as there.
      **caffe: as there.

    Returns:
      The report, see `metrics.summarize`.

    Raises:
      InputError: if the checkpoint or the data cannot be read, or do not fit each other, or the report cannot be
        written.
    """
    opened = CheckpointEvaluation(workdir, overrides, weights, **caffe)
    dataset, step = opened.dataset, opened.trained.step
    variables = opened.variables()
    evaluator = opened.build_evaluator(opened.normalize)
    evaluation = evaluator(variables, dataset, boundary_f1=True, num_pictures=opened.pictures)
    if not is_first():
        return evaluation.report
    # First: the scores are not lost if they cannot be written.
    _log.info("Step %d on %s (%s):", step, dataset.name, dataset.split)
    _log.info("%s", evaluation.table())
    path = evaluation.write(workdir, dataset.split, step, dataset.class_table, opened.settings)
    if weights and newest_metadata(workdir / "checkpoints") is None:
        # The report compares runs by their configuration, and this directory holds no run's.
        write_atomically(workdir / "config.json", to_json(opened.trained.run_config) + "\n")
    _log.info("Written: %s and the sheet beside it.", path)
    return evaluation.report
