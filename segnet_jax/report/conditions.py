"""Where the parameters of a run come from: another run's network, and what was trained of it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ml_collections

from segnet_jax.config import flatten, from_dict, reconstructs
from segnet_jax.models import MODELS
from segnet_jax.models.segnet_flat import SegNetFlat, pair_layers
from segnet_jax.weights import transfer

EVERYTHING, DEEPEST_PAIR, CLASSIFIER = "everything", "the deepest pair", "the classifier"


def source_of(config: ml_collections.ConfigDict) -> str:
    """What a run started from, in words, such as "a network trained on camvid"; "" for random or VGG16's weights."""
    if not config.transfer.source:
        return ""
    try:
        text = (Path(config.transfer.source).expanduser() / "config.json").read_text(encoding="utf-8")
        source = from_dict(json.loads(text))
    except (OSError, TypeError, ValueError, AttributeError):
        return "a network that is no longer there"
    if reconstructs(source):
        return f"a network trained to reconstruct its input, on {source.data.name}"
    return f"a network trained on {source.data.name}"


def trained_part_of(config: ml_collections.ConfigDict) -> str:
    """What a run trained: `EVERYTHING`, of the 2015 network `DEEPEST_PAIR` or `CLASSIFIER`, or a pattern in words."""
    fields = config.transfer
    if config.train.procedure == "layerwise":
        return _layerwise_part(config)
    if config.model.name == "segnet_flat":
        pairs, head = _pairs(config), SegNetFlat.head
        layers = {layer for number in range(1, pairs + 1) for layer in pair_layers(number)}
        classifier = {head, f"{head}_hidden"} if flatten(config).get("model.hidden_features") else {head}
        kernels = {layer: {"kernel": None} for layer in layers | classifier}
        chosen = transfer.is_trained(kernels, fields.trained, fields.frozen)
        trained = {layer for layer, is_trained in chosen.items() if is_trained["kernel"]}
        named = {
            EVERYTHING: layers | classifier,
            DEEPEST_PAIR: set(pair_layers(pairs)),
            CLASSIFIER: classifier,
        }
        for name, expected in named.items():
            if trained == expected:
                return name
    if fields.trained == ".*" and not fields.frozen:
        return EVERYTHING
    return f"parameters matching {fields.trained}" + (f" without {fields.frozen}" if fields.frozen else "")


def _layerwise_part(config: ml_collections.ConfigDict) -> str:
    pairs, first = _pairs(config), config.layerwise.first_pair
    with_classifier = config.layerwise.classifier != "never"
    if first > pairs:
        return CLASSIFIER
    if first == pairs and not with_classifier:
        return DEEPEST_PAIR
    part = EVERYTHING if first == 1 else f"pairs {first} to {pairs}" if first < pairs else DEEPEST_PAIR
    if with_classifier:
        return part if part == EVERYTHING else f"{part} and the classifier"
    return f"{part} but the classifier" if part == EVERYTHING else part


def _pairs(config: ml_collections.ConfigDict) -> int:
    return flatten(config).get("model.pairs") or SegNetFlat.pairs


def _agree(key: str, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
    if key in ("image_size", "training_size") and not ours[key]:
        height, width = theirs[key]
        return ours["pixels"] == height * width
    wanted = theirs.get(key)
    return (tuple(wanted) if isinstance(wanted, list) else wanted) == ours[key]


def _in_words(key: str, conditions: Mapping[str, Any]) -> str:
    value, note = conditions.get(key), conditions.get(f"{key}_note", "")
    if key == "training_images" and "training_data" in conditions:
        note = conditions["training_data"]
    if key in ("image_size", "training_size") and not value:
        value, note = "as they are", f"{conditions['pixels']:,} pixels each"
    text = "" if value is None and note else _CONDITIONS[key][1](value)
    return f"{text} ({note})" if text and note else text or note


def _plain(value: Any) -> str:
    return "unknown" if value is None else str(value).replace("_", " ")


def _number(value: Any) -> str:
    return "unknown" if value is None else f"{value:,}"


def _size(value: Any) -> str:
    return value if isinstance(value, str) else "x".join(map(str, value))


def _yes_or_no(value: Any) -> str:
    return "yes" if value else "no"


def _procedure(value: str) -> str:
    return {"end_to_end": "end to end, by SGD", "layerwise": "layer by layer, by L-BFGS"}[value]


def _batch_norm(value: str) -> str:
    return {"exact": "a pass over the training set", "running": "running averages"}[value]


# By key of the conditions: what it is called, and how its values are written.
_CONDITIONS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "network": ("network", _plain),
    "data": ("data set", _plain),
    "split": ("scored split", _plain),
    "test_images": ("scored images", _number),
    "image_size": ("scored at", _size),
    "training_images": ("training images", _number),
    "training_size": ("trained at", _size),
    "iterations": ("iterations", _number),
    "procedure": ("training", _procedure),
    "lbfgs_iterations": ("iterations of L-BFGS on a mini-batch", _number),
    "pair_duration": ("training of each pair", _plain),
    "source": ("started from", lambda value: value or "no other network"),
    "trained_part": ("trained", str),
    "width": ("features, as a share of the paper's", "{:g}".format),
    "pairs": ("pairs of encoder and decoder", _number),
    "hidden_features": ("features of the classifier's hidden layer", lambda value: _number(value) if value else "none"),
    "fc_features": ("features of fc6 and fc7", _number),
    "has_batch_norm": ("BatchNorm", _yes_or_no),
    "dropout_rate": ("dropout rate", "{:g}".format),
    "reference_padding": ("FCN's own padding", _yes_or_no),
    "class_weights": ("class weights", _plain),
    "pretrained": ("initial weights of the encoder", _plain),
    "preprocessing": ("normalisation of images", _plain),
    "batch_size": ("batch size", _number),
    "learning_rate": ("learning rate", "{:g}".format),
    "schedule": ("learning rate schedule", _plain),
    "batch_norm": ("statistics of BatchNorm", _batch_norm),
    "samples": ("stochastic passes per image", _number),
    "crf": ("dense CRF", _yes_or_no),
    "upsampling": ("upsampling", _plain),
}


# Fields of networks, as they are called among the conditions.
_NETWORK_FIELDS = {
    "pairs": "pairs",
    "hidden_features": "hidden_features",
    "fc_features": "fc_features",
    "batch_norm": "has_batch_norm",
    "dropout_rate": "dropout_rate",
    "upsampling": "upsampling",
    "reference_padding": "reference_padding",
}


def network_conditions(model: str, settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What can be set of a network, by the names of `EvaluatedRun.conditions`; {} of an unknown network.

    Args:
      model: the network's name.
      settings: by dotted key, such as "model.pairs"; what is missing or None is as the papers have the network.
    """
    if model not in MODELS:
        return {}
    defaults = {field.name: field.default for field in dataclasses.fields(MODELS[model])}
    chosen = {name: (settings or {}).get(f"model.{name}") for name in _NETWORK_FIELDS if name in defaults}
    return {_NETWORK_FIELDS[name]: defaults[name] if value is None else value for name, value in chosen.items()}
