"""Tests for segnet_jax/ops/upsampling.py."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from segnet_jax.models.modules import bilinear_init
from segnet_jax.ops.upsampling import bilinear_conv_transpose, bilinear_kernel, bilinear_resize, conv_transpose
from tests.helpers.convolutions import output_and_gradients, random
from tests.helpers.numpy_layers import interpolate

# Input (H, W), kernel, stride, padding, output (H', W'): FCN-Basic's doubling, its odd crop, FCN's strides and crops,
# fc6-deconv, kernels that the stride does not divide or exceeds, crops of whole strides, and beyond what is reached;
# then kernels much larger than the image, cropped and reaching not as far as the output.
_GEOMETRIES = [
    ((3, 4), 8, 2, 3, (6, 8)),
    ((3, 4), 8, 2, 3, (5, 7)),
    ((3, 2), 4, 2, 0, (8, 6)),
    ((2, 3), 4, 2, 1, (3, 6)),
    ((2, 3), 16, 8, 4, (13, 20)),
    ((4, 5), 16, 8, 31, (6, 15)),
    ((2, 1), 7, 1, 0, (8, 7)),
    ((4, 5), 3, 1, 1, (4, 5)),
    ((3, 5), 5, 3, 2, (9, 11)),
    ((3, 4), 2, 3, 0, (8, 11)),
    ((2, 2), 3, 2, 1, (9, 12)),
    ((1, 1), 4, 2, 1, (1, 1)),
    ((1, 1), 9, 1, 2, (6, 5)),
    ((1, 2), 11, 1, 3, (9, 14)),
]


def operands(size, kernel_size, output_size):
    """Draws images, a kernel and the gradient of the output."""
    return random(2, *size, 3), random(kernel_size, kernel_size, 3, 2, seed=1), random(2, *output_size, 2, seed=2)


def reference(x, kernel, gradient, stride, output_size, padding):
    """Convolves straight from the definition, one input pixel and one kernel value at a time."""
    x, kernel, gradient = (np.asarray(array, np.float64) for array in (x, kernel, gradient))
    output, by_x, by_kernel = np.zeros(gradient.shape), np.zeros(x.shape), np.zeros(kernel.shape)
    for row, column, a, b in np.ndindex(*x.shape[1:3], *kernel.shape[:2]):
        i, j = stride * row + a - padding, stride * column + b - padding
        if 0 <= i < output_size[0] and 0 <= j < output_size[1]:
            output[:, i, j] += x[:, row, column] @ kernel[a, b]
            by_x[:, row, column] += gradient[:, i, j] @ kernel[a, b].T
            by_kernel[a, b] += x[:, row, column].T @ gradient[:, i, j]
    return output, by_x, by_kernel


@pytest.mark.parametrize(("size", "kernel_size", "stride", "padding", "output_size"), _GEOMETRIES)
def test_conv_transpose_equals_its_definition(size, kernel_size, stride, padding, output_size):
    args, geometry = operands(size, kernel_size, output_size), (stride, output_size, padding)
    results = output_and_gradients(lambda x, kernel: conv_transpose(x, kernel, *geometry), *args)
    for actual, expected in zip(results, reference(*args, *geometry), strict=True):
        assert actual.shape == expected.shape
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


def convolutions(jaxpr):
    """Yields the parameters of all convolutions in a program."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "conv_general_dilated":
            yield equation.params
        for inner in jaxprs_in_params(equation.params):
            yield from convolutions(inner)


def test_conv_transpose_dilates_and_strides_no_convolution():
    step = functools.partial(output_and_gradients, lambda x, kernel: conv_transpose(x, kernel, 2, (8, 10), 3))
    program = jax.make_jaxpr(step)(*operands((4, 5), 8, (8, 10)))
    found = list(convolutions(program.jaxpr))
    # Three of any platform, two on CPUs, where matrix products give the gradient of the kernel.
    assert len(found) == 5
    for params in found:
        for key in ("lhs_dilation", "rhs_dilation", "window_strides"):
            assert params[key] == (1, 1)


