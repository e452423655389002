"""Convolves every channel by itself, with a kernel of its own (depthwise convolution)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def depthwise_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolves every channel by itself, with stride 1 at the same size.

    XLA's CPU backend has no fast grouped convolution, so there it is a sum of shifted products; on other platforms it
    is XLA's own. Both give the same but for the order of additions.

    Args:
      x: float [N, H, W, C].
      kernel: of the same type, [k, k, 1, C], k odd.

    Returns:
      The same type, [N, H, W, C].
    """
    return lax.platform_dependent(x, kernel, cpu=_shifted, default=_grouped)


def _grouped(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=x.shape[-1]
    )


@jax.custom_vjp
def _shifted(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Adds up a product per kernel position, of the kernel's value there and the image shifted by it."""
    height, width, size = x.shape[1], x.shape[2], kernel.shape[0]
    # Without barriers XLA would compute what gives the image once for each position, and the sum for each of its uses.
    padded, weights = lax.optimization_barrier(_padded(x, size)), kernel.astype(_sum_type(x))
    total = jnp.zeros((), padded.dtype)
    for i, j in np.ndindex(size, size):
        total += padded[:, i : i + height, j : j + width] * weights[i, j, 0]
    return lax.optimization_barrier(total.astype(x.dtype))


def _forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _shifted(x, kernel), (x, kernel)


def _backward(residuals: tuple[jax.Array, jax.Array], gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = residuals
    by_kernel = _weight_gradient(x, gradient, kernel.shape[0]).astype(kernel.dtype)
    return _shifted(gradient, kernel[::-1, ::-1]), by_kernel


_shifted.defvjp(_forward, _backward)


def _weight_gradient(x: jax.Array, gradient: jax.Array, size: int) -> jax.Array:
    """Adds up each shifted image times the gradient, row by row: [size, size, 1, C].

    All rows at once, XLA would lay out size² shifted images.
    """
    width, channels = x.shape[2:]
    padded, gradient = _padded(x, size), gradient.astype(_sum_type(x))

    def add_row(total: jax.Array, row: jax.Array) -> tuple[jax.Array, None]:
        seen = lax.dynamic_slice_in_dim(padded, row, size, axis=1)
        line = lax.dynamic_slice_in_dim(gradient, row, 1, axis=1)
        sums = [jnp.sum(seen[:, :, j : j + width] * line, axis=(0, 2)) for j in range(size)]
        return total + jnp.stack(sums, axis=1), None

    total, _ = lax.scan(add_row, jnp.zeros((size, size, channels), padded.dtype), jnp.arange(x.shape[1]))
    return total[:, :, None]


def _sum_type(x: jax.Array) -> Any:
    return jnp.promote_types(x.dtype, jnp.float32)


def _padded(x: jax.Array, size: int) -> jax.Array:
    """Returns the image with zeros around it, of the type that sums have."""
    half = size // 2
    return jnp.pad(x.astype(_sum_type(x)), ((0, 0), (half, half), (half, half), (0, 0)))
