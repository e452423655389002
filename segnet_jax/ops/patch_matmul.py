"""Convolves by the matrix product of patches and kernel, where XLA's CPU backend is slow.

Dilated convolutions are slow there throughout. A kernel much larger than the image, as fc6 of VGG16 is than pool5, is
mirrored or copied in every call, and has 100 MB and more; here it is read once, as it lies. Of kernels with an even
number of positions the kernel's gradient takes fifty times as long as the forward pass.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Borders = tuple[tuple[int, int], tuple[int, int]]

# A kernel of so many times the image's values counts as much larger. One of 3x3 gains little all the same.
_LARGE = 30
_SMALLEST_KERNEL = 4

# Values of the patches of a strip in the gradient of a kernel: 2 MB. For a larger kernel they are as many as its own,
# because its gradient is read and written once a strip.
_STRIP_VALUES = 500_000


def is_large(kernel: Any, x: Any) -> bool:
    """Returns whether the kernel, [k, l, C, F], is much larger than the image, [N, H, W, C].

    An image whose size is a symbol, as when a program is exported, counts as large itself.
    """
    return isinstance(x.size, int) and kernel.shape[0] >= _SMALLEST_KERNEL and kernel.size >= _LARGE * x.size


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def convolve(x: jax.Array, kernel: jax.Array, borders: Borders, dilation: int = 1) -> jax.Array:
    """Convolves with stride 1, by one product of all patches with the kernel.

    Args:
      x: float [N, H, W, C].
      kernel: of the same type, [k, l, C, F].
      borders: zeros at the top and the bottom, and at the left and the right; negative ones crop.
      dilation: distance of the kernel's positions, in pixels.

    Returns:
      The same type, [N, H', W', F], where H' = H + top + bottom - dilation * (k - 1).
    """
    patches = _patches(padded(x, borders), kernel.shape[:2], dilation)
    return _product(patches, kernel.reshape(-1, kernel.shape[-1])).astype(x.dtype)


def _forward(
    x: jax.Array, kernel: jax.Array, borders: Borders, dilation: int
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return convolve(x, kernel, borders, dilation), (x, kernel)


def _backward(
    borders: Borders, dilation: int, residuals: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = residuals
    # One buffer for both gradients, as in `padded`.
    gradient = lax.optimization_barrier(gradient)
    size = kernel.shape[:2]
    products = _product(gradient, kernel.reshape(-1, kernel.shape[-1]).T)
    products = lax.optimization_barrier(products).reshape(*products.shape[:-1], *size, -1)
    corners = [(dilation * i - borders[0][0], dilation * j - borders[1][0]) for i, j in np.ndindex(*size)]
    by_position = (products[..., i, j, :] for i, j in np.ndindex(*size))
    by_image = _placed(by_position, corners, x.shape[1:3]).astype(x.dtype)
    return by_image, weight_gradient(padded(x, borders), gradient, size, dilation).astype(kernel.dtype)


convolve.defvjp(_forward, _backward)


def convolve_transposed(x: jax.Array, kernel: jax.Array, output_size: Sequence[int], padding: int) -> jax.Array:
    """Convolves transposed with stride 1, as `ops.upsampling.conv_transpose` does, by one product for each position."""
    images, height, width, channels = x.shape
    size, features = kernel.shape[0], kernel.shape[-1]
    pixels = jnp.broadcast_to(x.reshape(1, -1, channels), (size * size, images * height * width, channels))
    products = _product(pixels, kernel.reshape(size * size, channels, features))
    by_position = (product.reshape(images, height, width, features) for product in products)
    corners = [(i - padding, j - padding) for i, j in np.ndindex(size, size)]
    return _placed(by_position, corners, output_size).astype(x.dtype)


def weight_gradient(image: jax.Array, gradient: jax.Array, size: Sequence[int], dilation: int) -> jax.Array:
    """Adds up, over images and pixels, the patches times the gradient: [k, l, C, F].

    It goes strip by strip, so that the patches of a strip fit the cache.
    """
    images, height, width, features = gradient.shape
    channels = image.shape[-1]
    depth = size[0] * size[1] * channels
    values = max(_STRIP_VALUES, depth * features)
    if images * height * width * depth <= values:
        total = _pixel_sum(_patches(image, size, dilation), gradient)
        return total.reshape(*size, channels, features)
    rows = min(height, max(1, values // (depth * width)))
    strips = -(-height // rows)
    reach = dilation * (size[0] - 1)
    # Zeros below make the last strip as high as the others.
    below = ((0, 0), (0, strips * rows - height), (0, 0), (0, 0))
    image, gradient = jnp.pad(image, below), jnp.pad(gradient, below)

    def add_strip(number: jax.Array, total: jax.Array) -> jax.Array:
        corner = (number // strips, number % strips * rows, 0, 0)
        strip = lax.dynamic_slice(image, corner, (1, rows + reach, *image.shape[2:]))
        patches = lax.optimization_barrier(_patches(strip, size, dilation))
        return total + _pixel_sum(patches, lax.dynamic_slice(gradient, corner, (1, rows, width, features)))

    total = jnp.zeros((depth, features), _sum_type(gradient))
    return lax.fori_loop(0, images * strips, add_strip, total).reshape(*size, channels, features)


def padded(x: jax.Array, borders: Borders) -> jax.Array:
    """Returns the images, [N, H, W, C], with zeros around them; negative borders crop."""
    # One buffer for all positions: without a barrier XLA would pad anew for each of them.
    edges = ((0, 0, 0), *((low, high, 0) for low, high in borders), (0, 0, 0))
    return lax.optimization_barrier(lax.pad(x, jnp.zeros((), x.dtype), edges))


def _patches(image: jax.Array, size: Sequence[int], dilation: int) -> jax.Array:
    """Returns what the kernel sees at each pixel: [N, H', W', k * l * C]."""
    height, width = (length - dilation * (side - 1) for length, side in zip(image.shape[1:3], size, strict=True))
    shifted = [
        image[:, dilation * i : dilation * i + height, dilation * j : dilation * j + width]
        for i, j in np.ndindex(*size)
    ]
    return jnp.concatenate(shifted, axis=-1)


def _placed(images: Iterable[jax.Array], corners: list[tuple[int, int]], output_size: Sequence[int]) -> jax.Array:
    """Adds up images, [N, H, W, C], that lie with their upper left corners at `corners`: [N, H', W', C]."""

    def place(image: jax.Array, corner: tuple[int, int]) -> jax.Array:
        borders = [
            (start, whole - length - start, 0)
            for start, whole, length in zip(corner, output_size, image.shape[1:3], strict=True)
        ]
        return lax.pad(image, jnp.zeros((), image.dtype), ((0, 0, 0), *borders, (0, 0, 0)))

    return functools.reduce(jnp.add, map(place, images, corners))


def _product(x: jax.Array, y: jax.Array) -> jax.Array:
    # The sum has more bits than its terms.
    return jnp.matmul(x, y, preferred_element_type=_sum_type(x))


def _pixel_sum(patches: jax.Array, gradient: jax.Array) -> jax.Array:
    return jnp.einsum("nhwc,nhwf->cf", patches, gradient, preferred_element_type=_sum_type(gradient))


def _sum_type(x: jax.Array) -> jnp.dtype:
    return jnp.promote_types(x.dtype, jnp.float32)