def test_bilinear_kernel_is_the_papers():
    quarter = np.array([1, 3, 3, 1]) / 4
    np.testing.assert_allclose(bilinear_kernel(4, 2), np.outer(quarter, quarter))
    thirds = np.array([1, 2, 3, 2, 1]) / 3
    np.testing.assert_allclose(bilinear_kernel(5, 3), np.outer(thirds, thirds), rtol=1e-6)
    for size in (4, 16, 32, 64):
        # The bilinear filler of Caffe, as its documentation writes it.
        factor = -(-size // 2)
        centre = (2 * factor - 1 - factor % 2) / (2 * factor)
        line = 1 - np.abs(np.arange(size) / factor - centre)
        np.testing.assert_allclose(bilinear_kernel(size, size // 2), np.outer(line, line), rtol=1e-6)
    # FCN-Basic's kernel, twice as wide as its stride asks for: what meets in a pixel still adds up to 1.
    wide = bilinear_kernel(8, 2)
    np.testing.assert_allclose(wide[0], np.array([1, 3, 5, 7, 7, 5, 3, 1]) / 16 / 16, rtol=1e-6)
    for i, j in np.ndindex(2, 2):
        assert wide[i::2, j::2].sum() == pytest.approx(1)


def test_bilinear_conv_transpose_is_the_transposed_convolution_at_its_start():
    x = random(2, 3, 4, 5)
    kernel = bilinear_init(4)(jax.random.key(0), (8, 8, 5, 5))
    for padding, size in ((2, (12, 16)), (0, (16, 20)), (2, (11, 13))):
        actual = bilinear_conv_transpose(x, 8, 4, size, padding)
        np.testing.assert_allclose(actual, conv_transpose(x, kernel, 4, size, padding), rtol=1e-5, atol=1e-6)


def test_bilinear_conv_transpose_interpolates_inside_and_fades_at_the_border():
    rows, columns = np.mgrid[:4, :5]
    plane = (2 * rows - columns + 7).astype(np.float32)
    actual = np.asarray(bilinear_conv_transpose(jnp.asarray(plane[None, :, :, None]), 8, 4, (16, 20), 2))[0, :, :, 0]
    # Pixel o lies at (o + 1/2) / 4 - 1/2 of the input.
    i, j = (np.mgrid[:16, :20] + 0.5) / 4 - 0.5
    np.testing.assert_allclose(actual[2:-2, 2:-2], (2 * i - j + 7)[2:-2, 2:-2], rtol=1e-5)
    # The corner pixel is 3/8 of a pixel outside in both directions.
    assert actual[0, 0] == pytest.approx((5 / 8) ** 2 * plane[0, 0])


@pytest.mark.parametrize(
    ("size", "factor", "output_size", "align_corners"),
    [
        ((3, 4), 16, (48, 64), False),
        ((3, 4), 16, (45, 50), False),
        ((1, 2), 16, (1, 31), False),
        ((3, 4), 8, (17, 25), True),
        ((3, 4), 8, (15, 18), True),
        ((1, 2), 8, (1, 9), True),
    ],
)
def test_bilinear_resize_equals_numpys_interpolation(size, factor, output_size, align_corners):
    x = random(2, *size, 3)
    resize = functools.partial(bilinear_resize, align_corners=align_corners)
    actual = jax.jit(resize, static_argnums=(1, 2))(x, factor, output_size)
    expected = interpolate(x, factor, output_size, align_corners=align_corners)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "upsample",
    [
        lambda x: conv_transpose(x, random(8, 8, 2, 2, seed=1, dtype=x.dtype), 2, (6, 8), 3),
        lambda x: bilinear_conv_transpose(x, 4, 2, (6, 8), 1),
        lambda x: bilinear_resize(x, 2, (6, 8)),
    ],
    ids=["conv_transpose", "bilinear_conv_transpose", "bilinear_resize"],
)
def test_upsampling_in_half_precision(upsample):
    upsample = jax.jit(upsample)
    actual, expected = (upsample(random(1, 3, 4, 2, dtype=dtype)) for dtype in (jnp.bfloat16, jnp.float32))
    assert actual.dtype == jnp.bfloat16
    np.testing.assert_allclose(actual.astype(jnp.float32), expected, atol=0.02 * np.abs(expected).max())
