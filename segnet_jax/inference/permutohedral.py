"""Gaussian filtering in several dimensions at once, on the permutohedral lattice (Adams, Baek and Davis 2010).

The lattice's vertices near the points are found once, by NumPy. Filtering itself is JAX: the values of the points are
spread over the vertices of the simplex around each (splat), blurred along each axis of the lattice, and interpolated at
the points (slice).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from segnet_jax.errors import InputError


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=("vertices", "weights", "neighbors"), meta_fields=("num_vertices",)
)
@dataclass(frozen=True)
class Lattice:
    """The points' places among the vertices that they touch, and those next to these.

    Attributes:
      vertices: int32 [N, d + 1], the vertices of the simplex around each of N points in d dimensions.
      weights: float32 [N, d + 1], each point's barycentric coordinates in it: at least 0, with a sum of 1.
      neighbors: int32 [d + 1, 2, M], along each axis the vertices before and after each vertex; M stands for one that
        is left out.
      num_vertices: M, filled up to a power of two, so that images of one size share compiled programs.
    """

    vertices: jax.Array
    weights: jax.Array
    neighbors: jax.Array
    num_vertices: int


def build_lattice(features: np.ndarray) -> Lattice:
    """Builds the lattice of a set of points.

    Args:
      features: [N, d], in units of the standard deviation of the Gaussian.

    Raises:
      InputError: if the points spread over so many standard deviations that vertices cannot be numbered.
    """
    keys, weights = _enclosing_simplex(np.asarray(features, np.float64))
    num_points, corners, dimensions = keys.shape
    numbers, strides = _number(keys.reshape(-1, dimensions))
    # A step along an axis adds 1 to every coordinate but its own, which falls by d. The last one is implied.
    steps = np.ones((corners, dimensions), np.int64)
    np.fill_diagonal(steps, -dimensions)
    steps = (steps @ strides)[:, None] * np.array([-1, 1])
    touched = np.unique(numbers)
    # Blurring goes by way of vertices that no point touches, too. Those next to touched ones make the result three to
    # four times as exact.
    unique = np.unique(np.concatenate([touched, (touched[:, None, None] + steps).ravel()]))
    size = 1 << int(len(unique) - 1).bit_length()
    neighbors = np.full((corners, 2, size), size, np.int32)
    for axis, side in np.ndindex(corners, 2):
        wanted = unique + steps[axis, side]
        places = np.minimum(np.searchsorted(unique, wanted), len(unique) - 1)
        neighbors[axis, side, : len(unique)] = np.where(unique[places] == wanted, places, size)
    vertices = np.searchsorted(unique, numbers)
    return Lattice(
        jnp.asarray(vertices.reshape(num_points, corners), jnp.int32),
        jnp.asarray(weights, jnp.float32),
        jnp.asarray(neighbors),
        size,
    )


def filter_points(lattice: Lattice, values: jax.Array) -> jax.Array:
    """Sums over all points, weighted by a Gaussian of their distance, times a constant: [N, C] to float32 [N, C].

    The constant is the same for all points. Dividing by the filtered ones, as a normalised filter does, removes it.
    """
    values = values.astype(jnp.float32)
    channels = values.shape[-1]
    nodes = jnp.zeros((lattice.num_vertices, channels))
    for corner in range(lattice.vertices.shape[1]):
        nodes = nodes.at[lattice.vertices[:, corner]].add(lattice.weights[:, corner, None] * values)
    for before, after in lattice.neighbors:
        padded = jnp.concatenate([nodes, jnp.zeros((1, channels))])
        nodes = nodes / 2 + (padded[before] + padded[after]) / 4
    result = jnp.zeros_like(values)
    for corner in range(lattice.vertices.shape[1]):
        result += lattice.weights[:, corner, None] * nodes[lattice.vertices[:, corner]]
    return result


def _enclosing_simplex(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the first d coordinates of the vertices around each point, [N, d + 1, d], and weights [N, d + 1]."""
    num_points, dimensions = features.shape
    corners = dimensions + 1
    # Onto the hyperplane of coordinates that add up to 0, scaled such that splat, blur and slice together have a
    # variance of 1.
    basis = np.triu(np.ones((corners, dimensions)))
    basis[np.arange(1, corners), np.arange(dimensions)] = -np.arange(1, corners)
    scales = corners * np.sqrt(2 / 3) / np.sqrt(np.arange(1, corners) * np.arange(2, corners + 1))
    elevated = (features * scales) @ basis.T

    # The nearest point whose coordinates are multiples of d + 1, corrected so that they add up to 0.
    rounded = np.rint(elevated / corners).astype(np.int64)
    excess = rounded.sum(axis=1, keepdims=True)
    order = np.argsort(-(elevated - corners * rounded), axis=1, kind="stable")
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(corners)[None], axis=1)
    ranks += excess
    rounded += (ranks < 0).astype(np.int64) - (ranks >= corners)
    ranks %= corners

    # In its simplex a point is placed by the order of its remainders.
    remainders = elevated / corners - rounded
    rows = np.arange(num_points)[:, None]
    weights = np.zeros((num_points, corners + 1))
    weights[rows, dimensions - ranks] += remainders
    weights[rows, corners - ranks] -= remainders
    weights[:, 0] += 1 + weights[:, corners]
    number = np.arange(corners)[None, :, None]
    keys = corners * rounded[:, None] + number - corners * (ranks[:, None] > dimensions - number)
    return keys[..., :dimensions], weights[:, :corners]


def _number(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers each row of `keys` by one int64, and returns what a step of each coordinate adds to it."""
    dimensions = keys.shape[1]
    # Room for two steps beyond the outermost vertices.
    sizes = [int(size) for size in np.ptp(keys, axis=0) + 4 * dimensions + 1]
    strides = np.ones(dimensions, object)
    for axis in range(dimensions - 2, -1, -1):
        strides[axis] = strides[axis + 1] * sizes[axis + 1]
    if strides[0] * sizes[0] >= 2**62:
        raise InputError(
            "The dense CRF's standard deviations are too small for images of this size; raise "
            "crf.bilateral_position_std or crf.bilateral_color_std."
        )
    strides = strides.astype(np.int64)
    return (keys - keys.min(axis=0) + 2 * dimensions) @ strides, strides
