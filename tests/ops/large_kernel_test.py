"""Tests for segnet_jax/ops/large_kernel.py."""

import functools

import jax
import jax.numpy as jnp
import pytest

from segnet_jax.ops import large_kernel
from segnet_jax.ops.convolution import conv_general_dilated
from segnet_jax.ops.upsampling import conv_transpose
from tests.helpers.convolutions import NHWC, XLA, assert_close, output_and_gradients, random, same

# Images [N, H, W, C], kernel [k, l, C, F] and padding: fc6 of FCN and of DeconvNet, and borders that all differ.
_LARGE = [
    ((2, 2, 3, 4), (7, 7, 4, 8), "SAME"),
    ((2, 7, 8, 4), (7, 7, 4, 300), [(0, 0), (0, 0)]),
    ((1, 4, 5, 2), (4, 3, 2, 60), [(0, 2), (3, 1)]),
    ((1, 4, 5, 2), (5, 3, 2, 40), "SAME"),
]


@pytest.mark.parametrize(("shape", "kernel", "padding"), _LARGE)
def test_convolve_has_the_output_and_gradients_of_xlas_convolution(shape, kernel, padding):
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


def test_products_of_half_precision_are_summed_in_single():
    shape, kernel, _ = _LARGE[0]
    x, weights = random(*shape, dtype=jnp.bfloat16), random(*kernel, seed=1, dtype=jnp.bfloat16)
    pairs = [
        (functools.partial(large_kernel.convolve, borders=((3, 3), (3, 3))), same(XLA)),
        (
            functools.partial(large_kernel.convolve_transposed, output_size=(8, 9), padding=0),
            lambda x, k: XLA(x, k[::-1, ::-1], (1, 1), [(6, 6), (6, 6)], dimension_numbers=NHWC),
        ),
    ]
    for ours, xlas in pairs:
        gradient = random(*jax.eval_shape(ours, x, weights).shape, seed=2, dtype=jnp.bfloat16)
        results = output_and_gradients(ours, x, weights, gradient)
        assert {leaf.dtype for leaf in results} == {jnp.dtype(jnp.bfloat16)}
        exact = output_and_gradients(xlas, *(value.astype(jnp.float32) for value in (x, weights, gradient)))
        assert_close(results, [value.astype(jnp.bfloat16) for value in exact], tolerance=2e-2)


@pytest.mark.parametrize(
    ("image", "kernel", "expected"),
    [
        ((1, 6, 8, 512), (7, 7, 512, 4096), True),
        ((4, 12, 15, 512), (7, 7, 512, 1024), True),
        ((4, 45, 60, 512), (7, 7, 512, 1024), False),
        ((1, 6, 8, 512), (3, 3, 512, 4096), False),
    ],
)
def test_gains_of_a_kernel_much_larger_than_the_image(image, kernel, expected):
    assert large_kernel.gains(jnp.zeros(image), jnp.zeros(kernel)) == expected
