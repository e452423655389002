"""Upsamples by transposed convolution, learnt or with a fixed bilinear kernel, and by bilinear interpolation."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from segnet_jax.ops import patch_matmul
from segnet_jax.ops.patch_matmul import Borders


def conv_transpose(
    x: jax.Array, kernel: jax.Array, stride: int, output_size: tuple[int, int], padding: int = 0
) -> jax.Array:
    """Convolves transposed, with the geometry of Caffe's Deconvolution and PyTorch's `conv_transpose2d`.

    In both directions, pixel i of the input adds `x[i] * kernel[a]` to pixel `stride * i + a - padding` of the output.
    `padding` and `output_size` thus crop what Caffe would give, h = stride * (H - 1) + k rows, to any part of it;
    output pixels that no input reaches are zero.

    XLA computes a convolution of a dilated input slowly, above all its gradients. This is an ordinary convolution to
    stride² * F features, one set for every position of an output pixel within its stride, and a depth-to-space.

    Args:
      x: float [N, H, W, C].
      kernel: float [k, k, C, F]; k may be smaller than the stride.
      stride: in pixels of the output, at least 1.
      output_size: (H', W') of the result, in pixels.
      padding: pixels that are cropped from the top and the left, at least 0.

    Returns:
      The type of `x`, [N, H', W', F].
    """
    by_phases = functools.partial(_by_phases, stride=stride, output_size=output_size, padding=padding)
    if stride > 1 or not patch_matmul.is_large(kernel, x):
        return by_phases(x, kernel)
    by_product = functools.partial(patch_matmul.convolve_transposed, output_size=output_size, padding=padding)
    return lax.platform_dependent(x, kernel, cpu=by_product, default=by_phases)


def _by_phases(x: jax.Array, kernel: jax.Array, stride: int, output_size: tuple[int, int], padding: int) -> jax.Array:
    size, channels, features = kernel.shape[0], kernel.shape[2], kernel.shape[3]
    # Of output pixel `stride * j + r` before cropping, the kernel's taps r, r + stride, ... see the inputs j, j - 1...
    taps = -(-size // stride)
    grown = jnp.pad(kernel, ((0, taps * stride - size), (0, taps * stride - size), (0, 0), (0, 0)))
    phases = grown.reshape(taps, stride, taps, stride, channels, features)[::-1, :, ::-1]
    phases = phases.transpose(0, 2, 4, 1, 3, 5).reshape(taps, taps, channels, stride * stride * features)
    # The first and the last j of which something is kept, and the borders (negative ones crop) that lead to these.
    first = padding // stride
    lasts = [(padding + length - 1) // stride for length in output_size]
    vertical, horizontal = (
        (taps - 1 - first, last - length + 1) for last, length in zip(lasts, x.shape[1:3], strict=True)
    )
    y = lax.platform_dependent(
        x,
        phases,
        cpu=functools.partial(_conv_on_cpu, borders=(vertical, horizontal)),
        default=functools.partial(_conv, borders=(vertical, horizontal)),
    )
    images, rows, columns, _ = y.shape
    y = y.reshape(images, rows, columns, stride, stride, features).transpose(0, 1, 3, 2, 4, 5)
    y = y.reshape(images, rows * stride, columns * stride, features)
    start = padding - first * stride
    return y[:, start : start + output_size[0], start : start + output_size[1]]


def _conv(x: jax.Array, kernel: jax.Array, borders: Borders) -> jax.Array:
    """Convolves with stride 1: [N, H, W, C] and [k, k, C, F] to [N, H', W', F]; negative borders crop."""
    if not all(isinstance(border, int) for border in (*borders[0], *borders[1])):
        # Of an exported program; XLA takes borders whose size is a symbol in a padding alone.
        x, borders = patch_matmul.padded(x, borders), ((0, 0), (0, 0))
    return lax.conv_general_dilated(x, kernel, (1, 1), borders, dimension_numbers=("NHWC", "HWIO", "NHWC"))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _conv_on_cpu(x: jax.Array, kernel: jax.Array, borders: Borders) -> jax.Array:
    """Convolves as `_conv` does, with a gradient of the kernel that is faster on CPUs."""
    return _conv(x, kernel, borders)


def _forward(x: jax.Array, kernel: jax.Array, borders: Borders) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _conv(x, kernel, borders), (x, kernel)


def _backward(
    borders: Borders, residuals: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = residuals
    # One buffer for both gradients, as in `patch_matmul.padded`.
    gradient = lax.optimization_barrier(gradient)
    reach = kernel.shape[0] - 1
    (top, bottom), (left, right) = borders
    opposite = ((reach - top, reach - bottom), (reach - left, reach - right))
    by_image = _conv(gradient, kernel[::-1, ::-1].swapaxes(2, 3), opposite)
    by_kernel = patch_matmul.weight_gradient(patch_matmul.padded(x, borders), gradient, kernel.shape[:2], dilation=1)
    return by_image, by_kernel.astype(kernel.dtype)


_conv_on_cpu.defvjp(_forward, _backward)


def bilinear_kernel(size: int, stride: int) -> np.ndarray:
    """Returns the kernel by which a transposed convolution interpolates, float32 [size, size].

    It is the triangle of Caffe's bilinear filler and FCN's `upsample_filt`, scaled so that the weights that meet in an
    output pixel add up to 1 on average. For a size of 2 * stride (even) or 2 * stride - 1 that changes nothing and
    the result is bilinear interpolation; with the 8x8 kernel and stride 2 of FCN-Basic the filler itself would
    multiply by four per layer.
    """
    reach = (size + 1) // 2
    centre = reach - 1 if size % 2 else reach - 0.5
    triangle = 1 - np.abs(np.arange(size) - centre) / reach
    triangle *= stride / triangle.sum()
    return np.outer(triangle, triangle).astype(np.float32)


def bilinear_conv_transpose(
    x: jax.Array, size: int, stride: int, output_size: tuple[int, int], padding: int = 0
) -> jax.Array:
    """Applies `conv_transpose` to each channel by itself, with the `bilinear_kernel`: [N, H, W, C] to [N, H', W', C].

    As in Caffe the values beyond the border count as zero, so the result fades within half a kernel of it.
    """
    images, height, width, channels = x.shape
    kernel = jnp.asarray(bilinear_kernel(size, stride)[:, :, None, None], x.dtype)
    planes = x.transpose(0, 3, 1, 2).reshape(images * channels, height, width, 1)
    y = conv_transpose(planes, kernel, stride, output_size, padding)
    return y.reshape(images, channels, *output_size).transpose(0, 2, 3, 1)


def bilinear_resize(
    x: jax.Array, factor: int, output_size: tuple[int, int], *, align_corners: bool = False
) -> jax.Array:
    """Interpolates bilinearly, and crops at the bottom and the right.

    Args:
      x: float [N, H, W, C].
      factor: pixels of the output per pixel of the input.
      output_size: (H', W') in pixels.
      align_corners: False: an input pixel is a square of `factor` output pixels, its value that of the square's centre,
        and the outermost values go on to the border; at most `factor * H` rows. True: input pixel i is output pixel
        `factor * i`, as in DeepLab's Interp layer; at most `factor * (H - 1) + 1` rows.

    Returns:
      The type of `x`, [N, H', W', C].
    """
    # scale_and_translate puts output pixel o at the input's (o + 1/2 - translation) / factor - 1/2.
    translation = (1 - factor) / 2 if align_corners else 0.0
    return jax.image.scale_and_translate(
        x,
        (x.shape[0], *output_size, x.shape[-1]),
        (1, 2),
        jnp.full(2, float(factor)),
        jnp.full(2, translation),
        method="linear",
        antialias=False,
    )
