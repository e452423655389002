"""Tests for segnet_jax/models/modules.py."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from segnet_jax.models.modules import BatchNorm, ConvTranspose, DepthwiseConv, bilinear_init
from segnet_jax.ops.depthwise import depthwise_conv
from segnet_jax.ops.upsampling import bilinear_conv_transpose, bilinear_kernel


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(2.0, 3.0, size=shape).astype(np.float32)


def variables(channels):
    return {
        "params": {"scale": draw(channels, seed=1), "bias": draw(channels, seed=2)},
        "batch_stats": {"mean": draw(channels, seed=3), "var": np.square(draw(channels, seed=4))},
    }


@pytest.mark.parametrize("relu", [False, True])
def test_batch_norm_has_the_variables_values_and_gradients_of_flax(relu):
    x, given, weight = draw(3, 4, 5, 6), variables(6), draw(3, 4, 5, 6, seed=5)

    def loss(module, params, x):
        y, updates = module.apply({**given, "params": params}, x, mutable=["batch_stats"])
        y = nn.relu(y) if relu else y
        return jnp.sum(y * weight), (y, updates)

    def results(module):
        step = jax.value_and_grad(functools.partial(loss, module), argnums=(0, 1), has_aux=True)
        return jax.jit(step)(given["params"], x)

    ours, flaxs = BatchNorm(False, momentum=0.75, relu=relu), nn.BatchNorm(False, momentum=0.75)
    found, wanted = results(ours), results(flaxs)
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    for actual, expected in zip(*map(jax.tree.leaves, (found, wanted)), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-4 * max(1, np.abs(expected).max()))
    # Without a ReLU after it, which the loss has.
    assert (ours.apply(given, x, mutable=["batch_stats"])[0] >= 0).all() == relu
    jax.tree.map(np.testing.assert_array_equal, *(module.init(jax.random.key(0), x) for module in (ours, flaxs)))


def test_batch_norm_in_evaluation_normalises_by_the_running_averages():
    x, given = draw(2, 3, 3, 4), variables(4)
    y, updates = BatchNorm(True).apply(given, x, mutable=["batch_stats"])
    np.testing.assert_allclose(y, nn.BatchNorm(True).apply(given, x), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(updates["batch_stats"]["mean"], given["batch_stats"]["mean"])


def test_batch_norm_over_devices_has_the_statistics_of_the_whole_batch():
    x, given = draw(8, 3, 4, 5), variables(5)

    def apply(x):
        return BatchNorm(False, axis_name="batch").apply(given, x, mutable=["batch_stats"])

    y, updates = jax.pmap(apply, axis_name="batch")(x.reshape(4, 2, 3, 4, 5))
    expected, expected_updates = BatchNorm(False).apply(given, x, mutable=["batch_stats"])
    np.testing.assert_allclose(y.reshape(x.shape), expected, rtol=1e-4, atol=1e-5)
    for device in range(4):
        np.testing.assert_allclose(
            updates["batch_stats"]["var"][device], expected_updates["batch_stats"]["var"], rtol=1e-5
        )


def test_batch_norm_of_bfloat16_activations_has_float32_statistics():
    # In bfloat16, 1000 + noise of 1 would have no variance left to speak of.
    x = jnp.asarray(1000 + draw(4, 8, 8, 2), jnp.bfloat16)
    y, updates = BatchNorm(False, dtype=jnp.bfloat16).apply(
        BatchNorm(False).init(jax.random.key(0), x), x, mutable=["batch_stats"]
    )
    assert y.dtype == jnp.bfloat16
    assert updates["batch_stats"]["mean"].dtype == jnp.float32
    exact = np.asarray(x, np.float64)
    np.testing.assert_allclose(updates["batch_stats"]["mean"], 0.1 * exact.mean((0, 1, 2)), rtol=1e-5)


def test_bilinear_init_keeps_channels_apart():
    kernel = bilinear_init(8)(jax.random.key(0), (16, 16, 3, 3))
    assert kernel.dtype == jnp.float32
    for channel, feature in np.ndindex(3, 3):
        np.testing.assert_array_equal(kernel[:, :, channel, feature], (channel == feature) * bilinear_kernel(16, 8))


def test_conv_transpose_layer_has_its_parameters():
    x = jnp.asarray(draw(1, 3, 4, 2))
    plain = ConvTranspose(features=2, kernel_size=4, stride=2, padding=1)
    output, variables = plain.init_with_output(jax.random.key(0), x, (6, 8))
    assert jax.tree.map(jnp.shape, variables) == {"params": {"kernel": (4, 4, 2, 2)}}
    np.testing.assert_allclose(output, bilinear_conv_transpose(x, 4, 2, (6, 8), 1), rtol=1e-5, atol=1e-6)
    biased = ConvTranspose(features=5, kernel_size=4, stride=2, use_bias=True, kernel_init=jax.nn.initializers.ones)
    output, variables = biased.init_with_output(jax.random.key(0), x, (8, 10))
    assert jax.tree.map(jnp.shape, variables) == {"params": {"kernel": (4, 4, 2, 5), "bias": (5,)}}
    shifted = biased.apply({"params": {**variables["params"], "bias": jnp.arange(5.0)}}, x, (8, 10))
    np.testing.assert_allclose(shifted - output, np.broadcast_to(np.arange(5.0), output.shape), atol=1e-5)


def test_depthwise_layer_convolves():
    x = jnp.asarray(draw(1, 9, 9, 400))
    layer = DepthwiseConv(7, dtype=jnp.bfloat16)
    output, variables = layer.init_with_output(jax.random.key(0), x)
    assert output.dtype == jnp.bfloat16
    (kernel,) = jax.tree.leaves(variables)
    assert jax.tree.map(jnp.shape, variables) == {"params": {"kernel": (7, 7, 1, 400)}}
    # He et al.: a normal distribution of variance 2 / fan-in, the fan-in being what one output is summed from.
    assert float(kernel.var() * 49 / 2) == pytest.approx(1, abs=5 * np.sqrt(2 / kernel.size))
    expected = depthwise_conv(x, kernel)
    np.testing.assert_allclose(np.asarray(output, np.float32), expected, rtol=0.05, atol=0.1)
