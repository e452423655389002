"""Pooling with indices and unpooling as ONNX, in two forms.

ONNX's own operators, `MaxPool` with `Indices` and `MaxUnpool`, run in ONNX Runtime on CPUs and in few other places. The
portable form is made of operators that run everywhere, and gives the same to the bit.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np

from segnet_jax.export.graph import Graph


class Form(Protocol):
    """Writes 2x2 pooling with indices and unpooling; images are [N, C, H, W]."""

    def pool(self, graph: Graph, image: str, dtype: Any) -> tuple[str, Any]:
        """Writes `ops.pooling.max_pool_argmax`; returns the pooled image's name, and what `unpool` needs."""

    def unpool(self, graph: Graph, pooled: str, places: Any) -> str:
        """Writes `ops.pooling.max_unpool`; returns the image's name."""


def max_pool(graph: Graph, image: str) -> str:
    """Writes 2x2 pooling without indices; returns the pooled image's name."""
    # Of an even size the border is in no window.
    return str(graph.add("MaxPool", image, kernel_shape=[2, 2], strides=[2, 2], pads=[0, 0, 1, 1]))


class _Places(NamedTuple):
    """Where maxima were, each a name: 1 or 0 for every window of an image."""

    above: str  # the maximum of the upper row is its right value
    below: str  # the same of the lower row
    lower: str  # the maximum is in the lower row
    size: str  # of the pooled image, int64 [2]


class Portable:
    """Compares and selects by arithmetic: 0 and 1 come from clipped, greatly magnified differences.

    Comparisons would be booleans, which are slow or missing in many runtimes. The first of equal values wins.
    """

    def pool(self, graph: Graph, image: str, dtype: Any) -> tuple[str, _Places]:
        """Writes pooling as `Form` says."""
        size = _size(graph, image)
        # Too much for an even size, but OpenVINO computes wrong shapes after a border that depends on it.
        border = graph.ints(0, 0, 0, 0, 0, 0, 1, 1)
        padded = graph.add("Pad", image, border, graph.constant(lowest(dtype), dtype))
        corners = [
            graph.add(
                "Slice",
                padded,
                graph.ints(i, j),
                graph.add("Add", size, graph.ints(i, j)),
                graph.ints(2, 3),
                graph.ints(2, 2),
            )
            for i in (0, 1)
            for j in (0, 1)
        ]
        above, below = _step(graph, corners[1], corners[0], dtype), _step(graph, corners[3], corners[2], dtype)
        upper, lower = graph.add("Max", corners[0], corners[1]), graph.add("Max", corners[2], corners[3])
        pooled = graph.add("Max", upper, lower)
        return pooled, _Places(above, below, _step(graph, lower, upper, dtype), size)

    def unpool(self, graph: Graph, pooled: str, places: _Places) -> str:
        """Writes unpooling as `Form` says."""
        lower = graph.add("Mul", pooled, places.lower)
        upper = graph.add("Sub", pooled, lower)
        upper_right = graph.add("Mul", upper, places.above)
        lower_right = graph.add("Mul", lower, places.below)
        parts = (graph.add("Sub", upper, upper_right), upper_right, graph.add("Sub", lower, lower_right), lower_right)
        together = graph.add("Concat", *parts, axis=1)
        return _cropped(graph, graph.add("DepthToSpace", together, blocksize=2, mode="DCR"), places.size)


class Native:
    """ONNX's own operators. `MaxUnpool` lacks odd sizes, so images are padded before and cropped after."""

    def pool(self, graph: Graph, image: str, dtype: Any) -> tuple[str, tuple[str, str, str]]:
        """Writes pooling as `Form` says."""
        size = _size(graph, image)
        missing = graph.add("Mod", size, graph.ints(2))
        borders = graph.add("Concat", graph.ints(0, 0, 0, 0, 0, 0), missing, axis=0)
        padded = graph.add("Pad", image, borders, graph.constant(lowest(dtype), dtype))
        pooled, indices = graph.add("MaxPool", padded, outputs=2, kernel_shape=[2, 2], strides=[2, 2])
        return pooled, (indices, graph.add("Shape", padded), size)

    def unpool(self, graph: Graph, pooled: str, places: tuple[str, str, str]) -> str:
        """Writes unpooling as `Form` says."""
        indices, shape, size = places
        image = graph.add("MaxUnpool", pooled, indices, shape, kernel_shape=[2, 2], strides=[2, 2])
        return _cropped(graph, image, size)


def lowest(dtype: Any) -> float:
    """Returns the lowest number of a type: what never wins. Some runtimes have no infinity."""
    return float(np.finfo(dtype).min)


def _size(graph: Graph, image: str) -> str:
    """Returns the name of height and width, int64 [2]."""
    return graph.add("Slice", graph.add("Shape", image), graph.ints(2), graph.ints(4))


def _cropped(graph: Graph, image: str, size: str) -> str:
    return graph.add("Slice", image, graph.ints(0, 0), size, graph.ints(2, 3))


def _step(graph: Graph, a: str, b: str, dtype: Any) -> str:
    """Writes 1 where a > b, else 0."""
    difference = graph.add("Sub", a, b)
    # Of float16 once would leave small differences below 1, and a greater factor would be infinite.
    for factor in (1e38,) if dtype == np.float32 else (3e4, 3e4):
        difference = graph.add("Mul", difference, graph.constant(factor, dtype))
    return graph.add("Clip", difference, graph.constant(0, dtype), graph.constant(1, dtype))
