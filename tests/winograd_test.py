"""Tests for segnet_jax/models/winograd.py."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from segnet_jax.models import winograd
from segnet_jax.models.convolution import conv_general_dilated


def direct(x, kernel):
    """The same-size 3x3 convolution as a sum of nine shifted products, in float64."""
    height, width = x.shape[1:3]
    padded = np.pad(np.asarray(x, np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    kernel = np.asarray(kernel, np.float64)
    return sum(
        padded[:, i : i + height, j : j + width] @ kernel[i, j] for i, j in itertools.product(range(3), repeat=2)
    )


def direct_weight_gradient(x, gradient):
    """What the kernel's gradient is by definition, in float64."""
    height, width = x.shape[1:3]
    padded = np.pad(np.asarray(x, np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    return np.array(
        [
            [
                np.einsum("nhwc,nhwk->ck", padded[:, i : i + height, j : j + width], np.asarray(gradient, np.float64))
                for j in range(3)
            ]
            for i in range(3)
        ]
    )


def random(*shape, seed):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def assert_close(actual, expected, tolerance=3e-5):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max())


# Whole tiles, and heights and widths that leave 1, 2 and 3 pixels over; images in one group, in several, and alone.
@pytest.mark.parametrize("shape", [(1, 4, 8, 5), (3, 9, 14, 5), (4, 11, 4, 7), (2, 1, 3, 2)])
@pytest.mark.parametrize("values", [1, 1000, 10**7])
def test_equals_the_direct_sum(monkeypatch, shape, values):
    monkeypatch.setattr(winograd, "_TILE_VALUES", values)
    x, kernel, gradient = random(*shape, seed=0), random(3, 3, shape[3], 6, seed=1), random(*shape[:3], 6, seed=2)
    # Compiled anew for each case: the limit is read when the function is traced.
    output, weights = jax.jit(lambda *a: (winograd.convolve(*a[:2]), winograd.weight_gradient(*a[::2])))(
        x, kernel, gradient
    )
    assert_close(output, direct(x, kernel))
    assert_close(weights, direct_weight_gradient(x, gradient))


def test_an_impulse_gives_the_kernel_turned_round():
    x = np.zeros((1, 8, 8, 1), np.float32)
    x[0, 3, 4, 0] = 1
    kernel = np.arange(9, dtype=np.float32).reshape(3, 3, 1, 1)
    expected = np.zeros((8, 8), np.float32)
    expected[2:5, 3:6] = [[8, 7, 6], [5, 4, 3], [2, 1, 0]]
    np.testing.assert_allclose(winograd.convolve(x, kernel)[0, :, :, 0], expected, atol=1e-5)


def test_groups_divide_the_images_and_hold_the_tiles(monkeypatch):
    monkeypatch.setattr(winograd, "_TILE_VALUES", 36 * 2 * 3 * 10 * 4)
    # Tiles of 2 rows and 3 columns, 10 channels: room for 4 images, of which 3 divide 6 and 1 divides 7.
    assert winograd._plan((6, 8, 9, 10)) == (3, 2, 3)
    assert winograd._plan((7, 8, 9, 10)) == (1, 2, 3)
    assert winograd._plan((2, 8, 9, 10)) == (2, 2, 3)
    assert winograd._plan((2, 800, 900, 10)) == (1, 200, 225)


@pytest.mark.parametrize(
    ("x", "kernel", "expected"),
    [
        ((1, 60, 40, 128), (3, 3, 128, 128), True),
        ((1, 60, 36, 128), (3, 3, 128, 128), False),
        ((2, 60, 36, 128), (3, 3, 128, 128), True),
        ((1, 45, 60, 512), (3, 3, 512, 512), True),
        ((1, 90, 120, 128), (3, 3, 128, 256), True),
        ((1, 90, 120, 64), (3, 3, 64, 128), False),
        ((1, 45, 60, 512), (7, 7, 512, 512), False),
        ((1, 45, 60, 512), (1, 1, 512, 512), False),
    ],
)
def test_where_it_gains(x, kernel, expected):
    x, kernel = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in (x, kernel))
    assert winograd.gains(x, kernel) == expected
    # Rounding errors of bfloat16 would be magnified to a tenth of the largest value.
    x, kernel = (jax.ShapeDtypeStruct(array.shape, jnp.bfloat16) for array in (x, kernel))
    assert not winograd.gains(x, kernel)


def test_networks_convolve_this_way_on_cpus_only():
    x, kernel = jnp.zeros((10, 16, 16, 128)), jnp.zeros((3, 3, 128, 128))

    def output_and_gradients(x, kernel):
        def same(x, k):
            return conv_general_dilated(x, k, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

        output, vjp = jax.vjp(same, x, kernel)
        return output, vjp(output)

    traced = jax.jit(output_and_gradients).trace(x, kernel)
    on_cpu = traced.lower(lowering_platforms=("cpu",)).as_text()
    elsewhere = traced.lower(lowering_platforms=("tpu",)).as_text()
    # Output, input gradient and weight gradient.
    assert on_cpu.count("stablehlo.dot_general") == 3
    assert "stablehlo.convolution" not in on_cpu
    assert elsewhere.count("stablehlo.convolution") == 3
    assert "stablehlo.dot_general" not in elsewhere


def test_gradients_through_the_network_convolution():
    x, kernel, gradient = random(2, 38, 33, 128, seed=0), random(3, 3, 128, 130, seed=1), random(2, 38, 33, 130, seed=2)

    def same(conv, x, kernel):
        return conv(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    @functools.partial(jax.jit, static_argnums=0)
    def output_and_gradients(conv, x, kernel, gradient):
        output, vjp = jax.vjp(functools.partial(same, conv), x, kernel)
        return output, *vjp(gradient)

    results = [
        output_and_gradients(conv, x, kernel, gradient) for conv in (conv_general_dilated, lax.conv_general_dilated)
    ]
    for actual, expected in zip(*results, strict=True):
        assert_close(actual, expected)
