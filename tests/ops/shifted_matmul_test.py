"""Tests for segnet_jax/ops/shifted_matmul.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from segnet_jax.ops import shifted_matmul
from segnet_jax.ops.convolution import conv_general_dilated


def reference(x, kernel, borders, dilation):
    """Convolves in loops over the output pixels, in float64."""
    x, kernel = np.asarray(x, np.float64), np.asarray(kernel, np.float64)
    size = kernel.shape[0]
    (top, bottom), (left, right) = borders
    grown = np.pad(x, ((0, 0), (9, 9), (9, 9), (0, 0)))
    grown = grown[:, 9 - top : grown.shape[1] - 9 + bottom, 9 - left : grown.shape[2] - 9 + right]
    height, width = (length - dilation * (size - 1) for length in grown.shape[1:3])
    y = np.zeros((len(x), height, width, kernel.shape[3]))
    for row, column in np.ndindex(height, width):
        window = grown[:, row : row + dilation * size : dilation, column : column + dilation * size : dilation]
        y[:, row, column] = np.tensordot(window[:, :size, :size], kernel, 3)
    return y


CASES = pytest.mark.parametrize(
    ("size", "borders", "dilation"),
    [
        (3, ((2, 2), (2, 2)), 2),
        (3, ((4, 4), (4, 4)), 4),
        (4, ((3, 1), (0, 2)), 1),
        (4, ((-1, 3), (2, -2)), 1),
        (2, ((-1, 0), (5, 1)), 3),
        (1, ((0, 0), (0, 0)), 1),
        (7, ((3, 3), (3, 3)), 1),
    ],
)


def operands(size):
    keys = jax.random.split(jax.random.key(size), 2)
    features = 100 if size == 7 else 3  # enough to count as a large kernel
    return jax.random.normal(keys[0], (2, 9, 8, 5)), jax.random.normal(keys[1], (size, size, 5, features))


@CASES
def test_convolve_equals_its_definition(size, borders, dilation):
    x, kernel = operands(size)
    expected = reference(x, kernel, borders, dilation)
    np.testing.assert_allclose(shifted_matmul.convolve(x, kernel, borders, dilation), expected, rtol=1e-4, atol=1e-4)


@CASES
def test_convolve_has_the_gradients_of_xlas_convolution(size, borders, dilation):
    x, kernel = operands(size)

    def xlas(x, kernel):
        return lax.conv_general_dilated(
            x, kernel, (1, 1), borders, rhs_dilation=(dilation,) * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    y, gradients = jax.vjp(xlas, x, kernel)
    weights = jax.random.normal(jax.random.key(1), y.shape)
    found = jax.vjp(lambda x, kernel: shifted_matmul.convolve(x, kernel, borders, dilation), x, kernel)[1](weights)
    for ours, expected in zip(found, gradients(weights), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_weight_gradient_by_strips_changes_only_the_order_of_additions(monkeypatch, rows):
    x, kernel = operands(4)  # 2 x 9 x 8 pixels
    borders = ((1, 2), (2, 1))

    def gradient():
        return jax.grad(lambda kernel: jnp.sum(jnp.sin(shifted_matmul.convolve(x, kernel, borders))))(kernel)

    whole = gradient()
    monkeypatch.setattr(shifted_matmul, "_STRIP_VALUES", rows * 4 * 4 * 5 * 8)
    (loop,) = (
        equation
        for equation in jax.make_jaxpr(lambda x, y: shifted_matmul._weight_gradient(x, y, 4, 1))(
            jnp.zeros((2, 12, 11, 5)), jnp.zeros((2, 9, 8, 3))
        ).eqns
        if equation.primitive.name == "scan"
    )
    assert loop.params["length"] == 2 * -(-9 // rows)
    np.testing.assert_allclose(gradient(), whole, rtol=1e-5, atol=1e-5)


def test_convolve_sums_half_precision_in_single():
    x, kernel = (operand.astype(jnp.bfloat16) for operand in operands(3))
    borders = ((2, 2), (2, 2))
    y, gradients = jax.vjp(lambda x, kernel: shifted_matmul.convolve(x, kernel, borders, 2), x, kernel)
    assert {leaf.dtype for leaf in (y, *gradients(jnp.ones_like(y)))} == {jnp.dtype(jnp.bfloat16)}
    # One rounding at the end: half of the last of eight bits.
    np.testing.assert_allclose(y.astype(jnp.float32), reference(x, kernel, borders, 2), rtol=2**-8, atol=1e-5)


@pytest.mark.parametrize(
    ("image", "size", "dilation", "products"),
    [
        ((9, 8), 3, (2, 2), 9),
        ((9, 8), 3, (1, 1), 0),
        ((9, 8), 3, None, 0),
        ((9, 8), 3, (1, 2), 0),
        ((1, 1), 3, None, 0),
        ((1, 1), 5, None, 25),
        ((9, 8), 5, None, 0),
    ],
)
def test_conv_general_dilated_takes_products_for_dilated_and_large_kernels_on_cpus(image, size, dilation, products):
    x, kernel = jnp.zeros((1, *image, 5)), jnp.zeros((size, size, 5, 64))
    program = str(
        jax.make_jaxpr(
            lambda x, kernel: conv_general_dilated(
                x, kernel, (1, 1), "SAME", rhs_dilation=dilation, dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
        )(x, kernel)
    )
    assert program.count("dot_general[") == products
    assert program.count("conv_general_dilated[") == 1
