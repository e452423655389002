"""Tests for segnet_jax/ops/depthwise.py."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segnet_jax.ops import depthwise
from segnet_jax.ops.depthwise import depthwise_conv
from tests.helpers.convolutions import output_and_gradients, random

# Images [N, H, W, C] and the kernel's side: also images smaller than the kernel.
_SIZES = pytest.mark.parametrize(
    ("shape", "size"), [((2, 9, 11, 3), 7), ((1, 1, 1, 2), 7), ((2, 3, 8, 1), 5), ((1, 6, 5, 4), 1)]
)


def operands(shape, size, dtype=jnp.float32):
    """Draws images, a kernel and the gradient of the output."""
    return (
        random(*shape, dtype=dtype),
        random(size, size, 1, shape[-1], seed=1, dtype=dtype),
        random(*shape, seed=2, dtype=dtype),
    )


def reference(x, kernel, gradient):
    """Convolves straight from the definition, one pixel and one kernel value at a time."""
    x, kernel, gradient = (np.asarray(array, np.float64) for array in (x, kernel, gradient))
    output, by_x, by_kernel = np.zeros(x.shape), np.zeros(x.shape), np.zeros(kernel.shape)
    half, (height, width) = kernel.shape[0] // 2, x.shape[1:3]
    for i, j, a, b in np.ndindex(height, width, *kernel.shape[:2]):
        row, column = i + a - half, j + b - half
        if 0 <= row < height and 0 <= column < width:
            output[:, i, j] += x[:, row, column] * kernel[a, b, 0]
            by_x[:, row, column] += gradient[:, i, j] * kernel[a, b, 0]
            by_kernel[a, b, 0] += (x[:, row, column] * gradient[:, i, j]).sum(0)
    return output, by_x, by_kernel


@_SIZES
@pytest.mark.parametrize("conv", [depthwise_conv, depthwise._shifted, depthwise._grouped])
def test_depthwise_conv_equals_the_definition_both_ways(conv, shape, size):
    args = operands(shape, size)
    for actual, expected in zip(output_and_gradients(conv, *args), reference(*args), strict=True):
        assert actual.shape == expected.shape
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_depthwise_conv_sums_half_precision_in_float32(dtype):
    args = operands((2, 30, 31, 3), 7, dtype)
    results = output_and_gradients(depthwise._shifted, *args)
    for actual, expected in zip(results, reference(*args), strict=True):
        assert actual.dtype == dtype
        # One rounding at the end.
        np.testing.assert_allclose(np.asarray(actual, np.float32), expected, rtol=0.01, atol=1e-3)


@pytest.mark.parametrize(("platform", "number"), [("cpu", 0), ("cuda", 1), ("tpu", 1)])
def test_depthwise_conv_avoids_the_grouped_convolution_on_cpus_alone(platform, number):
    x, kernel, _ = operands((1, 8, 8, 4), 7)
    program = jax.jit(depthwise_conv).trace(x, kernel).lower(lowering_platforms=(platform,)).as_text()
    assert program.count("stablehlo.convolution") == number
    assert ("feature_group_count = 4" in program) == (number == 1)


def test_depthwise_conv_gradient_keeps_few_images():
    shape, size = (1, 60, 80, 16), 7
    step = jax.jit(functools.partial(output_and_gradients, depthwise._shifted))
    memory = step.lower(*operands(shape, size)).compile().memory_analysis().temp_size_in_bytes
    # The image and the gradient with borders, and some rows; not the 49 shifted images.
    assert memory < 5 * 4 * np.prod(shape)
