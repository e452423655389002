"""Tests for segnet_jax/report/conditions.py."""

import importlib

import pytest

from segnet_jax.config import apply_overrides, default_config, to_json
from segnet_jax.report.conditions import source_of, trained_part_of


def config_of(**overrides):
    config = default_config()
    config.model.name = "segnet_flat"
    apply_overrides(config, {key.replace("__", "."): value for key, value in overrides.items()})
    return config


@pytest.mark.parametrize(
    ("overrides", "part"),
    [
        ({}, "everything"),
        ({"transfer__trained": "(conv4|conv_decode4)/.*"}, "the deepest pair"),
        (
            {"transfer__trained": "(conv4|conv_decode4)/.*", "model__pairs": 5},
            "parameters matching (conv4|conv_decode4)/.*",
        ),
        ({"transfer__trained": "(conv2|conv_decode2)/.*", "model__pairs": 2}, "the deepest pair"),
        ({"transfer__trained": "conv_classifier.*"}, "the classifier"),
        ({"transfer__trained": "conv_classifier.*", "model__hidden_features": 8}, "the classifier"),
        (
            {"transfer__trained": "conv_classifier/.*", "model__hidden_features": 8},
            "parameters matching conv_classifier/.*",
        ),
        ({"transfer__frozen": "conv[1-3]/.*"}, "parameters matching .* without conv[1-3]/.*"),
        ({"transfer__frozen": r"conv\d/.*|conv_decode\d/.*"}, "the classifier"),
        ({"model__name": "segnet", "transfer__trained": "conv4.*"}, "parameters matching conv4.*"),
        ({"train__procedure": "layerwise"}, "everything"),
        ({"train__procedure": "layerwise", "layerwise__classifier": "never"}, "everything but the classifier"),
        ({"train__procedure": "layerwise", "layerwise__first_pair": 3}, "pairs 3 to 4 and the classifier"),
        (
            {"train__procedure": "layerwise", "layerwise__first_pair": 4, "layerwise__classifier": "never"},
            "the deepest pair",
        ),
        (
            {"train__procedure": "layerwise", "layerwise__first_pair": 5, "layerwise__classifier": "last"},
            "the classifier",
        ),
    ],
)
def test_what_a_run_trained_is_said_in_words(overrides, part):
    assert trained_part_of(config_of(**overrides)) == part


def test_the_ways_of_transfer_are_recognised():
    get_config = importlib.import_module("configs.folder_transfer").get_config
    parts = {variant: trained_part_of(get_config(variant)) for variant in ("R", "SM", "L4")}
    assert parts == {"R": "everything", "SM": "the classifier", "L4": "the deepest pair"}


def test_what_a_run_started_from_is_said_in_words(tmp_path):
    assert source_of(config_of()) == ""
    config = config_of(transfer__source=str(tmp_path))
    assert source_of(config) == "a network that is no longer there"
    (tmp_path / "config.json").write_text(to_json(config_of(data__name="camvid")))
    assert source_of(config) == "a network trained on camvid"
    unsupervised = {"train__procedure": "layerwise", "layerwise__target": "input"}
    (tmp_path / "config.json").write_text(to_json(config_of(data__name="folder", **unsupervised)))
    assert source_of(config) == "a network trained to reconstruct its input, on folder"
    (tmp_path / "config.json").write_text("[")
    assert source_of(config) == "a network that is no longer there"
