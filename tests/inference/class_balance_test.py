"""Tests for segnet_jax/inference/class_balance.py."""

import dataclasses

import numpy as np
import pytest

import segnet_jax
from segnet_jax.data.from_config import build_dataset
from segnet_jax.errors import InputError
from segnet_jax.inference.class_balance import undo_class_weights
from segnet_jax.inference.segmenter import Segmenter
from segnet_jax.inference.trained_model import load_trained
from segnet_jax.models import MODELS, create_model
from tests.helpers.networks import images, logits_of, small_model


@pytest.fixture
def weighted(trained_run):
    """Returns the network of `trained_run` as if its loss had had class weights."""
    trained = load_trained(trained_run, {"eval.checkpoint": "latest"})
    config = trained.config.copy_and_resolve_references()
    config.loss.class_weights, config.loss.class_weight_power = "median_frequency", 0.5
    return dataclasses.replace(trained, config=config)


def weights_by_hand(data):
    """Returns the square roots of the median-frequency weights: the median of all frequencies over each of them."""
    labels = [data[index]["label"] for index in range(len(data))]
    classes = range(data.class_table.num_classes)
    pixels = [sum(np.sum(label == k) for label in labels) for k in classes]
    present = [sum(label.size for label in labels if np.any(label == k)) for k in classes]
    frequencies = np.array([a / b if b else np.nan for a, b in zip(pixels, present, strict=True)])
    return np.where(np.isnan(frequencies), 1, np.sqrt(np.nanmedian(frequencies) / frequencies))


@pytest.mark.parametrize("share", [1.0, 0.25])
def test_undo_class_weights_takes_a_share_of_their_logarithms_off_the_logits(weighted, share):
    undone = undo_class_weights(weighted, share)
    x = images(1, 16, 24, 3)
    before, after = (logits_of(t.model, t.variables, x) for t in (weighted, undone))
    data = build_dataset(weighted.config, "train")
    # Two classes share the middle of ten; which one is the median shifts all logits alike.
    wanted, found = share * np.log(weights_by_hand(data)), (before - after)[0, 0, 0]
    np.testing.assert_allclose(found - found.mean(), wanted - wanted.mean(), atol=1e-5)
    np.testing.assert_allclose(before - after, np.broadcast_to((before - after)[0, 0, 0], after.shape), atol=1e-5)
    assert weighted.scores and not undone.scores


def test_undo_class_weights_is_kept_by_a_saved_network_and_done_once(weighted, tmp_path):
    undone = Segmenter(weighted).undo_class_weights(0.5)
    undone.save_pretrained(tmp_path / "network")
    assert "The class weights of its loss are undone by 0.5 in" in (tmp_path / "network" / "README.md").read_text()
    again = segnet_jax.from_pretrained(tmp_path / "network")
    bias = again.trained.variables["params"]["conv_classifier"]["bias"]
    np.testing.assert_array_equal(bias, undone.trained.variables["params"]["conv_classifier"]["bias"])
    with pytest.raises(InputError, match="are undone already"):
        again.undo_class_weights()
    for share in (0.0, 1.5):
        with pytest.raises(InputError, match=f"share={share} must be above 0 and at most 1"):
            undone.undo_class_weights(share)


@pytest.mark.parametrize("changed", [{"class_weights": "none"}, {"name": "dice + 0.5 lovasz"}])
def test_undo_class_weights_refuses_a_network_without_them(weighted, changed):
    weighted.config.loss.update(changed)
    with pytest.raises(InputError, match="so there are no class weights to undo"):
        undo_class_weights(weighted)


@pytest.mark.parametrize("name", [name for name in MODELS if create_model(name, 3).last_layer])
def test_bias_of_the_last_layer_adds_to_the_logits_as_it_is(name):
    model, variables = small_model(name)
    shift = np.array([0.5, -1.0, 2.0], np.float32)
    layer = variables["params"][model.last_layer]
    moved = {**variables["params"], model.last_layer: {**layer, "bias": layer["bias"] + shift}}
    x = images(1, 33, 48, 3)
    before, after = (logits_of(model, {**variables, "params": params}, x) for params in (variables["params"], moved))
    np.testing.assert_allclose(after - before, np.broadcast_to(shift, after.shape), atol=1e-4 * np.abs(before).max())


def test_networks_whose_scores_are_changed_further_have_no_last_layer():
    without = {name for name in MODELS if not create_model(name, 3).last_layer}
    assert {"fcn8s", "fcn16s", "fcn32s", "fcn_basic", "segnet_flat"} <= without
    assert not {"segnet", "segnet_basic", "deconvnet", "deeplab_largefov"} & without
