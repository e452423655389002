"""Tests for segnet_jax/models/segnet_flat.py."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segnet_jax.models.segnet_flat import SegNetFlat, unit_norm_init
from tests.helpers.networks import assert_logits, images, random_variables
from tests.helpers.numpy_layers import pool, unpool

TINY = SegNetFlat(num_classes=3, width_multiplier=1 / 16, pairs=3)


@functools.cache
def tiny_variables(channels=3, model=TINY):
    return random_variables(model, channels)


@functools.cache
def initial_variables(channels=3, model=TINY):
    return jax.jit(model.init)(jax.random.key(5), jnp.zeros((1, 8, 8, channels)))


@jax.jit
def tiny_logits(variables, x, active=None):
    return TINY.apply(variables, x, active=active)


def test_segnet_flat_starts_with_kernels_of_unit_norm():
    variables = initial_variables(channels=3, model=TINY.clone(pairs=2))
    assert len(variables["params"]) == 5
    for layer in variables["params"].values():
        kernel = np.asarray(layer["kernel"], np.float64)
        np.testing.assert_allclose((kernel**2).sum(axis=(0, 1, 2)), 1.0, rtol=1e-6)


def test_unit_norm_init_points_in_all_directions_alike():
    kernel = np.asarray(unit_norm_init(jax.random.key(0), (7, 7, 4, 2000)), np.float64).reshape(196, 2000)
    # Of a uniform direction in 196 dimensions: mean 0, covariance 1 / 196, and fourth moments of 3 / (196 * 198).
    assert abs(kernel.mean()) < 5 / np.sqrt(kernel.size * 196)
    covariance = kernel @ kernel.T / 2000 * 196
    np.testing.assert_allclose(covariance, np.eye(196), atol=0.15)
    assert (kernel**4).mean() * 196 * 198 == pytest.approx(3, rel=0.02)


def test_segnet_flat_of_fewer_pairs_begins_as_the_outer_part():
    inner, outer = initial_variables(model=TINY.clone(pairs=2)), initial_variables(model=TINY.clone(pairs=1))
    assert outer["params"].keys() == {"conv1", "conv_decode1", "conv_classifier"}
    for name, layer in outer["params"].items():
        np.testing.assert_array_equal(layer["kernel"], inner["params"][name]["kernel"])


def reference(layers, x):
    """Computes the logits of the three pairs straight from section 3 of the paper."""
    memory = []
    for number in range(1, 4):
        x = layers.unit(x, f"conv{number}")
        shape = x.shape
        x, places = pool(x)
        memory.append((places, shape))
    for number in range(3, 0, -1):
        x = layers.conv(unpool(x, *memory.pop()), f"conv_decode{number}")
    if "conv_classifier_hidden" in layers.params:
        x = layers.unit(x, "conv_classifier_hidden")
    return layers.conv(x, "conv_classifier")


@pytest.mark.parametrize(("channels", "hidden"), [(3, 0), (4, 5)])
def test_segnet_flat_equals_a_reference(channels, hidden):
    model = TINY.clone(hidden_features=hidden)
    assert_logits(model, tiny_variables(channels, model), images(2, 21, 18, channels), reference)


def test_segnet_flat_without_a_feature_equals_one_whose_decoder_ignores_it():
    variables, x = tiny_variables(), images(2, 12, 13, 3)
    plain = tiny_logits(variables, x)
    np.testing.assert_array_equal(tiny_logits(variables, x, jnp.ones(4)), plain)
    assert not np.any(tiny_logits(variables, x, jnp.zeros(4)))
    # Without the second feature: its part of the deepest decoder's kernel might as well be zero.
    kernel = variables["params"]["conv_decode3"]["kernel"]
    without = {"params": {**variables["params"], "conv_decode3": {"kernel": kernel.at[:, :, 1].set(0)}}}
    expected = tiny_logits(without, x)
    assert np.abs(expected - plain).max() > 1e-4
    np.testing.assert_allclose(tiny_logits(variables, x, jnp.asarray([1, 0, 1, 1])), expected, rtol=1e-4, atol=1e-6)


def test_segnet_flat_in_parts_is_the_whole():
    variables, x = tiny_variables(), images(1, 11, 14, 3)

    @jax.jit
    def in_parts(variables, x):
        pooled, indices = TINY.apply(variables, x, last=1, method="encode")
        inner, inner_indices = TINY.apply(variables, pooled[-1], first=2, method="encode")
        features = TINY.apply(variables, inner[-1], (*indices, *inner_indices), (11, 14), method="decode")
        return TINY.apply(variables, features, method="classify")

    np.testing.assert_allclose(in_parts(variables, x), tiny_logits(variables, x), rtol=1e-5, atol=1e-6)


def test_size_states_the_pairs():
    assert TINY.clone(pairs=2).size == {"pairs": 2}
