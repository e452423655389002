"""Convolves by matrix products, one for each position of the kernel, where XLA's CPU backend is slow.

Of kernels with an even number of positions XLA computes the gradient at a fiftieth of the speed of the forward pass;
dilated ones are slow throughout.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Borders = tuple[tuple[int, int], tuple[int, int]]

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")

# Values of the patches of a strip in the gradient of a kernel: 2 MB.
_STRIP_VALUES = 500_000


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def convolve(x: jax.Array, kernel: jax.Array, borders: Borders, dilation: int = 1) -> jax.Array:
    """Convolves with stride 1.

    Args:
      x: float [N, H, W, C].
      kernel: of the same type, [k, k, C, F].
      borders: zeros at the top and the bottom, and at the left and the right; negative ones crop.
      dilation: distance of the kernel's positions, in pixels.

    Returns:
      The same type, [N, H', W', F], where H' = H + top + bottom - dilation * (k - 1).
    """
    if dilation == 1:
        return plain(x, kernel, borders)
    size = kernel.shape[0]
    padded = _padded(x, borders)
    height, width = (length - dilation * (size - 1) for length in padded.shape[1:3])
    # The sum has more bits than its terms.
    products = (
        jnp.matmul(_shifted(padded, i, j, dilation, height, width), kernel[i, j], preferred_element_type=_sum_type(x))
        for i, j in np.ndindex(size, size)
    )
    return functools.reduce(jnp.add, products).astype(x.dtype)


def plain(x: jax.Array, kernel: jax.Array, borders: Borders) -> jax.Array:
    """Convolves by XLA, otherwise as `convolve` without dilation does."""
    if not all(isinstance(border, int) for border in (*borders[0], *borders[1])):
        # Of an exported program; XLA takes borders whose size is a symbol in a padding alone.
        x, borders = _padded(x, borders), ((0, 0), (0, 0))
    return lax.conv_general_dilated(x, kernel, (1, 1), borders, dimension_numbers=_DIMENSIONS)


def _forward(
    x: jax.Array, kernel: jax.Array, borders: Borders, dilation: int
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return convolve(x, kernel, borders, dilation), (x, kernel)


def _backward(
    borders: Borders, dilation: int, residuals: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = residuals
    # As in `_padded`.
    gradient = lax.optimization_barrier(gradient)
    reach = dilation * (kernel.shape[0] - 1)
    (top, bottom), (left, right) = borders
    opposite = ((reach - top, reach - bottom), (reach - left, reach - right))
    by_image = convolve(gradient, kernel[::-1, ::-1].swapaxes(2, 3), opposite, dilation)
    return by_image, _weight_gradient(_padded(x, borders), gradient, kernel.shape[0], dilation).astype(kernel.dtype)


convolve.defvjp(_forward, _backward)


def _weight_gradient(padded: jax.Array, gradient: jax.Array, size: int, dilation: int) -> jax.Array:
    """Adds up, over images and pixels, the patches times the gradient: [k, k, C, F].

    It goes strip by strip, so that the patches of a strip fit the cache.
    """
    images, height, width, features = gradient.shape
    channels = padded.shape[-1]
    rows = min(height, max(1, _STRIP_VALUES // (size * size * channels * width)))
    strips = -(-height // rows)
    reach = dilation * (size - 1)
    # Zeros below make the last strip as high as the others.
    below = ((0, 0), (0, strips * rows - height), (0, 0), (0, 0))
    padded, gradient = jnp.pad(padded, below), jnp.pad(gradient, below)

    def add_strip(number: jax.Array | int, total: jax.Array) -> jax.Array:
        corner = (number // strips, number % strips * rows, 0, 0)
        strip = lax.dynamic_slice(padded, corner, (1, rows + reach, *padded.shape[2:]))
        shifted = [_shifted(strip, i, j, dilation, rows, width) for i, j in np.ndindex(size, size)]
        patches = lax.optimization_barrier(jnp.concatenate(shifted, axis=-1))
        values = lax.dynamic_slice(gradient, corner, (1, rows, width, features))
        return total + jnp.einsum("nhwc,nhwf->cf", patches, values, preferred_element_type=total.dtype)

    total = jnp.zeros((size * size * channels, features), _sum_type(gradient))
    total = lax.fori_loop(0, images * strips, add_strip, total) if images * strips > 1 else add_strip(0, total)
    return total.reshape(size, size, channels, features)


def _shifted(padded: jax.Array, i: int, j: int, dilation: int, height: int, width: int) -> jax.Array:
    """Returns the part of the image that position (i, j) of the kernel is multiplied with."""
    return padded[:, dilation * i : dilation * i + height, dilation * j : dilation * j + width]


def _padded(x: jax.Array, borders: Borders) -> jax.Array:
    # One buffer for all positions: without a barrier XLA would pad anew for each of them.
    padded = lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), *((low, high, 0) for low, high in borders), (0, 0, 0)))
    return lax.optimization_barrier(padded)


def _sum_type(x: jax.Array) -> jnp.dtype:
    return jnp.promote_types(x.dtype, jnp.float32)
