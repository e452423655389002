"""Pools over windows that overlap, with a derivative that XLA's CPU backend computes quickly."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax

from segnet_jax.ops.patch_matmul import Borders

# Side of the windows.
_WINDOW = 3
# The position of each maximum in its window, and the shape that was pooled.
_Residuals = tuple[jax.Array, tuple[int, ...]]


def overlapping_max_pool(x: jax.Array, stride: int) -> jax.Array:
    """Pools 3x3 by maxima like Caffe, with a padding of 1 in ceil mode; the gradient goes to the first of equal values.

    XLA's own derivative, a scatter, takes ten times as long on CPUs as the one used there, which remembers where each
    maximum was.

    Args:
      x: float [N, H, W, C].
      stride: distance of the windows in pixels, 1 or 2.

    Returns:
      The type of `x`, [N, H', W', C]: H' = H with stride 1, and H // 2 + 1 with stride 2.
    """
    # Behind the last pixel, what the last window needs to be whole.
    bottom, right = (1 if stride == 1 else 2 - n % 2 for n in x.shape[1:3])
    borders = ((1, bottom), (1, right))
    return lax.platform_dependent(
        x,
        cpu=functools.partial(_pool, stride=stride, borders=borders),
        default=functools.partial(_plain, stride=stride, borders=borders),
    )


def _plain(x: jax.Array, stride: int, borders: Borders) -> jax.Array:
    return nn.max_pool(x, (_WINDOW, _WINDOW), strides=(stride, stride), padding=borders)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _pool(x: jax.Array, stride: int, borders: Borders) -> jax.Array:
    return _plain(x, stride, borders)


def _forward(x: jax.Array, stride: int, borders: Borders) -> tuple[jax.Array, _Residuals]:
    padded = jnp.pad(x, ((0, 0), *borders, (0, 0)), constant_values=-jnp.inf)
    lengths = [(length - _WINDOW) // stride * stride + 1 for length in padded.shape[1:3]]
    values = [
        padded[:, i : i + lengths[0] : stride, j : j + lengths[1] : stride] for i, j in np.ndindex(_WINDOW, _WINDOW)
    ]
    best, index = values[0], jnp.zeros(values[0].shape, jnp.uint8)
    for number, value in enumerate(values[1:], start=1):
        index = jnp.where((value > best) | jnp.isnan(value), jnp.uint8(number), index)
        best = jnp.maximum(best, value)
    # Now, from the image that is at hand, not from one kept for the backward pass.
    best, index = lax.optimization_barrier((best, index))
    return best, (index, x.shape)


def _backward(stride: int, borders: Borders, residuals: _Residuals, gradient: jax.Array) -> tuple[jax.Array]:
    index, shape = residuals
    images, rows, columns, channels = gradient.shape
    # Pixel stride * a + p of the grown image is in the windows a - b at their position p + stride * b.
    reach = -(-_WINDOW // stride)
    grown = [
        jnp.pad(array, ((0, 0), (reach - 1, reach - 1), (reach - 1, reach - 1), (0, 0))) for array in (gradient, index)
    ]
    gradient, index = lax.optimization_barrier(grown)

    def phase(p: int, q: int) -> jax.Array:
        """Returns the gradient of every `stride`-th pixel, from pixel (p, q) on."""
        total = jnp.zeros((), gradient.dtype)
        for b, c in np.ndindex(reach, reach):
            i, j = p + stride * b, q + stride * c
            if max(i, j) >= _WINDOW:
                continue
            top, left = reach - 1 - b, reach - 1 - c
            part = np.s_[:, top : top + rows + reach - 1, left : left + columns + reach - 1]
            total = total + jnp.where(index[part] == _WINDOW * i + j, gradient[part], 0)
        return jnp.broadcast_to(total, (images, rows + reach - 1, columns + reach - 1, channels))

    phases = jnp.stack([jnp.stack([phase(p, q) for q in range(stride)], axis=3) for p in range(stride)], axis=2)
    whole = phases.reshape(images, (rows + reach - 1) * stride, (columns + reach - 1) * stride, channels)
    # Cut off the border, and add pixels behind the last window, which are in none.
    edges = [
        (-start, start + length - have, 0)
        for (start, _), length, have in zip(borders, shape[1:3], whole.shape[1:3], strict=True)
    ]
    return (lax.pad(whole, jnp.zeros((), whole.dtype), ((0, 0, 0), *edges, (0, 0, 0))),)


_pool.defvjp(_forward, _backward)
