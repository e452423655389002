"""Pools by maxima and remembers where each one was, and unpools by putting it back.

This is what sets SegNet apart (arXiv 1511.00561, section 3): the decoder upsamples with the *indices* of the encoder's
max pooling, so the network passes one small integer per pooled value from encoder to decoder, not a feature map.

Both operations are compare-and-select over the positions of a window. There is no scatter and no gather, so XLA fuses
them with their neighbours on every platform. Each is the other's derivative: pooling reads the value at an index,
unpooling writes a value to an index, and so the backward passes need the indices alone, never the activations.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

# Positions in a window are stored in one byte.
_LARGEST_WINDOW = 16

# Of pooling: the indices, and the size that was pooled.
_Residuals = tuple[jax.Array, tuple[int, int]]


def pooled_size(size: int, window: int = 2) -> int:
    """Returns the length of an axis of `size` pixels after ceil-mode pooling, as in Caffe."""
    return -(-size // window)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def max_pool_argmax(x: jax.Array, window: int = 2) -> tuple[jax.Array, jax.Array]:
    """Pools by maxima over non-overlapping windows, and returns the position of each maximum.

    Ceil mode: a last row or column that does not fill a window forms a window of its own, so that any height and
    width are pooled whole. Among equal values the first in row-major order wins, a NaN wins over every number, and
    what completes a partial window never wins. The gradient flows to the one position that won, as in Caffe and
    PyTorch: it is `max_unpool` of the incoming gradient.

    Args:
      x: float [..., H, W, C].
      window: side of the square window and stride, in pixels, 1 to 16.

    Returns:
      `pooled`, the type of `x`, and `indices`, uint8, both [..., ceil(H / window), ceil(W / window), C]. An index is
      `row * window + column` inside its window.

    Raises:
      ValueError: if `x` has fewer than three axes or an empty height or width, or `window` is out of range.
      TypeError: if `x` is not of a floating-point type.
    """
    _check_window(window)
    if x.ndim < 3 or 0 in x.shape[-3:-1]:
        raise ValueError(f"max_pool_argmax takes [..., height, width, channels], not the shape {x.shape}.")
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(f"max_pool_argmax takes floating-point values, not {x.dtype}.")
    candidates = _window_positions(x, window, fill=-jnp.inf)
    # Position 0 of a window is never padding, and a later candidate must be strictly greater, so padding cannot win.
    best = candidates[0]
    indices = jnp.zeros(best.shape, jnp.uint8)
    for position, candidate in enumerate(candidates[1:], start=1):
        wins = (candidate > best) | (jnp.isnan(candidate) & ~jnp.isnan(best))
        best = jnp.where(wins, candidate, best)
        indices = jnp.where(wins, jnp.uint8(position), indices)
    return best, indices


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def max_unpool(pooled: jax.Array, indices: jax.Array, output_size: tuple[int, int], window: int = 2) -> jax.Array:
    """Writes each pooled value back to the position it came from, with zeros everywhere else.

    Args:
      pooled: float [..., h, w, C].
      indices: uint8 [..., h, w, C], as `max_pool_argmax` gives them.
      output_size: (H, W), exactly the size that was pooled, in pixels: h = ceil(H / window), w = ceil(W / window).
      window: side of the square window, in pixels.

    Returns:
      The type of `pooled`, [..., H, W, C].

    Raises:
      ValueError: if the shapes do not belong together.
    """
    _check_window(window)
    height, width = output_size
    if pooled.ndim < 3 or pooled.shape != indices.shape:
        raise ValueError(
            "max_unpool takes values and indices of one shape, [..., height, width, channels], not "
            f"{pooled.shape} and {indices.shape}."
        )
    if pooled.shape[-3:-1] != (pooled_size(height, window), pooled_size(width, window)):
        raise ValueError(
            f"max_unpool cannot give {height}x{width} from {pooled.shape[-3]}x{pooled.shape[-2]} with a window of "
            f"{window}: output_size must be the size that was pooled."
        )
    *batch, rows, columns, channels = pooled.shape
    positions = jnp.arange(window * window, dtype=jnp.uint8).reshape(window, 1, window, 1)
    values = jnp.expand_dims(pooled, (-4, -2))
    written = jnp.where(jnp.expand_dims(indices, (-4, -2)) == positions, values, jnp.zeros_like(values))
    written = written.reshape(*batch, rows * window, columns * window, channels)
    return written[..., :height, :width, :]


def _check_window(window: int) -> None:
    if not 1 <= window <= _LARGEST_WINDOW:
        raise ValueError(f"A pooling window has a side of 1 to {_LARGEST_WINDOW} pixels, not {window}.")


def _window_positions(x: jax.Array, window: int, fill: float) -> list[jax.Array]:
    """Returns the values at each position of the windows, row-major: window² arrays [..., h, w, C]."""
    *batch, height, width, channels = x.shape
    rows, columns = pooled_size(height, window), pooled_size(width, window)
    below, right = rows * window - height, columns * window - width
    if below or right:
        padding = [(0, 0)] * len(batch) + [(0, below), (0, right), (0, 0)]
        x = jnp.pad(x, padding, constant_values=fill)
    windows = x.reshape(*batch, rows, window, columns, window, channels)
    return [windows[..., :, i, :, j, :] for i in range(window) for j in range(window)]


def _values_at(x: jax.Array, indices: jax.Array, window: int) -> jax.Array:
    """Reads the value of each window of `x` at its index, as `max_pool_argmax` would if the index had won."""
    positions = _window_positions(x, window, fill=0)
    zero = jnp.zeros_like(positions[0])
    chosen = [jnp.where(indices == k, value, zero) for k, value in enumerate(positions)]
    # Exactly one term is not zero.
    return functools.reduce(jnp.add, chosen)


def _max_pool_argmax_fwd(x: jax.Array, window: int) -> tuple[tuple[jax.Array, jax.Array], _Residuals]:
    pooled, indices = max_pool_argmax(x, window)
    height, width = x.shape[-3:-1]
    return (pooled, indices), (indices, (height, width))


def _max_pool_argmax_bwd(window: int, residuals: _Residuals, cotangents: tuple[jax.Array, Any]) -> tuple[jax.Array]:
    indices, output_size = residuals
    return (max_unpool(cotangents[0], indices, output_size, window),)


def _max_unpool_fwd(
    pooled: jax.Array, indices: jax.Array, output_size: tuple[int, int], window: int
) -> tuple[jax.Array, jax.Array]:
    return max_unpool(pooled, indices, output_size, window), indices


def _max_unpool_bwd(
    output_size: tuple[int, int], window: int, indices: jax.Array, cotangent: jax.Array
) -> tuple[jax.Array, None]:
    del output_size
    return _values_at(cotangent, indices, window), None


max_pool_argmax.defvjp(_max_pool_argmax_fwd, _max_pool_argmax_bwd)
max_unpool.defvjp(_max_unpool_fwd, _max_unpool_bwd)
