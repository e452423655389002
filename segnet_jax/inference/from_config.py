"""Builds trained networks from the configuration and class table that a checkpoint holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections
import numpy as np

from segnet_jax.config import apply_overrides, check_values, from_dict, reconstructs, without_roots
from segnet_jax.data.class_table import ClassTable
from segnet_jax.data.from_config import build_class_weights, build_dataset, build_normalization, build_reader
from segnet_jax.data.preprocessing import ChannelStatistics
from segnet_jax.errors import InputError
from segnet_jax.inference.crf import DenseCRF
from segnet_jax.inference.preparation import Preparation
from segnet_jax.models.base import SegmentationModel
from segnet_jax.models.from_config import build_model


def stored_config(metadata: Mapping[str, Any]) -> ml_collections.ConfigDict:
    """Returns the training run's configuration from a checkpoint's metadata."""
    return from_dict(metadata["config"])


def overridden(config: ml_collections.ConfigDict, overrides: Mapping[str, Any]) -> ml_collections.ConfigDict:
    """Returns the configuration with `overrides`, by dotted key.

    Raises:
      InputError: for a key that belongs to the training, or a value out of range.
    """
    if fixed := [key for key in overrides if not key.startswith(("eval.", "data.", "crf."))]:
        raise InputError(
            f"--config.{fixed[0]} belongs to the training run and cannot change afterwards; "
            "after training, only --config.eval..., --config.crf... and --config.data... can be given."
        )
    config = config.copy_and_resolve_references()
    apply_overrides(config, dict(overrides))
    check_values(config)
    return config


def wanted_step(config: ml_collections.ConfigDict) -> int | str:
    """Returns which checkpoint is to be used: "best", "latest" or a step."""
    wanted = config.eval.checkpoint
    if wanted == "best" and reconstructs(config):
        return "latest"  # it has no score to be the best by
    return int(wanted) if wanted.isdecimal() else wanted


def wants_exact_batch_stats(config: ml_collections.ConfigDict) -> bool:
    """Tells whether the network is evaluated with the statistics of a pass over the training set."""
    return config.eval.batch_norm == "exact"


def keeps_averages(metadata: Mapping[str, Any]) -> bool:
    """Tells whether a checkpoint holds moving averages of the variables, to use in their place."""
    return stored_config(metadata).train.average_decay > 0


def configured_model(metadata: Mapping[str, Any]) -> SegmentationModel:
    """Builds the network that the run was configured with, from a checkpoint's metadata."""
    return build_model(stored_config(metadata), ClassTable.from_dict(metadata["class_table"]).num_classes)


def build_crf(config: ml_collections.ConfigDict) -> DenseCRF | None:
    """Builds the configured CRF after the network, or None."""
    fields = config.crf.to_dict()
    return DenseCRF(**fields) if fields.pop("enabled") else None


# What tells of the machine that trained, and of nothing else.
_PRIVATE = ("data.root", "pretrained.path", "transfer.source")


def public_config(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """Returns a configuration as nested JSON values, without paths of the machine that trained."""
    shown = config.copy_and_resolve_references()
    apply_overrides(
        shown, dict.fromkeys(_PRIVATE, "") | {"loss.teachers": (), "data.mixture": without_roots(config.data.mixture)}
    )
    return shown.to_dict()


def describe_training(config: ml_collections.ConfigDict) -> tuple[str, str, str, tuple[int, ...]]:
    """Returns the names of network, data set and evaluated split, and the (height, width) of images or ()."""
    data = config.data
    name = " + ".join(part["name"] for part in data.mixture) if data.name == "mixture" else data.name
    return config.model.name, name, data.eval_split, tuple(data.image_size)


def build_preparation(
    config: ml_collections.ConfigDict,
    modalities: Sequence[int],
    names: Sequence[str] = ("rgb",),
    statistics: ChannelStatistics | None = None,
) -> Preparation:
    """Builds what becomes of an image before the network sees it, as in training.

    Args:
      config: of the training run.
      modalities: the number of channels of each modality of its images.
      names: what they are.
      statistics: of the channels of its training images, if the normalisation needs them.
    """
    data = config.data
    normalize = build_normalization(config, modalities, names, statistics)
    return Preparation(tuple(data.image_size), data.resize, build_reader(config, names), normalize, config.seed)


def training_class_weights(config: ml_collections.ConfigDict) -> np.ndarray:
    """Returns the class weights of the loss that a network was trained with, float32 [K], from its training split.

    Raises:
      InputError: if it was trained without, or the training split cannot be read.
    """
    is_weighted = any(name in config.loss.name for name in ("cross_entropy", "focal", "distillation"))
    if config.loss.class_weights == "none" or not is_weighted:
        raise InputError(
            f"This network was trained with loss.class_weights={config.loss.class_weights} and "
            f"loss.name={config.loss.name}, so there are no class weights to undo."
        )
    return build_class_weights(config, build_dataset(config, config.data.train_split))
