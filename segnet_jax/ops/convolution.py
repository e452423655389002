"""Convolves as XLA does, with faster forms of many layers on CPUs."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from segnet_jax.ops import patch_matmul, winograd

# XLA's CPU backend computes the weight gradient of a large image at a quarter of the speed of the forward pass: it
# lays out the patches of the whole image before it multiplies. Strips whose patches fit the cache are up to 3 times as
# fast. Small images gain only one at a time, not in batches (docs/performance.md).
_PATCH_VALUES = 2_000_000
_SMALLEST_IMAGE = 8_000
_SMALLEST_DEPTH = 16
# Fewer features than this are filled up with zeros, which costs a hundredth of what XLA takes for, say, eleven.
_SMALLEST_FEATURES = 16

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def conv_general_dilated(
    lhs: jax.Array,
    rhs: jax.Array,
    window_strides: Any,
    padding: Any,
    lhs_dilation: Any = None,
    rhs_dilation: Any = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    **options: Any,
) -> jax.Array:
    """Convolves like `jax.lax.conv_general_dilated`, as the field of that name of `flax.linen.Conv`.

    On CPUs, same-size convolutions of stride 1 run by Winograd's algorithm, as one matrix product or by `patch_matmul`
    where these are faster, and others on large images get a weight gradient that is added up strip by strip. Those of
    any border whose kernel is much larger than the image run by `patch_matmul` too. Everything else, and every other
    platform, is XLA's own.
    """

    def plain(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return lax.conv_general_dilated(
            x,
            kernel,
            window_strides,
            padding,
            lhs_dilation=lhs_dilation,
            rhs_dilation=rhs_dilation,
            dimension_numbers=dimension_numbers,
            feature_group_count=feature_group_count,
            **options,
        )

    is_plain = (
        lhs.ndim == 4
        and lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
        == lax.conv_dimension_numbers(lhs.shape, rhs.shape, _DIMENSIONS)
        and feature_group_count == 1
        and all(value is None for value in options.values())
    )
    has_stride_1 = (
        is_plain
        # An exported program is traced with symbols for its sizes, which tell nothing of speed.
        and all(isinstance(length, int) for length in lhs.shape)
        and all(size == 1 for size in window_strides)
        and all(size == 1 for size in lhs_dilation or ())
    )
    dilations = set(rhs_dilation or (1,))
    if has_stride_1 and dilations == {1} and patch_matmul.is_large(rhs, lhs):
        borders = padding
        if isinstance(padding, str):
            borders = lax.padtype_to_pads(lhs.shape[1:3], rhs.shape[:2], (1, 1), padding)
        by_product = functools.partial(patch_matmul.convolve, borders=tuple(map(tuple, borders)))
        return lax.platform_dependent(lhs, rhs, cpu=by_product, default=plain)
    is_same = (
        has_stride_1
        and padding == "SAME"
        and len(dilations) == 1
        and rhs.shape[0] == rhs.shape[1]
        and rhs.shape[0] % 2 == 1
    )
    return _same_size(lhs, rhs, max(dilations)) if is_same else plain(lhs, rhs)


@functools.partial(jax.jit, static_argnames="dilation", inline=True)
def _same_size(x: jax.Array, kernel: jax.Array, dilation: int) -> jax.Array:
    """Convolves with stride 1 at the same size, on CPUs in the faster form if there is one.

    Jitted, so that layers of the same shape are traced once; inlined, as XLA makes slower programs of calls.
    """
    plain = functools.partial(
        lax.conv_general_dilated,
        window_strides=(1, 1),
        padding="SAME",
        rhs_dilation=(dilation, dilation),
        dimension_numbers=_DIMENSIONS,
    )
    faster = _faster_form(x, kernel, dilation)
    return lax.platform_dependent(x, kernel, cpu=faster, default=plain) if faster else plain(x, kernel)


def _faster_form(x: jax.Array, kernel: jax.Array, dilation: int) -> Callable[[jax.Array, jax.Array], jax.Array] | None:
    """Returns a same-size convolution of stride 1 that is faster on CPUs than XLA's; None if there is none."""
    if kernel.shape[0] == 1:
        return _pointwise
    if dilation > 1 and winograd.gains(_phase_shape(x, dilation), kernel):
        return functools.partial(_dilated_conv, dilation=dilation)
    if dilation > 1:
        border = dilation * (kernel.shape[0] // 2)
        return functools.partial(patch_matmul.convolve, borders=((border, border),) * 2, dilation=dilation)
    return _same_conv if strips_gain(x, kernel) or winograd.gains(x, kernel) else None


def strips_gain(x: Any, kernel: Any) -> bool:
    """Returns whether `weight_gradient_of_strips` is faster on a CPU than XLA, for [N, H, W, C] and [k, k, C, K]."""
    return x.shape[1] * x.shape[2] >= _SMALLEST_IMAGE and kernel.shape[2] >= _SMALLEST_DEPTH


def _pointwise(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolves 1x1 by the matrix product that it is, which XLA's CPU backend does not see."""
    return x @ kernel[0, 0]


def _phase_shape(x: jax.Array, dilation: int) -> jax.ShapeDtypeStruct:
    """Returns the shape of the images that `_dilated_conv` convolves."""
    images, height, width, channels = x.shape
    shape = (images * dilation**2, -(-height // dilation), -(-width // dilation), channels)
    return jax.ShapeDtypeStruct(shape, x.dtype)


def _dilated_conv(x: jax.Array, kernel: jax.Array, dilation: int) -> jax.Array:
    """Convolves dilated, at the same size: every `dilation`-th pixel makes an image, convolved without dilation."""
    images, height, width, channels = x.shape
    _, rows, columns, _ = _phase_shape(x, dilation).shape
    x = jnp.pad(x, ((0, 0), (0, rows * dilation - height), (0, columns * dilation - width), (0, 0)))
    x = x.reshape(images, rows, dilation, columns, dilation, channels).transpose(0, 2, 4, 1, 3, 5)
    y = _same_conv(x.reshape(-1, rows, columns, channels), kernel)
    y = y.reshape(images, dilation, dilation, rows, columns, -1).transpose(0, 3, 1, 4, 2, 5)
    return y.reshape(images, rows * dilation, columns * dilation, -1)[:, :height, :width]


@jax.custom_vjp
def _same_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolves with stride 1 at the same size: [N, H, W, C] and [k, k, C, K] to [N, H, W, K]."""
    if winograd.gains(x, kernel):
        return winograd.convolve(x, kernel)
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=_DIMENSIONS)


def _forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _same_conv(x, kernel), (x, kernel)


def _backward(residuals: tuple[jax.Array, jax.Array], gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = residuals
    flipped = kernel[::-1, ::-1].swapaxes(2, 3)
    if winograd.gains(x, kernel):
        kernel_gradient = winograd.weight_gradient(x, gradient, kernel.shape[0])
    else:
        kernel_gradient = weight_gradient_of_strips(x, gradient, kernel.shape[0])
    return _same_conv(gradient, flipped), kernel_gradient.astype(kernel.dtype)


_same_conv.defvjp(_forward, _backward)


def weight_gradient_of_strips(x: jax.Array, gradient: jax.Array, size: int) -> jax.Array:
    """Adds up the weight gradients of strips of the images: [size, size, C, K].

    `patch_matmul.weight_gradient` multiplies patches instead, which dilation allows and XLA's convolutions outrun.
    """
    images, height, width, depth = x.shape
    features = gradient.shape[-1]
    if features < _SMALLEST_FEATURES:
        gradient = jnp.pad(gradient, ((0, 0), (0, 0), (0, 0), (0, _SMALLEST_FEATURES - features)))
    rows = max(1, round(_PATCH_VALUES / (size * size * depth * width)))
    padded = jnp.pad(x, ((0, 0), (size // 2, size // 2), (size // 2, size // 2), (0, 0)))
    total = jnp.zeros((size, size, depth, gradient.shape[-1]), jnp.promote_types(x.dtype, jnp.float32))
    for start in range(0, height, rows):
        stop = min(start + rows, height)
        for image in range(images):
            total += _strip_gradient(
                padded[image : image + 1, start : stop + size - 1], gradient[image : image + 1, start:stop]
            )
    return total[..., :features]


def _strip_gradient(padded: jax.Array, gradient: jax.Array) -> jax.Array:
    """Computes a valid convolution's weight gradient, as a convolution over space with the channels as its batch."""
    dimensions = lax.ConvDimensionNumbers((3, 0, 1, 2), (3, 0, 1, 2), (2, 3, 0, 1))
    return lax.conv_general_dilated(padded, gradient, (1, 1), "VALID", dimension_numbers=dimensions)
