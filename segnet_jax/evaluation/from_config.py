"""Builds evaluators from a configuration."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Sequence
from typing import Any

import jax
import ml_collections

from segnet_jax.data import preprocessing
from segnet_jax.data.dataset import Dataset, modalities_of
from segnet_jax.data.from_config import build_normalization, build_train_batches
from segnet_jax.data.preprocessing import RGB
from segnet_jax.errors import InputError
from segnet_jax.evaluation.batch_stats import exact_batch_stats
from segnet_jax.evaluation.evaluator import Evaluator
from segnet_jax.inference.crf import DenseCRF
from segnet_jax.models.base import SegmentationModel


def build_crf(config: ml_collections.ConfigDict) -> DenseCRF | None:
    """The configured CRF after the network, or None."""
    fields = config.crf.to_dict()
    return DenseCRF(**fields) if fields.pop("enabled") else None


def build_evaluator(
    config: ml_collections.ConfigDict,
    model: SegmentationModel,
    devices: Sequence[jax.Device],
    modalities: Sequence[int] = RGB,
    *,
    normalize: preprocessing.Normalize | None = None,
    kind: type[Evaluator] = Evaluator,
) -> Evaluator:
    """The configured evaluation, on `devices`.

    Args:
      config: the configuration.
      model: the network.
      devices: to map over.
      modalities: of the images.
      normalize: in place of the configured normalisation.
      kind: the evaluation's class.
    """
    if config.eval.samples and not model.dropout_rate:
        raise InputError(
            f"eval.samples={config.eval.samples} needs a network with dropout, and this one has none; "
            "train one with model.dropout_rate=0.5, or set eval.samples=0."
        )
    return kind(
        model,
        normalize or build_normalization(config, modalities),
        devices,
        batch_size=config.eval.batch_size,
        image_size=tuple(config.data.image_size),
        num_workers=config.data.num_workers,
        num_threads=config.data.num_threads,
        samples=config.eval.samples,
        seed=config.seed,
        crf=build_crf(config),
    )


def compute_exact_batch_stats(
    config: ml_collections.ConfigDict,
    model: SegmentationModel,
    variables: Any,
    dataset: Dataset,
    devices: Sequence[jax.Device],
) -> Any:
    """BatchNorm's statistics over one pass of the training split `dataset`, as it is trained on; {} without any."""
    num_batches = math.ceil(len(dataset) / config.train.batch_size)
    with contextlib.closing(build_train_batches(config, dataset, devices, 0)) as batches:
        first_pass = itertools.islice(batches, num_batches)
        normalize = build_normalization(config, modalities_of(dataset))
        return exact_batch_stats(model, normalize, variables, first_pass, devices)
