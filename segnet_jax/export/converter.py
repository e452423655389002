"""Converts a traced program of JAX to ONNX, equation by equation.

The networks are not described anew here: whatever `models/` computes is traced with symbols for number, height and
width of the images, and each operation of the trace is written as one of ONNX. Only pooling with indices and unpooling
are recognised as a whole, by their names. Images are stored as [N, C, H, W], as ONNX wants them; constants are
computed; and what multiplies or shifts the channels of a convolution's result, such as BatchNorm, joins its kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.extend
import numpy as np

from segnet_jax.errors import InputError
from segnet_jax.export.graph import Graph
from segnet_jax.export.operations import Operations
from segnet_jax.export.pooling import Form, max_pool
from segnet_jax.export.values import Value

_ELEMENTWISE = {
    "add": "Add",
    "add_any": "Add",
    "sub": "Sub",
    "mul": "Mul",
    "div": "Div",
    "max": "Max",
    "min": "Min",
    "pow": "Pow",
    "gt": "Greater",
    "ge": "GreaterOrEqual",
    "lt": "Less",
    "le": "LessOrEqual",
    "eq": "Equal",
    "and": "And",
    "or": "Or",
    "not": "Not",
    "abs": "Abs",
    "exp": "Exp",
    "log": "Log",
    "neg": "Neg",
    "sign": "Sign",
    "sqrt": "Sqrt",
    "tanh": "Tanh",
    "logistic": "Sigmoid",
}
_SAME = ("copy", "copy_p", "name", "optimization_barrier", "stop_gradient")
# The functions of ops/pooling.py, as JAX notes their names in a trace.
_POOL, _UNPOOL = "max_pool_argmax", "max_unpool"
# Programs within the program, by the parameter that holds them.
_INNER = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "remat": "jaxpr",
    "checkpoint": "jaxpr",
}


class Converter(Operations):
    """Writes traced programs into a graph.

    Args:
      graph: that is written into.
      images: the name of the graph's images.
      form: how pooling with indices and unpooling are written.
    """

    def __init__(self, graph: Graph, images: str, form: Form) -> None:
        """Begins with an empty program."""
        super().__init__(graph, images)
        self._form = form

    def run(self, jaxpr: Any, constants: Sequence[Any], inputs: Sequence[Any]) -> list[Any]:
        """Writes a program.

        Args:
          jaxpr: the program.
          constants: its arrays.
          inputs: a `Value` or an array for each of its inputs.

        Returns:
          The same for each of its results.

        Raises:
          InputError: if it has an operation that cannot be written.
        """
        known: dict[Any, Any] = dict(zip(jaxpr.constvars, map(np.asarray, constants), strict=True))
        known.update(zip(jaxpr.invars, inputs, strict=True))

        def read(atom: Any) -> Any:
            return np.asarray(atom.val) if isinstance(atom, jax.extend.core.Literal) else known[atom]

        for equation in jaxpr.eqns:
            known.update(
                zip(equation.outvars, self._convert(equation, [read(x) for x in equation.invars]), strict=True)
            )
        return [read(atom) for atom in jaxpr.outvars]

    def _convert(self, equation: Any, inputs: list[Any]) -> Sequence[Any]:
        name, params = equation.primitive.name, equation.params
        results = [variable.aval for variable in equation.outvars]
        if name in _SAME:
            return inputs
        function = params["call_jaxpr"].jaxpr.debug_info.func_name if name == "custom_vjp_call" else ""
        if function == _POOL:
            unused = isinstance(equation.outvars[1], jax.extend.core.DropVar)
            return self._pool(inputs[0], equation.invars[0].aval, results[0], places_unused=unused)
        if function == _UNPOOL:
            dtype = inputs[0].dtype
            return [Value(self._form.unpool(self._graph, self.name(inputs[0]), inputs[1]), dtype, 4)]
        if name in _INNER:
            inner = params[_INNER[name]]
            return self.run(getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), inputs)
        if name == "platform_index":
            return [params["platforms"].index(None)]
        if name == "cond" and isinstance(inputs[0], int):
            inner = params["branches"][inputs[0]]
            return self.run(inner.jaxpr, inner.consts, inputs[1:])
        fixed = all(isinstance(length, int) for aval in results for length in aval.shape)
        if fixed and name != "dim_as_value" and all(isinstance(x, np.ndarray) for x in inputs):
            computed = equation.primitive.bind(*inputs, **params)
            return [np.asarray(x) for x in (computed if equation.primitive.multiple_results else [computed])]
        if name in _ELEMENTWISE:
            return [self.elementwise(_ELEMENTWISE[name], inputs, results[0])]
        write = getattr(self, f"_write_{name}", None)
        if write is None:
            raise InputError(f"The network has an operation that cannot be exported to ONNX, {name}.")
        return [write(inputs, [x.aval for x in equation.invars], results[0], **params)]

    def _pool(self, x: Value, before: Any, after: Any, *, places_unused: bool) -> tuple[Value, Any]:
        if any(str(-(-a // 2)) != str(b) for a, b in zip(before.shape[1:3], after.shape[1:3], strict=True)):
            raise InputError("Only pooling over windows of 2x2 can be exported to ONNX.")
        if places_unused:
            return Value(max_pool(self._graph, self.name(x)), x.dtype, 4), None
        pooled, places = self._form.pool(self._graph, self.name(x), x.dtype)
        return Value(pooled, x.dtype, 4), places
