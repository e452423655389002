"""Convolves 3x3 and 7x7 by Winograd's minimal filtering (Lavin and Gray 2016, arXiv 1509.09308).

A 4x4 tile of the output takes 36 multiplications for each pair of channels where the direct sum of a 3x3 kernel takes
144, and 100 instead of 784 for 7x7. The image is cut into overlapping tiles; tiles and kernel are transformed,
multiplied as 36 or 100 matrices, and transformed back. In float32 the result differs from the direct convolution by
about 1e-5 of its largest value for 3x3 and 5e-5 for 7x7.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

_Arrays = TypeVar("_Arrays")
_Start = tuple[jax.Array | int, ...]
# What belongs to the points, in blocks: those of rows 2 and 3 and columns 4 to 6 are a block [2, 3, ...].
_Blocks = list[list[jax.Array]]

_OUT = 4  # pixels of a tile's output a side

# A part of the image that is transformed and multiplied at once has about so many tiles: few enough for a CPU's cache,
# and enough to make up for reading the transformed kernel.
_PART_TILES = 200
# XLA computes a product of up to some 1.3 million multiplications on one core, gains little by two for a few more, and
# computes the products of one `dot_general` one after the other. It runs operations side by side if more than eight
# are left that are ready. So where products are as small as this, the points are divided among ten `dot_general`s or
# more.
_SMALL_PRODUCT = 1_700_000
_FEWEST_BLOCKS = 10
# The kernel is transformed once for all tiles; with fewer of them this costs more than it saves.
_FEWEST_TILES = 150
# With fewer channels the products are slower than the transforms gain.
_FEWEST_CHANNELS = 64
# Of images that are one part, a transformed kernel of more values is computed and multiplied a group of features at a
# time: it is larger than the tiles and, whole, than a CPU's cache.
_LARGE_KERNEL = 4_000_000
_GROUP_FEATURES = 128


class _Scheme(NamedTuple):
    """The transforms of a kernel size along one axis: `output.T @ ((kernel @ g) * (tile @ d))` is the filtered tile d.

    A tile of the input has as many pixels a side as there are points.
    """

    kernel: np.ndarray  # float32 [points, size]
    tile: np.ndarray  # float32 [points, points]
    output: np.ndarray  # float32 [points, 4]

    @property
    def points(self) -> int:
        """The number of points at which polynomials are evaluated, along one axis."""
        return len(self.tile)


def _scheme(size: int, points: Sequence[float]) -> _Scheme:
    """Builds Toom and Cook's scheme: polynomials are multiplied by their values at some points and at infinity.

    Filtering is the transpose of the polynomial product that has the kernel's and the output's length.
    """
    length = _OUT + size - 1
    differences = np.subtract.outer(points, points) + np.eye(len(points))
    # Without this scale the tile's transform would have fractions, the kernel's none. Results are the same.
    scale = np.append(np.prod(differences, axis=1), 1.0)[:, None]

    def values(count: int) -> np.ndarray:
        """Returns the matrix that evaluates polynomials of `count` coefficients at each point and at infinity."""
        return np.vstack([np.power.outer(points, np.arange(count)), np.eye(count)[-1:]])

    tile = np.linalg.inv(values(length)).T * scale
    kernel, tile, output = (matrix.astype(np.float32) for matrix in (values(size) / scale, tile, values(_OUT)))
    return _Scheme(kernel, tile, output)


# The points of 7x7 are those of small fractions that give the smallest errors.
_SCHEMES = {
    3: _scheme(3, (0, 1, -1, 2, -2)),
    7: _scheme(7, (0, 0.5, -0.5, 0.75, -0.75, 1.25, -1.25, 2.5, -2.5)),
}


def gains(x: Any, kernel: Any) -> bool:
    """Returns whether [N, H, W, C] with [k, k, C, K] is faster this way on a CPU, gradients too, and exact enough.

    The transforms magnify rounding errors: in bfloat16 they would reach a tenth of the largest value.
    """
    return (
        x.dtype == kernel.dtype == jnp.float32
        and kernel.shape[0] == kernel.shape[1]
        and kernel.shape[0] in _SCHEMES
        and min(kernel.shape[2:]) >= _FEWEST_CHANNELS
        and x.shape[0] * -(-x.shape[1] // _OUT) * -(-x.shape[2] // _OUT) >= _FEWEST_TILES
    )


@functools.partial(jax.jit, inline=True)
def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolves with stride 1 at the same size: float [N, H, W, C] and [k, k, C, K] to [N, H, W, K], k 3 or 7."""
    scheme, plan = _SCHEMES[kernel.shape[0]], _plan(x.shape)
    (images, height, width, depth), (size, _, _, features) = x.shape, kernel.shape
    # Together, or XLA would transform the kernels of all layers at the start and hold them until they are needed. In
    # one row, or it would read the flipped kernel of a gradient against its order in memory, time and again.
    padded, kernel = _barrier((plan.pad(x, border=size // 2), kernel.reshape(size, size, -1)))
    groups = _feature_groups(plan, scheme.points**2 * depth, features)
    division = _division(scheme, plan, depth * features // groups)

    def transform_kernel(kernel: jax.Array) -> _Blocks:
        columns = functools.partial(jnp.unstack, axis=1)
        # Not block by block, which takes longer to compile.
        [[whole]] = _transform(scheme.kernel, list(kernel), columns, _undivided(scheme))
        whole = _barrier(whole).reshape(scheme.points, scheme.points, depth, -1)
        return division.blocks(lambda *block: _barrier(whole[block]))

    def transform_part(number: jax.Array | int) -> _Blocks:
        return _transform_tiles(scheme, plan, division, plan.part(padded, number, scheme.points - _OUT))

    def multiply(tiles: _Blocks, kernel: _Blocks) -> jax.Array:
        products = jax.tree.map(
            lambda block: block.reshape(*block.shape[:2], plan.images, plan.rows, plan.columns, -1),
            _multiply(tiles, kernel, contracted=(3, 2)),
        )
        part = _barrier(_transform_back(scheme.output.T, products, axes=(3, 4)))
        return part.reshape(plan.images, plan.rows * _OUT, plan.columns * _OUT, -1)

    if groups > 1:
        tiles, each = transform_part(0), features // groups
        kernel = kernel.reshape(size, size, depth, features)

        def part(number: jax.Array | int) -> tuple[jax.Array, _Start]:
            own = lax.dynamic_slice_in_dim(kernel, number * each, each, axis=3)
            return multiply(tiles, transform_kernel(own.reshape(size, size, -1))), (0, 0, 0, number * each)

    else:
        transformed = transform_kernel(kernel)

        def part(number: jax.Array | int) -> tuple[jax.Array, _Start]:
            return multiply(transform_part(number), transformed), plan.start(number)

    count = max(groups, plan.parts)
    if count == 1:
        return part(0)[0][:, :height, :width]
    outputs = lax.fori_loop(
        0,
        count,
        lambda number, outputs: lax.dynamic_update_slice(outputs, *part(number)),
        _zeros(padded, (images, *plan.covered, features)),
    )
    return outputs[:, :height, :width]


def _feature_groups(plan: _Plan, values: int, features: int) -> int:
    """Returns how many groups of features are computed one by one, if each feature has `values` of the kernel."""
    gain = plan.parts == 1 and values * features > _LARGE_KERNEL and features % _GROUP_FEATURES == 0
    return features // _GROUP_FEATURES if gain else 1


@functools.partial(jax.jit, static_argnames="size", inline=True)
def weight_gradient(x: jax.Array, gradient: jax.Array, size: int) -> jax.Array:
    """Computes the gradient of `convolve` for its kernel, [k, k, C, K], where k is `size`.

    The images are [N, H, W, C], and `gradient`, that of the output, [N, H, W, K].
    """
    depth, features = x.shape[-1], gradient.shape[-1]
    scheme, plan = _SCHEMES[size], _plan(x.shape)
    division = _division(scheme, plan, depth * features)
    # The border of the gradient is left out again. With it, XLA sees that it is what `convolve` makes of it for the
    # gradient of x, and keeps one of them.
    padded, gradient = _barrier((plan.pad(x, border=size // 2), plan.pad(gradient, border=size // 2)))

    def gradient_of_part(number: jax.Array | int) -> _Blocks:
        tiles = _transform_tiles(scheme, plan, division, plan.part(padded, number, scheme.points - _OUT))
        part = plan.part(gradient, number, 0, inset=size // 2)
        rows = [part[:, i::_OUT] for i in range(_OUT)]
        both = _transform(scheme.output, rows, lambda x: [x[:, :, :, j::_OUT] for j in range(_OUT)], division)
        return _multiply(tiles, _tiles_in_a_row(both), contracted=(2, 2))

    if plan.parts == 1:
        total = gradient_of_part(0)
    else:
        zeros = _zeros(padded, (scheme.points, scheme.points, depth, features))
        total = lax.fori_loop(
            0,
            plan.parts,
            lambda number, total: jax.tree.map(lax.add, total, gradient_of_part(number)),
            division.blocks(lambda *block: zeros[block]),
        )
    return _transform_back(scheme.kernel.T, total, axes=(1, 1))


class _Plan(NamedTuple):
    """A division of images into parts: strips of one image, or several whole images."""

    images: int  # of a part
    rows: int  # of a part's tiles, in each of its images
    columns: int  # of the tiles
    strips: int  # of an image
    parts: int  # of all images

    @property
    def covered(self) -> tuple[int, int]:
        """The height and width of the tiles' output, in pixels."""
        return self.strips * self.rows * _OUT, self.columns * _OUT

    def pad(self, x: jax.Array, border: int) -> jax.Array:
        """Pads images to whole strips of whole tiles, with a border of zeros around them."""
        below, right = (covered - size + border for covered, size in zip(self.covered, x.shape[1:3], strict=True))
        return jnp.pad(x, ((0, 0), (border, below), (border, right), (0, 0)))

    def start(self, number: jax.Array | int) -> _Start:
        """Returns the first image, row, column and channel of a part's output."""
        return number // self.strips * self.images, number % self.strips * self.rows * _OUT, 0, 0

    def part(self, padded: jax.Array, number: jax.Array | int, overlap: int, inset: int = 0) -> jax.Array:
        """Cuts a part, counted from 0, out of padded images.

        It has `overlap` rows and columns beyond the output of its tiles, and lacks `inset` rows and columns of the
        border above and on the left.
        """
        image, row, *_ = self.start(number)
        size = (self.images, self.rows * _OUT + overlap, self.columns * _OUT + overlap, padded.shape[-1])
        return _barrier(lax.dynamic_slice(padded, (image, row + inset, inset, 0), size))


def _plan(shape: Sequence[int]) -> _Plan:
    """Divides images [N, H, W, C] into parts."""
    images, rows, columns = shape[0], -(-shape[1] // _OUT), -(-shape[2] // _OUT)
    together = max(1, min(images, _PART_TILES // (rows * columns)))
    while images % together:
        together -= 1
    strips = -(-rows // max(1, round(_PART_TILES / columns))) if together == 1 else 1
    return _Plan(together, -(-rows // strips), columns, strips, images // together * strips)


class _Division(NamedTuple):
    """A division of the points into blocks of rows and columns."""

    rows: list[slice]
    columns: list[slice]

    def blocks(self, function: Callable[[slice, slice], jax.Array]) -> _Blocks:
        """Returns what `function` makes of each block's rows and columns."""
        return [[function(of_rows, of_columns) for of_columns in self.columns] for of_rows in self.rows]


def _undivided(scheme: _Scheme) -> _Division:
    return _Division([slice(0, scheme.points)], [slice(0, scheme.points)])


def _division(scheme: _Scheme, plan: _Plan, pairs: int) -> _Division:
    """Divides the points into ten blocks or more if products of so many pairs of channels are small, else into one."""
    points = scheme.points
    if plan.images * plan.rows * plan.columns * pairs > _SMALL_PRODUCT:
        return _undivided(scheme)
    width = min(points, points**2 // _FEWEST_BLOCKS)
    return _Division([slice(i, i + 1) for i in range(points)], [slice(j, j + width) for j in range(0, points, width)])


def _transform_tiles(scheme: _Scheme, plan: _Plan, division: _Division, x: jax.Array) -> _Blocks:
    """Transforms the tiles of [n, 4 rows + points - 4, 4 columns + points - 4, C] to blocks [.., .., n * tiles, C]."""

    def every_fourth(x: jax.Array, first: int, count: int, axis: int) -> jax.Array:
        return lax.slice_in_dim(x, first, first + _OUT * (count - 1) + 1, _OUT, axis=axis)

    rows = [every_fourth(x, i, plan.rows, 1) for i in range(scheme.points)]
    return _tiles_in_a_row(
        _transform(
            scheme.tile, rows, lambda x: [every_fourth(x, j, plan.columns, 3) for j in range(scheme.points)], division
        )
    )


def _transform(
    matrix: np.ndarray,
    rows: Sequence[jax.Array],
    columns: Callable[[jax.Array], Sequence[jax.Array]],
    division: _Division,
) -> _Blocks:
    """Applies `matrix` along both axes: to `rows`, then to the `columns` of the result."""
    along_rows = _barrier(_combine(matrix, rows, axis=0))
    return division.blocks(
        lambda of_rows, of_columns: _combine(matrix[of_columns], columns(along_rows[of_rows]), axis=1)
    )


def _tiles_in_a_row(blocks: _Blocks) -> _Blocks:
    """Returns blocks [.., .., tiles, C] of [.., .., n, rows, columns, C], computed before they are used."""
    return jax.tree.map(lambda block: _barrier(block.reshape(*block.shape[:2], -1, block.shape[-1])), blocks)


def _multiply(left: _Blocks, right: _Blocks, contracted: tuple[int, int]) -> _Blocks:
    """Multiplies as matrices, at each point, with sums over an axis of the left and of the right blocks."""
    dimensions = ((contracted[:1], contracted[1:]), ((0, 1), (0, 1)))
    products = jax.tree.map(functools.partial(lax.dot_general, dimension_numbers=dimensions), left, right)
    if len(jax.tree.leaves(left)) > 1:
        # The factors are kept until all products are there: XLA would write a product to the memory of a factor of
        # another, which then had to wait for that.
        products, _ = _barrier((products, (left, right)))
    return products


def _transform_back(matrix: np.ndarray, products: _Blocks, axes: tuple[int, int]) -> jax.Array:
    """Applies `matrix` along the rows of points, then along their columns.

    Args:
      matrix: a row for each result.
      products: the blocks.
      axes: of the results along the rows; of those along the columns, in what is left.
    """
    columns: list[jax.Array] = []
    for blocks in zip(*products, strict=True):
        columns.extend(_barrier(_combine(matrix, [row for block in blocks for row in block], axis=axes[0])))
    return _combine(matrix, columns, axis=axes[1])


def _combine(matrix: np.ndarray, parts: Sequence[jax.Array], axis: int) -> jax.Array:
    """Adds up `matrix[:, i] * parts[i]`, the matrix's rows along a new axis.

    Broadcast products instead of a small matrix product or a concatenation: XLA makes one loop of them.
    """
    dtype, shape = parts[0].dtype, list(parts[0].shape)
    shape.insert(axis, len(matrix))
    other_axes = [i for i in range(len(shape)) if i != axis]
    # By lax, whose operations take less time to trace than those of jnp.
    terms = [
        lax.mul(
            lax.broadcast_in_dim(column.astype(dtype), shape, [axis]), lax.broadcast_in_dim(part, shape, other_axes)
        )
        for column, part in zip(matrix.T, parts, strict=True)
    ]
    return functools.reduce(lax.add, terms)


def _zeros(padded: jax.Array, shape: Sequence[int]) -> jax.Array:
    """Returns zeros for a loop to start from, of the border: XLA would write the constants of all layers at once."""
    return jnp.broadcast_to(padded[0, 0, 0, 0], shape)


def _barrier(x: _Arrays) -> _Arrays:
    """Keeps XLA from merging two passes into one that computes the first anew for each value of the second."""
    return lax.optimization_barrier(x)
