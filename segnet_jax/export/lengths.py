"""Lengths of axes that depend on the size of the images, as ONNX computes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from segnet_jax.export.graph import Graph


class _Length:
    """A whole number, known or the name of an int64 [1], with the arithmetic that JAX prints symbolic lengths in."""

    def __init__(self, graph: Graph, name: str) -> None:
        self.graph, self.name = graph, name

    def _combine(self, operator: str, a: Any, b: Any) -> _Length:
        names = (x.name if isinstance(x, _Length) else self.graph.ints(x) for x in (a, b))
        return _Length(self.graph, self.graph.add(operator, *names))

    def __add__(self, other: Any) -> _Length:
        return self._combine("Add", self, other)

    def __radd__(self, other: Any) -> _Length:
        return self._combine("Add", other, self)

    def __sub__(self, other: Any) -> _Length:
        return self._combine("Sub", self, other)

    def __rsub__(self, other: Any) -> _Length:
        return self._combine("Sub", other, self)

    def __mul__(self, other: Any) -> _Length:
        return self._combine("Mul", self, other)

    def __rmul__(self, other: Any) -> _Length:
        return self._combine("Mul", other, self)

    def __neg__(self) -> _Length:
        return self._combine("Sub", 0, self)

    def __mod__(self, other: Any) -> _Length:
        # Of whole numbers it has the divisor's sign, as in Python.
        return self._combine("Mod", self, other)

    def __floordiv__(self, other: Any) -> _Length:
        # ONNX's division rounds towards zero, which makes no difference where nothing is left.
        return self._combine("Div", self - self % other, other)

    def larger(self, other: Any) -> _Length:
        return self._combine("Max", self, other)

    def smaller(self, other: Any) -> _Length:
        return self._combine("Min", self, other)


_FUNCTIONS = {
    "floordiv": lambda a, b: a // b,
    "mod": lambda a, b: a % b,
    "max": lambda a, b: a.larger(b) if isinstance(a, _Length) else b.larger(a),
    "min": lambda a, b: a.smaller(b) if isinstance(a, _Length) else b.smaller(a),
}


class Lengths:
    """Writes symbolic lengths of JAX into a graph.

    Args:
      graph: that they are written into.
      images: the name of the graph's images, [N, H, W, C]: of the symbols n, h and w.
    """

    def __init__(self, graph: Graph, images: str) -> None:
        """Names the symbols; writes nothing that is not asked for."""
        self._graph = graph
        self._symbols = {symbol: _Length(graph, graph.length_of(images, axis)) for axis, symbol in enumerate("nhw")}

    def __call__(self, lengths: Sequence[Any]) -> str:
        """Returns the name of a vector, int64, of lengths that are numbers or symbolic."""
        if all(isinstance(length, (int, np.integer)) for length in lengths):
            return self._graph.ints(*map(int, lengths))
        names = [self._name(length) for length in lengths]
        return self._graph.add("Concat", *names, axis=0) if len(names) > 1 else names[0]

    def _name(self, length: Any) -> str:
        # JAX documents how it prints (and parses) these, not how it stores them.
        value = eval(str(length), {"__builtins__": {}}, {**_FUNCTIONS, **self._symbols})
        return value.name if isinstance(value, _Length) else self._graph.ints(value)
