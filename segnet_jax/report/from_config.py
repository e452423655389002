"""Reads the conditions of a run, on which its scores depend, from its configuration."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import ml_collections

from segnet_jax.checkpoint.manager import newest_metadata
from segnet_jax.config import default_config, differences, flatten, from_dict, reconstructs
from segnet_jax.errors import InputError
from segnet_jax.models import MODELS


class Condition(NamedTuple):
    """A circumstance on which scores depend.

    Attributes:
      label: its name in the report.
      source: a dotted key of the configuration, or a key of an evaluation's report.
      has_default: whether a published row that does not name it has the default of `configs/default.py`.
    """

    label: str
    source: str
    has_default: bool = False


# By the keys of the conditions in published.json, in the order of the report.
CONDITIONS = {
    "network": Condition("network", "model.name", True),
    "data": Condition("data set", "data.name"),
    "split": Condition("scored split", "split"),
    "test_images": Condition("scored images", "images"),
    "image_size": Condition("scored at", "image_size"),
    "training_images": Condition("training images", "training_images"),
    "training_size": Condition("trained at", "data.image_size"),
    "resize": Condition("resizing where proportions differ", "data.resize", True),
    "iterations": Condition("iterations", "step"),
    "procedure": Condition("training", "train.procedure", True),
    "lbfgs_iterations": Condition("iterations of L-BFGS on a mini-batch", "layerwise.iterations"),
    "pair_duration": Condition("training of each pair", "layerwise.duration"),
    "first_pair": Condition("first trained pair", "layerwise.first_pair"),
    "classifier": Condition("training of the classifier", "layerwise.classifier"),
    "source": Condition("started from", "transfer.source", True),
    "trained": Condition("trained parameters", "transfer.trained", True),
    "frozen": Condition("frozen parameters", "transfer.frozen", True),
    "width": Condition("features, as a share of the paper's", "model.width_multiplier", True),
    "pairs": Condition("pairs of encoder and decoder", "model.pairs", True),
    "hidden_features": Condition("features of the classifier's hidden layer", "model.hidden_features", True),
    "fc_features": Condition("features of fc6 and fc7", "model.fc_features", True),
    "has_batch_norm": Condition("BatchNorm", "model.batch_norm", True),
    "dropout_rate": Condition("dropout rate", "model.dropout_rate", True),
    "reference_padding": Condition("FCN's own padding", "model.reference_padding", True),
    "loss": Condition("loss", "loss.name", True),
    "teachers": Condition("teachers", "loss.teachers", True),
    "class_weights": Condition("class weights", "loss.class_weights"),
    "class_weight_power": Condition("power of the class weights", "loss.class_weight_power", True),
    "pretrained": Condition("initial weights of the encoder", "pretrained.weights"),
    "pretrained_batch_norm": Condition("BatchNorm's start behind them", "pretrained.batch_norm", True),
    "pretrained_decoder": Condition("the decoder's start", "pretrained.decoder", True),
    "preprocessing": Condition("normalisation of images", "preprocessing"),
    "batch_size": Condition("batch size", "train.batch_size"),
    "learning_rate": Condition("learning rate", "optimizer.learning_rate"),
    "schedule": Condition("learning rate schedule", "optimizer.schedule", True),
    "batch_norm": Condition("statistics of BatchNorm", "batch_norm"),
    "samples": Condition("stochastic passes per image", "samples", True),
    "crf": Condition("dense CRF", "crf", True),
    "upsampling": Condition("upsampling", "model.upsampling", True),
}


# What every configuration has had from the first version on.
_SECTIONS = ("data", "augment", "model", "pretrained", "loss", "optimizer", "train", "eval")


def read_config(workdir: Path) -> ml_collections.ConfigDict:
    """Returns the configuration of the run in `workdir`: its checkpoints', or without any that of its `config.json`.

    Raises:
      InputError: if there is none, it is damaged, or the run has no scores.
    """
    path = workdir / "config.json"
    metadata = newest_metadata(workdir / "checkpoints")
    if metadata is None and not path.is_file():
        raise InputError(f"{workdir} is no run, as it has no config.json; name the work directory of a training run.")
    try:
        stored = metadata["config"] if metadata else json.loads(path.read_text(encoding="utf-8"))
        # A section that is not there would be taken for one of defaults.
        lacking = [name for name in _SECTIONS if not isinstance(stored, dict) or not isinstance(stored.get(name), dict)]
        if lacking:
            raise ValueError(f"it lacks {', '.join(lacking)}")
        config = from_dict(stored)
    except (OSError, TypeError, ValueError) as error:
        raise InputError(f"{path} is no configuration of this program ({error}); leave this run out.") from error
    if reconstructs(config):
        raise InputError(
            f"{workdir} holds a network that reconstructs its input, which has no scores to compare; train labels from "
            f"it with --config.transfer.source={workdir}, and name the work directory of that run."
        )
    return config


def read_conditions(config: ml_collections.ConfigDict, report: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values of those `CONDITIONS` that apply to a run, by their keys.

    Sizes are [H, W], or [pixels] (their mean number) for images that are not resized. `report` is that of an evaluation
    with the number of `training_images`; {} leaves out what depends on it.
    """
    values = {**flatten(config), "samples": 0, **report, "crf": bool(report.get("crf"))}
    network = MODELS.get(config.model.name)
    for field in dataclasses.fields(network) if network else ():
        if values.get(f"model.{field.name}") is None:
            values[f"model.{field.name}"] = field.default
    if report:
        pixels = [(report["pixels"] + report["void_pixels"]) // report["images"]]
        values["image_size"] = list(report["image_size"]) or pixels
        values["data.image_size"] = list(config.augment.crop_size or config.data.image_size) or pixels
    # In the middle of layer-wise training, the evaluated network has fewer pairs than the configured one.
    values["model.pairs"] = report.get("pairs", values["model.pairs"])
    if config.data.name == "records":
        values["data.name"] = report.get("dataset", "records")
    if values["model.batch_norm"] is False:
        values["batch_norm"] = None
    # Each procedure has settings that the other does not read.
    is_layerwise = config.train.procedure == "layerwise"
    unused = ("optimizer.", "transfer.trained", "transfer.frozen") if is_layerwise else ("layerwise.",)
    found = {key: values.get(source) for key, (_, source, _) in CONDITIONS.items() if not source.startswith(unused)}
    return {key: value for key, value in found.items() if value is not None}


def default_conditions(network: str) -> dict[str, Any]:
    """Returns the conditions that hold for a published row of `network` unless it says otherwise."""
    config = default_config()
    config.model.name = network
    return {key: value for key, value in read_conditions(config, {}).items() if CONDITIONS[key].has_default}


def changed_settings(config: ml_collections.ConfigDict) -> list[str]:
    """Returns a text for each setting but the seed that decides what is learnt and differs from its default."""
    return [text for text in differences(config.to_dict(), default_config()) if not text.startswith("seed:")]
