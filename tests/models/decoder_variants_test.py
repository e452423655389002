"""Tests for segnet_jax/models/decoder_variants.py."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segnet_jax.models import create_model
from tests.helpers.networks import assert_logits, images, small_model
from tests.helpers.numpy_layers import convolve, interpolate, pool, unpool

_FCN_BASIC = ["fcn_basic", "fcn_basic_no_addition", "fcn_basic_no_dim_reduction"]
_FCN_BASIC += ["fcn_basic_no_addition_no_dim_reduction"]


def reference(name, layers, x):
    """Computes the logits by the definitions of section 3.1."""
    pools = []
    for number in range(1, 5):
        before = layers.unit(x, f"conv{number}")
        x, places = pool(before)
        pools.append((x, places, before.shape))
    if name == "bilinear_interpolation":
        return interpolate(layers.conv(x, "conv_classifier"), 16, pools[0][2][:2])

    def compressed(x, number):
        return x if "no_dim_reduction" in name else layers.conv(x, f"conv_reduce{number}")

    x = compressed(x, 4) if name.startswith("fcn") else x
    for number in range(4, 0, -1):
        _, places, shape = pools[number - 1]
        height, width = shape[:2]
        layer = f"conv_decode{number}"
        if name.startswith("fcn"):
            x = layers.deconv(x, f"deconv{number}", stride=2)[3 : 3 + height, 3 : 3 + width]
        elif "single_channel" in name:
            kernel = layers.array(layer, "kernel") * np.eye(x.shape[-1])
            x = layers.norm(convolve(unpool(x, places, shape), kernel), layer)
        else:
            x = layers.norm(layers.conv(unpool(x, places, shape), layer), layer)
        if number > 1 and "no_addition" not in name and "single_channel" not in name:
            finer = pools[number - 2][0]
            x = x + (compressed(finer, number - 1) if name.startswith("fcn") else finer)
    return x if "conv_classifier" not in layers.params else layers.conv(x, "conv_classifier")


@pytest.mark.parametrize(
    "name",
    ["segnet_basic_single_channel_decoder", "segnet_basic_encoder_addition", "bilinear_interpolation", *_FCN_BASIC],
)
def test_decoder_variants_in_evaluation_equal_a_reference(name):
    model, variables = small_model(name)
    assert_logits(model, variables, images(2, 37, 42, 3), functools.partial(reference, name))


@pytest.mark.parametrize("name", _FCN_BASIC)
def test_fcn_basic_starts_with_deconvolutions_that_interpolate(name):
    channels = 64 if "no_dim_reduction" in name else 11
    params = jax.jit(create_model(name, 11).init)(jax.random.key(0), jnp.zeros((1, 16, 16, 3)))["params"]
    line = np.array([1, 3, 5, 7, 7, 5, 3, 1]) / 16
    expected = np.einsum("i,j,cf->ijcf", line, line, np.eye(channels))
    for number in range(1, 5):
        np.testing.assert_allclose(params[f"deconv{number}"]["kernel"], expected, rtol=1e-6)
