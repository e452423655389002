"""A checkpoint and the split that it is evaluated on, from which the modes `eval`, `missing` and `ablation` start."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from segnet_jax.data.dataset import Dataset
from segnet_jax.data.preprocessing import Normalize
from segnet_jax.evaluation.evaluator import Evaluator
from segnet_jax.evaluation.result import Settings
from segnet_jax.inference.trained_model import TrainedModel

_log = logging.getLogger("segnet_jax")


@dataclass(frozen=True)
class CheckpointEvaluation:
    """A trained network, data of its classes and modalities, and the settings of the evaluation.

    Attributes:
      trained: the network.
      workdir: of its training run.
      dataset: the split to evaluate.
      devices: of all processes, to map over.
      normalize: from uint8 images to the network's input.
      settings: that the report states.
      pictures: the number of images of the sheet.
      missing_pixels: shares of missing pixels, 0 to 1.
      missing_block: side of the squares in which they are missing.
      top_features: numbers of strongest features.
      reading: keyword arguments of `pipeline.eval_batches`.
      train_data: opens the training split.
      build_evaluator: builds the evaluator with a normalisation of its own.
      exact_batch_stats: computes exact statistics of BatchNorm for these variables; None where they are not wanted, or
        the checkpoint has them.
    """

    trained: TrainedModel
    workdir: Path
    dataset: Dataset
    devices: list[jax.Device]
    normalize: Normalize
    settings: Settings
    pictures: int
    missing_pixels: tuple[float, ...]
    missing_block: int
    top_features: tuple[int, ...]
    reading: Mapping[str, Any]
    train_data: Callable[[], Dataset]
    build_evaluator: Callable[[Normalize], Evaluator]
    exact_batch_stats: Callable[[Any], Any] | None

    def variables(self) -> dict[str, Any]:
        """Returns the variables to evaluate with; computes exact batch statistics if they are wanted and missing."""
        variables = self.trained.variables
        if self.exact_batch_stats is None:
            return variables
        _log.info("The statistics of BatchNorm are computed from the training split.")
        return {**variables, "batch_stats": self.exact_batch_stats(variables)}
