"""Tests for segnet_jax/ops/patch_matmul.py."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segnet_jax.ops import patch_matmul
from segnet_jax.ops.convolution import conv_general_dilated
from segnet_jax.ops.upsampling import conv_transpose
from tests.helpers.convolutions import NHWC, XLA, assert_close, output_and_gradients, random, same

# Images [N, H, W, C], kernel [k, l, C, F] and padding: fc6 of FCN and of DeconvNet, and borders that all differ.
_LARGE_KERNELS = [
    ((2, 2, 3, 4), (7, 7, 4, 8), "SAME"),
    ((2, 7, 8, 4), (7, 7, 4, 300), [(0, 0), (0, 0)]),
    ((1, 4, 5, 2), (4, 3, 2, 60), [(0, 2), (3, 1)]),
    ((1, 4, 5, 2), (5, 3, 2, 40), "SAME"),
]


def operands(size, dtype=jnp.float32):
    return random(2, 9, 8, 5, dtype=dtype), random(size, size, 5, 3, seed=1, dtype=dtype)


def both(x, kernel, borders, dilation):
    """Returns output and gradients of ours, and of XLA's convolution in float32."""
    options = {"window_strides": (1, 1), "padding": borders, "rhs_dilation": (dilation,) * 2, "dimension_numbers": NHWC}
    xlas = functools.partial(XLA, **options)
    gradient = random(*jax.eval_shape(xlas, x, kernel).shape, seed=2, dtype=x.dtype)
    exact = [operand.astype(jnp.float32) for operand in (x, kernel, gradient)]
    ours = functools.partial(patch_matmul.convolve, borders=borders, dilation=dilation)
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
        return jax.grad(lambda kernel: jnp.sum(jnp.sin(patch_matmul.convolve(x, kernel, borders))))(kernel)

    whole = gradient()
    monkeypatch.setattr(patch_matmul, "_STRIP_VALUES", rows * 4 * 4 * 5 * 8)
    (loop,) = (
        equation
        for equation in jax.make_jaxpr(lambda x, y: patch_matmul.weight_gradient(x, y, (4, 4), 1))(
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
    [((2, 2), 1), ((1, 1), 0), (None, 0), ((1, 2), 0)],
)
def test_conv_general_dilated_takes_a_product_for_dilated_kernels_on_cpus(dilation, products):
    x, kernel = jnp.zeros((1, 9, 8, 5)), jnp.zeros((3, 3, 5, 64))
    program = str(jax.make_jaxpr(same(conv_general_dilated, rhs_dilation=dilation))(x, kernel))
    assert program.count("dot_general[") == products
    assert program.count("conv_general_dilated[") == 1


@pytest.mark.parametrize(("shape", "kernel", "padding"), _LARGE_KERNELS)
def test_conv_general_dilated_of_a_large_kernel_has_the_output_and_gradients_of_xlas(shape, kernel, padding):
    options = {"window_strides": (1, 1), "padding": padding, "dimension_numbers": NHWC}
    ours, xlas = (functools.partial(convolution, **options) for convolution in (conv_general_dilated, XLA))
    x, weights = random(*shape), random(*kernel, seed=1)
    gradient = random(*jax.eval_shape(xlas, x, weights).shape, seed=2)
    assert_close(output_and_gradients(ours, x, weights, gradient), output_and_gradients(xlas, x, weights, gradient))
    assert str(jax.make_jaxpr(ours)(x, weights)).count("dot_general[") == 1


def test_conv_transpose_of_a_large_kernel_is_one_product_that_reads_it_as_it_lies():
    transposed = functools.partial(conv_transpose, stride=1, output_size=(7, 8))
    program = jax.jit(transposed).trace(jnp.zeros((1, 1, 2, 16)), jnp.zeros((7, 7, 16, 4)))
    on_cpu, elsewhere = (program.lower(lowering_platforms=(name,)).as_text() for name in ("cpu", "tpu"))
    counted = ("stablehlo.dot_general", "stablehlo.convolution", "stablehlo.reverse")
    assert [on_cpu.count(operation) for operation in counted] == [1, 0, 0]
    assert [elsewhere.count(operation) for operation in counted] == [0, 1, 1]


def test_convolve_transposed_sums_half_precision_in_single():
    x, kernel = random(2, 2, 3, 4, dtype=jnp.bfloat16), random(7, 7, 4, 8, seed=1, dtype=jnp.bfloat16)
    actual = patch_matmul.convolve_transposed(x, kernel, (8, 9), 0)
    exact = [operand.astype(jnp.float32) for operand in (x, kernel[::-1, ::-1])]
    expected = XLA(*exact, (1, 1), [(6, 6), (6, 6)], dimension_numbers=NHWC)
    assert actual.dtype == jnp.bfloat16
    np.testing.assert_allclose(actual.astype(jnp.float32), expected, rtol=2**-8, atol=1e-5)


@pytest.mark.parametrize(
    ("image", "kernel", "expected"),
    [
        ((1, 6, 8, 512), (7, 7, 512, 4096), True),
        ((4, 12, 15, 512), (7, 7, 512, 1024), True),
        ((4, 45, 60, 512), (7, 7, 512, 1024), False),
        ((1, 6, 8, 512), (3, 3, 512, 4096), False),
    ],
)
def test_is_large_of_a_kernel_much_larger_than_the_image(image, kernel, expected):
    assert patch_matmul.is_large(jnp.zeros(kernel), jnp.zeros(image)) == expected
