"""Convolves by one matrix product where the kernel is much larger than the image, as VGG16's fc6 is than pool5.

XLA's CPU backend mirrors or copies such a kernel, of 100 MB and more, in every call. Here it is read once, as it lies.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from segnet_jax.ops.shifted_matmul import Borders

# A kernel of so many times the image's values counts as much larger. One of 3x3 gains little all the same.
_LARGE = 30
_SMALLEST_KERNEL = 4


def gains(x: Any, kernel: Any) -> bool:
    """Returns whether a convolution of [N, H, W, C] with [k, k, C, F] is faster here than by XLA on a CPU.

    An image whose size is a symbol, as when a program is exported, counts as large.
    """
    return isinstance(x.size, int) and kernel.shape[0] >= _SMALLEST_KERNEL and kernel.size >= _LARGE * x.size


def convolve(x: jax.Array, kernel: jax.Array, borders: Borders) -> jax.Array:
    """Convolves with stride 1, by the matrix product of all patches with the kernel.

    Args:
      x: float [N, H, W, C].
      kernel: of the same type, [k, l, C, F].
      borders: zeros at the top and the bottom, and at the left and the right.

    Returns:
      The same type, [N, H', W', F], where H' = H + top + bottom - k + 1.
    """
    padded = jnp.pad(x, ((0, 0), *borders, (0, 0)))
    height, width = (length - size + 1 for length, size in zip(padded.shape[1:3], kernel.shape, strict=False))
    shifted = [padded[:, i : i + height, j : j + width] for i, j in np.ndindex(*kernel.shape[:2])]
    patches = jnp.concatenate(shifted, axis=-1)
    return _product(patches, kernel.reshape(-1, kernel.shape[-1]))


def convolve_transposed(x: jax.Array, kernel: jax.Array, output_size: tuple[int, int], padding: int) -> jax.Array:
    """Convolves transposed with stride 1, as `ops.upsampling.conv_transpose` does.

    Each position of the kernel gives an image of its own, and these are added up where they belong.
    """
    images, height, width, channels = x.shape
    size, features = kernel.shape[0], kernel.shape[-1]
    pixels = jnp.broadcast_to(x.reshape(1, -1, channels), (size * size, images * height * width, channels))
    products = _product(pixels, kernel.reshape(size * size, channels, features))
    placed = [
        lax.pad(
            product.reshape(images, height, width, features),
            jnp.zeros((), x.dtype),
            (
                (0, 0, 0),
                (i - padding, output_size[0] - height - i + padding, 0),
                (j - padding, output_size[1] - width - j + padding, 0),
                (0, 0, 0),
            ),
        )
        for (i, j), product in zip(np.ndindex(size, size), products, strict=True)
    ]
    return functools.reduce(jnp.add, placed)


def _product(x: jax.Array, y: jax.Array) -> jax.Array:
    # The sum has more bits than its terms.
    return jnp.matmul(x, y, preferred_element_type=jnp.promote_types(x.dtype, jnp.float32)).astype(x.dtype)
