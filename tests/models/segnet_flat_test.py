"""Tests for segnet_jax/models/segnet_flat.py."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segnet_jax.errors import InputError
from segnet_jax.models.segnet_flat import SegNetFlat, pair_layers, unit_norm_init
from tests.helpers.flat_reference import convolve, pool
from tests.helpers.networks import count, random_variables, shapes

TINY = SegNetFlat(num_classes=3, width_multiplier=1 / 16, pairs=3)


@functools.cache
def tiny_variables(channels=3, model=TINY):
    return random_variables(model, channels)


@functools.cache
def initial_variables(channels=3, model=TINY):
    return jax.jit(model.init)(jax.random.key(5), jnp.zeros((1, 8, 8, channels)))


def images(*shape, seed=1):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@jax.jit
def logits_of(variables, x, active=None):
    return TINY.apply(variables, x, active=active)


def test_segnet_flat_has_the_papers_number_of_parameters():
    # The first encoder, three more, four decoders, and the soft-max: the paper's 1.4 million (section 4).
    kernels = 49 * 3 * 64 + 7 * 49 * 64 * 64 + 64 * 11
    variables = shapes(SegNetFlat(num_classes=11))
    assert count(variables) == kernels == 1_415_040
    assert count(shapes(SegNetFlat(num_classes=11), channels=4)) == kernels + 49 * 64
    assert count(shapes(SegNetFlat(num_classes=11, pairs=6))) == kernels + 4 * 49 * 64 * 64


def test_segnet_flat_has_kernels_and_nothing_else():
    variables = shapes(SegNetFlat(num_classes=11, hidden_features=5))
    names = [name for number in range(1, 5) for name in pair_layers(number)]
    assert variables.keys() == {"params"}
    assert variables["params"].keys() == {*names, "conv_classifier_hidden", "conv_classifier"}
    assert {tuple(layer) for layer in variables["params"].values()} == {("kernel",)}
    layers = {name: layer["kernel"].shape for name, layer in variables["params"].items()}
    assert layers.pop("conv1") == (7, 7, 3, 64)
    assert layers.pop("conv_classifier_hidden") == (1, 1, 64, 5)
    assert layers.pop("conv_classifier") == (1, 1, 5, 11)
    assert set(layers.values()) == {(7, 7, 64, 64)}


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


def reference(params, image, pairs):
    """Computes logits of one image, in float64, straight from section 3 of the paper."""
    kernels = {name: np.asarray(layer["kernel"], np.float64) for name, layer in params.items()}
    x, memory = np.asarray(image, np.float64), []
    for number in range(1, pairs + 1):
        x = np.maximum(convolve(x, kernels[f"conv{number}"]), 0)
        shape = x.shape
        x, places = pool(x)
        assert (x > 0).any(), "an encoder that gives zeros would agree with anything"
        memory.append((shape, places))
    for number in range(pairs, 0, -1):
        shape, places = memory.pop()
        unpooled = np.zeros(shape)
        unpooled.flat[places.ravel()] = x.ravel()
        x = convolve(unpooled, kernels[f"conv_decode{number}"])
    if "conv_classifier_hidden" in kernels:
        x = np.maximum(convolve(x, kernels["conv_classifier_hidden"]), 0)
    return convolve(x, kernels["conv_classifier"])


@pytest.mark.parametrize(("channels", "hidden"), [(3, 0), (4, 5)])
def test_segnet_flat_has_the_logits_of_a_reference(channels, hidden):
    model = TINY.clone(hidden_features=hidden)
    variables, x = tiny_variables(channels, model), images(2, 21, 18, channels)
    logits = jax.jit(model.apply)(variables, x)
    assert logits.shape == (2, 21, 18, 3)
    for found, image in zip(logits, x, strict=True):
        expected = reference(variables["params"], image, 3)
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_segnet_flat_has_logits_that_grow_with_the_image():
    variables, x = tiny_variables(), images(1, 12, 12, 3)
    logits = logits_of(variables, x)
    assert np.abs(logits).max() > 1e-3
    np.testing.assert_allclose(logits_of(variables, 4 * x), 4 * logits, rtol=1e-5, atol=1e-6)
    assert not np.any(logits_of(variables, 0 * x))


def test_segnet_flat_without_a_feature_equals_one_whose_decoder_ignores_it():
    variables, x = tiny_variables(), images(2, 12, 13, 3)
    plain = logits_of(variables, x)
    np.testing.assert_array_equal(logits_of(variables, x, jnp.ones(4)), plain)
    assert not np.any(logits_of(variables, x, jnp.zeros(4)))
    # Without the second feature: its part of the deepest decoder's kernel might as well be zero.
    kernel = variables["params"]["conv_decode3"]["kernel"]
    without = {"params": {**variables["params"], "conv_decode3": {"kernel": kernel.at[:, :, 1].set(0)}}}
    expected = logits_of(without, x)
    assert np.abs(expected - plain).max() > 1e-4
    np.testing.assert_allclose(logits_of(variables, x, jnp.asarray([1, 0, 1, 1])), expected, rtol=1e-4, atol=1e-6)


def test_segnet_flat_in_parts_is_the_whole():
    variables, x = tiny_variables(), images(1, 11, 14, 3)

    @jax.jit
    def in_parts(variables, x):
        pooled, indices = TINY.apply(variables, x, last=1, method="encode")
        inner, inner_indices = TINY.apply(variables, pooled[-1], first=2, method="encode")
        features = TINY.apply(variables, inner[-1], (*indices, *inner_indices), (11, 14), method="decode")
        return TINY.apply(variables, features, method="classify")

    np.testing.assert_allclose(in_parts(variables, x), logits_of(variables, x), rtol=1e-5, atol=1e-6)


def test_segnet_flat_rematerialised_has_the_same_gradient():
    variables, x = tiny_variables(), images(1, 8, 8, 3)

    def gradient(model):
        return jax.jit(jax.grad(lambda v: jnp.sum(model.apply(v, x) ** 2)))(variables)

    plain, remat = gradient(TINY), gradient(TINY.clone(remat="stages", remat_stages=(1, 3)))
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(remat), strict=True):
        assert np.abs(a).max() > 0
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_segnet_flat_refuses_images_with_other_channels_and_says_both_numbers():
    with pytest.raises(InputError, match="The images have 4 channels, but this network takes 3"):
        jax.eval_shape(TINY.apply, tiny_variables(), jnp.zeros((1, 8, 8, 4)))


def test_size_states_the_pairs():
    assert TINY.clone(pairs=2).size == {"pairs": 2}
