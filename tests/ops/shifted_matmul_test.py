"""Tests for segnet_jax/ops/shifted_matmul.py."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segnet_jax.ops import shifted_matmul
from segnet_jax.ops.convolution import conv_general_dilated
from tests.helpers.convolutions import NHWC, XLA, assert_close, output_and_gradients, random, same


def operands(size, dtype=jnp.float32):
    return random(2, 9, 8, 5, dtype=dtype), random(size, size, 5, 3, seed=1, dtype=dtype)


def both(x, kernel, borders, dilation):
    """Returns output and gradients of ours, and of XLA's convolution in float32."""
    options = {"window_strides": (1, 1), "padding": borders, "rhs_dilation": (dilation,) * 2, "dimension_numbers": NHWC}
    xlas = functools.partial(XLA, **options)
    gradient = random(*jax.eval_shape(xlas, x, kernel).shape, seed=2, dtype=x.dtype)
    exact = [operand.astype(jnp.float32) for operand in (x, kernel, gradient)]
    ours = functools.partial(shifted_matmul.convolve, borders=borders, dilation=dilation)
    return output_and_gradients(ours, x, kernel, gradient), output_and_gradients(xlas, *exact)


@pytest.mark.parametrize(
    ("size", "borders", "dilation"),
    [
        (3, ((2, 2), (2, 2)), 2),
        (3, ((4, 4), (4, 4)), 4),
        (4, ((3, 1), (0, 2)), 1),
        (4, ((-1, 3), (2, -2)), 1),
        (2, ((-1, 0), (5, 1)), 3),
        (1, ((0, 0), (0, 0)), 1),
    ],
)
def test_convolve_has_the_output_and_gradients_of_xlas_convolution(size, borders, dilation):
    assert_close(*both(*operands(size), borders, dilation))


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
    ours, exact = both(*operands(3, jnp.bfloat16), ((2, 2), (2, 2)), 2)
    assert {leaf.dtype for leaf in ours} == {jnp.dtype(jnp.bfloat16)}
    # One rounding at the end: half of the last of eight bits.
    np.testing.assert_allclose(ours[0].astype(jnp.float32), exact[0], rtol=2**-8, atol=1e-5)


@pytest.mark.parametrize(
    ("dilation", "products"),
    [((2, 2), 9), ((1, 1), 0), (None, 0), ((1, 2), 0)],
)
def test_conv_general_dilated_takes_products_for_dilated_kernels_on_cpus(dilation, products):
    x, kernel = jnp.zeros((1, 9, 8, 5)), jnp.zeros((3, 3, 5, 64))
    program = str(jax.make_jaxpr(same(conv_general_dilated, rhs_dilation=dilation))(x, kernel))
    assert program.count("dot_general[") == products
    assert program.count("conv_general_dilated[") == 1
