"""Where the parameters of a run come from: another run's network, and what was trained of it."""

from __future__ import annotations

import json
from pathlib import Path

import ml_collections

from segnet_jax import transfer
from segnet_jax.config import flatten, from_dict, reconstructs
from segnet_jax.models.flat import SegNetFlat, pair_layers

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
