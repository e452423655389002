"""The values that a converter computes with: results of nodes, and arrays that are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from segnet_jax.export.graph import Graph

# The axes of [N, H, W, C] in the order in which images are stored, [N, C, H, W].
STORED = (0, 3, 1, 2)
_LOGICAL = (0, 2, 3, 1)


@dataclass(eq=False)
class Convolution:
    """A convolution that is not written yet, so that factors and summands that follow can still join its kernel.

    Attributes:
      image: the name of its input.
      kernel: [k, k, C, F].
      bias: [F].
      attributes: of the operator.
      name: of its result, once it is written.
    """

    image: str
    kernel: np.ndarray
    bias: np.ndarray
    attributes: dict[str, Any]
    name: str = ""


@dataclass(frozen=True, eq=False)
class Value:
    """The result of a node.

    Attributes:
      source: its name, or a convolution to be written.
      dtype: of its elements, which float16 export makes differ from the traced one.
      rank: the number of axes. With four it is stored as [N, C, H, W].
      full: whether its shape is the traced one; otherwise some lengths are 1 that are to be repeated.
    """

    source: str | Convolution
    dtype: np.dtype
    rank: int
    full: bool = True


def name_of(graph: Graph, value: Value) -> str:
    """Returns the name of a value, written first if need be."""
    source = value.source
    if isinstance(source, str):
        return source
    if not source.name:
        inputs = [source.image, graph.constant(source.kernel.transpose(3, 2, 0, 1), value.dtype)]
        if source.bias.any():
            inputs.append(graph.constant(source.bias, value.dtype))
        source.name = graph.add("Conv", *inputs, **source.attributes)
    return source.name


def array_name(graph: Graph, array: np.ndarray, dtype: np.dtype | None = None) -> str:
    """Writes an array that is known, as images are stored."""
    return graph.constant(array.transpose(STORED) if array.ndim == 4 else array, dtype)


def stored_axis(axis: int, rank: int) -> int:
    """Returns where an axis is stored."""
    return STORED.index(axis) if rank == 4 else axis


def to_logical(graph: Graph, name: str, rank: int) -> str:
    """Writes a stored array in the order of its axes."""
    return graph.add("Transpose", name, perm=_LOGICAL) if rank == 4 else name


def to_stored(graph: Graph, name: str, rank: int) -> str:
    """Writes an array in the order in which it is stored."""
    return graph.add("Transpose", name, perm=STORED) if rank == 4 else name
