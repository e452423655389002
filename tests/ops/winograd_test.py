"""Tests for segnet_jax/ops/winograd.py."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from segnet_jax.ops import winograd
from segnet_jax.ops.convolution import conv_general_dilated


def shifted(x, size):
    """Returns the image as each tap of the kernel is multiplied with it, float64 [size, size, N, H, W, C]."""
    height, width = x.shape[1:3]
    border = size // 2
    padded = np.pad(np.asarray(x, np.float64), ((0, 0), (border, border), (border, border), (0, 0)))
    taps = [padded[:, i : i + height, j : j + width] for i, j in itertools.product(range(size), repeat=2)]
    return np.array(taps).reshape(size, size, *x.shape)


def direct(x, kernel):
    """Convolves at the same size by a sum of shifted products, in float64."""
    return np.einsum("ijnhwc,ijck->nhwk", shifted(x, len(kernel)), np.asarray(kernel, np.float64), optimize=True)


def direct_weight_gradient(x, gradient, size):
    """Computes the kernel's gradient by definition, in float64."""
    return np.einsum("ijnhwc,nhwk->ijck", shifted(x, size), np.asarray(gradient, np.float64), optimize=True)


def random(*shape, seed):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def assert_close(actual, expected, tolerance=3e-5):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max())


# Of the largest value, by the size of the kernel.
_TOLERANCE = {3: 3e-5, 7: 2e-4}


# Whole tiles, and heights and widths that leave 1, 2 and 3 pixels over; images in one part, in several, and in strips,
# of which the last is shorter.
@pytest.mark.parametrize("shape", [(1, 4, 8, 5), (3, 9, 14, 5), (4, 11, 4, 7), (2, 1, 3, 2), (2, 21, 8, 3)])
@pytest.mark.parametrize("tiles", [1, 8, 10**6])
@pytest.mark.parametrize("size", [3, 7])
def test_convolve_equals_the_direct_sum(monkeypatch, shape, tiles, size):
    monkeypatch.setattr(winograd, "_PART_TILES", tiles)
    x, kernel = random(*shape, seed=0), random(size, size, shape[3], 6, seed=1)
    gradient = random(*shape[:3], 6, seed=2)
    # Compiled anew for each case: the limit is read when the function is traced.
    output, weights = jax.jit(
        lambda x, kernel, gradient: (winograd.convolve(x, kernel), winograd.weight_gradient(x, gradient, size))
    )(x, kernel, gradient)
    assert_close(output, direct(x, kernel), _TOLERANCE[size])
    assert_close(weights, direct_weight_gradient(x, gradient, size), _TOLERANCE[size])


@pytest.mark.parametrize(("size", "tolerance"), [(3, 1.5e-5), (7, 8e-5)])
def test_convolve_has_errors_as_small_as_the_documentation_says(size, tolerance):
    x, kernel = random(1, 24, 24, 64, seed=0), random(size, size, 64, 16, seed=1)
    assert_close(jax.jit(winograd.convolve)(x, kernel), direct(x, kernel), tolerance)


def test_scheme_of_3x3_is_that_of_lavin_and_gray():
    scheme = winograd._SCHEMES[3]
    np.testing.assert_allclose(
        scheme.tile,
        [
            [4, 0, -5, 0, 1, 0],
            [0, -4, -4, 1, 1, 0],
            [0, 4, -4, -1, 1, 0],
            [0, -2, -1, 2, 1, 0],
            [0, 2, -1, -2, 1, 0],
            [0, 4, 0, -5, 0, 1],
        ],
        atol=1e-5,
    )
    np.testing.assert_allclose(
        24 * scheme.kernel,
        [[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]],
        atol=1e-5,
    )
    np.testing.assert_allclose(
        scheme.output.T, [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]
    )


@pytest.mark.parametrize("size", [3, 7])
def test_convolve_of_an_impulse_is_the_kernel_turned_round(size):
    x = np.zeros((1, 12, 12, 1), np.float32)
    x[0, 5, 6, 0] = 1
    kernel = np.arange(size * size, dtype=np.float32).reshape(size, size, 1, 1)
    expected = np.zeros((12, 12), np.float32)
    expected[5 - size // 2 : 6 + size // 2, 6 - size // 2 : 7 + size // 2] = kernel[::-1, ::-1, 0, 0]
    np.testing.assert_allclose(winograd.convolve(x, kernel)[0, :, :, 0], expected, atol=3e-6 * size**4)


def test_plan_has_parts_of_whole_images_or_strips_of_one(monkeypatch):
    monkeypatch.setattr(winograd, "_PART_TILES", 24)

    def plan(*shape):
        found = winograd._plan(shape)
        return found.images, found.rows, found.columns, found.strips, found.parts

    # Images of 2 rows and 3 columns of tiles: room for 4 in a part, of which 3 divide 6 and 1 divides 7.
    assert plan(6, 8, 9, 10) == (3, 2, 3, 1, 2)
    assert plan(7, 8, 9, 10) == (1, 2, 3, 1, 7)
    assert plan(2, 8, 9, 10) == (2, 2, 3, 1, 1)
    # 15 rows and 6 columns: strips of 4 rows at most.
    assert plan(2, 57, 24, 10) == (1, 4, 6, 4, 8)
    # 9 rows, in strips of the same height as far as possible.
    assert plan(1, 36, 24, 10) == (1, 3, 6, 3, 3)
    assert plan(2, 40, 900, 10) == (1, 1, 225, 10, 20)


@pytest.mark.parametrize(
    ("x", "kernel", "expected"),
    [
        ((1, 60, 40, 128), (3, 3, 128, 128), True),
        ((1, 60, 36, 128), (3, 3, 128, 128), False),
        ((2, 60, 36, 128), (3, 3, 128, 128), True),
        ((1, 45, 60, 512), (3, 3, 512, 512), True),
        ((1, 90, 120, 128), (3, 3, 128, 256), True),
        ((1, 90, 120, 64), (3, 3, 64, 128), "gradient"),
        ((1, 90, 120, 63), (3, 3, 63, 128), False),
        ((1, 45, 60, 64), (7, 7, 64, 64), True),
        ((1, 45, 60, 64), (7, 7, 64, 11), False),
        ((1, 45, 60, 512), (5, 5, 512, 512), False),
        ((1, 45, 60, 512), (1, 1, 512, 512), False),
        ((1, 45, 60, 512), (3, 7, 512, 512), False),
    ],
)
def test_gains_where_it_is_faster(x, kernel, expected):
    x, kernel = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in (x, kernel))
    assert winograd.gains(x, kernel) == (expected is True)
    assert winograd.gradient_gains(x, kernel) == bool(expected)
    # Rounding errors of bfloat16 would be magnified to a tenth of the largest value.
    x, kernel = (jax.ShapeDtypeStruct(array.shape, jnp.bfloat16) for array in (x, kernel))
    assert not winograd.gains(x, kernel)
    assert not winograd.gradient_gains(x, kernel)


def test_conv_general_dilated_takes_winograd_on_cpus_only():
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


@pytest.mark.parametrize(("size", "depth"), [(3, 128), (3, 64), (7, 64)])
def test_conv_general_dilated_has_gradients_through_winograd(size, depth):
    features = depth + 2
    x, kernel = random(2, 38, 33, depth, seed=0), random(size, size, depth, features, seed=1)
    gradient = random(2, 38, 33, features, seed=2)

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
        assert_close(actual, expected, _TOLERANCE[size])
