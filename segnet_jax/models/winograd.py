"""3x3 convolutions by Winograd's minimal filtering, F(4x4, 3x3) (Lavin and Gray 2016, arXiv 1509.09308).

A 4x4 tile of the output takes 36 multiplications for each pair of channels where the direct sum takes 144. The image
is cut into overlapping 6x6 tiles; tiles and kernel are transformed, multiplied as 36 matrices, and transformed back. In
float32 the result differs from the direct convolution by about 1e-5 of its largest value.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

_Arrays = TypeVar("_Arrays")

# The transforms for the points 0, 1, -1, 2, -2 and infinity: of the tile, of the kernel, and back to the output.
_TILE_TRANSFORM = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    np.float32,
)
_KERNEL_TRANSFORM = np.array(
    [[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]], np.float32
) / np.float32(24)
_OUTPUT_TRANSFORM = np.array(
    [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]], np.float32
)
_OUT, _IN = _OUTPUT_TRANSFORM.shape  # 4 pixels of output a side, 6 of input
_POINTS = _IN * _IN

# Fewer channels are multiplied slower than the transforms gain.
_SMALLEST_DEPTH = 128
# The kernel is transformed once for all tiles; with fewer of them this costs more than it saves.
_FEWEST_TILES = 150
# Of all tiles that are transformed at once: small enough for a CPU's cache, as far as whole images allow.
_TILE_VALUES = 4_000_000


def gains(x: jax.Array, kernel: jax.Array) -> bool:
    """Whether the convolution of [N, H, W, C] with [k, k, C, K] is faster this way on a CPU, and exact enough.

    The transforms magnify rounding errors: in bfloat16 they would reach a tenth of the largest value.
    """
    return (
        x.dtype == kernel.dtype == jnp.float32
        and kernel.shape[:2] == (3, 3)
        and min(kernel.shape[2:]) >= _SMALLEST_DEPTH
        and x.shape[0] * -(-x.shape[1] // _OUT) * -(-x.shape[2] // _OUT) >= _FEWEST_TILES
    )


def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The same-size convolution of stride 1: float [N, H, W, C] and [3, 3, C, K] to [N, H, W, K]."""
    images, height, width, depth = x.shape
    features = kernel.shape[-1]
    group, rows, columns = _plan(x.shape)
    # Together, or XLA would transform the kernels of all layers at the start and hold them until they are needed.
    padded, kernel = _barrier((_pad(x, rows, columns, border=1), kernel))
    transformed_kernel = _barrier(_transform_kernel(kernel).reshape(_POINTS, depth, features))

    def convolve_group(part: jax.Array) -> jax.Array:
        products = lax.dot_general(
            _transform_input(part, rows, columns), transformed_kernel, (((2,), (1,)), ((0,), (0,)))
        ).reshape(_IN, _IN, group, rows, columns, features)
        along_rows = _barrier(_combine(_OUTPUT_TRANSFORM, list(products), axis=3))
        return _barrier(_combine(_OUTPUT_TRANSFORM, list(along_rows), axis=4))

    groups = padded.reshape(images // group, group, *padded.shape[1:])
    outputs = convolve_group(groups[0]) if len(groups) == 1 else lax.map(convolve_group, groups)
    return outputs.reshape(images, rows * _OUT, columns * _OUT, features)[:, :height, :width]


def weight_gradient(x: jax.Array, gradient: jax.Array) -> jax.Array:
    """The gradient of `convolve` for its kernel, [3, 3, C, K], from x [N, H, W, C] and the output's [N, H, W, K]."""
    depth, features = x.shape[-1], gradient.shape[-1]
    group, rows, columns = _plan(x.shape)
    padded = _pad(x, rows, columns, border=1)
    gradient = _pad(gradient, rows, columns, border=0)

    def gradient_of(part: jax.Array, part_gradient: jax.Array) -> jax.Array:
        tiles = _transform_input(part, rows, columns)
        transposed = _OUTPUT_TRANSFORM.T
        along_rows = _barrier(_combine(transposed, [part_gradient[:, i::_OUT] for i in range(_OUT)], axis=0))
        both = _combine(transposed, [along_rows[:, :, :, j::_OUT] for j in range(_OUT)], axis=1)
        both = _barrier(both.reshape(_POINTS, -1, features))
        return lax.dot_general(tiles, both, (((1,), (1,)), ((0,), (0,))))

    groups = [array.reshape(-1, group, *array.shape[1:]) for array in (padded, gradient)]
    if len(groups[0]) == 1:
        total = gradient_of(groups[0][0], groups[1][0])
    else:
        zero = jnp.zeros((_POINTS, depth, features), x.dtype)
        total, _ = lax.scan(lambda total, parts: (total + gradient_of(*parts), None), zero, tuple(groups))
    total = total.reshape(_IN, _IN, depth, features)
    along_rows = _barrier(_combine(_KERNEL_TRANSFORM.T, list(total), axis=0))
    return _combine(_KERNEL_TRANSFORM.T, [along_rows[:, j] for j in range(_IN)], axis=1)


def _plan(shape: Sequence[int]) -> tuple[int, int, int]:
    """Images that are transformed at once, and the rows and columns of an image's tiles."""
    images, height, width, depth = shape
    rows, columns = -(-height // _OUT), -(-width // _OUT)
    group = max(1, min(images, _TILE_VALUES // (_POINTS * rows * columns * depth)))
    while images % group:
        group -= 1
    return group, rows, columns


def _pad(x: jax.Array, rows: int, columns: int, border: int) -> jax.Array:
    """Whole tiles, and a border of zeros around them."""
    below, right = rows * _OUT - x.shape[1] + border, columns * _OUT - x.shape[2] + border
    return jnp.pad(x, ((0, 0), (border, below), (border, right), (0, 0)))


def _transform_input(x: jax.Array, rows: int, columns: int) -> jax.Array:
    """[n, 4 rows + 2, 4 columns + 2, C] to [36, n * rows * columns, C]."""
    tile_rows = [lax.slice_in_dim(x, i, i + _OUT * (rows - 1) + 1, _OUT, axis=1) for i in range(_IN)]
    x = _barrier(_combine(_TILE_TRANSFORM, tile_rows, axis=0))
    tile_columns = [lax.slice_in_dim(x, j, j + _OUT * (columns - 1) + 1, _OUT, axis=3) for j in range(_IN)]
    return _barrier(_combine(_TILE_TRANSFORM, tile_columns, axis=1).reshape(_POINTS, -1, x.shape[-1]))


def _transform_kernel(kernel: jax.Array) -> jax.Array:
    """[3, 3, C, K] to [6, 6, C, K]."""
    x = _barrier(_combine(_KERNEL_TRANSFORM, list(kernel), axis=0))
    return _combine(_KERNEL_TRANSFORM, [x[:, j] for j in range(3)], axis=1)


def _combine(matrix: np.ndarray, parts: Sequence[jax.Array], axis: int) -> jax.Array:
    """Sums of `matrix[:, i] * parts[i]`, the matrix's rows along a new axis.

    Broadcast products instead of a small matrix product or a concatenation: XLA makes one loop of them.
    """
    shape = [1] * (parts[0].ndim + 1)
    shape[axis] = len(matrix)
    terms = [
        column.astype(part.dtype).reshape(shape) * jnp.expand_dims(part, axis)
        for column, part in zip(matrix.T, parts, strict=True)
    ]
    return sum(terms[1:], terms[0])


def _barrier(x: _Arrays) -> _Arrays:
    """Keeps XLA from merging two passes into one that computes the first anew for each value of the second."""
    return lax.optimization_barrier(x)
