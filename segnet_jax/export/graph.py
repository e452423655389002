"""An ONNX graph while it is being written."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper


class Graph:
    """Nodes and constants, by the names of their results.

    A name is given for each result, in the order of writing; constants of the same value share one.
    """

    def __init__(self) -> None:
        """Begins an empty graph."""
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[tuple[Any, ...], onnx.TensorProto] = {}
        self._written: dict[tuple[Any, ...], Any] = {}
        self._count = 0

    def add(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """Adds a node; returns the name of its result, or a tuple of them if there are several `outputs`.

        The same operation on the same inputs is written once.
        """
        key = (operator, inputs, outputs, *sorted((name, repr(value)) for name, value in attributes.items()))
        if key not in self._written:
            self._count += 1
            names = [f"{operator.lower()}_{self._count}" + (f"_{i}" if i else "") for i in range(outputs)]
            self._nodes.append(helper.make_node(operator, list(inputs), names, name=names[0], **attributes))
            self._written[key] = names[0] if outputs == 1 else tuple(names)
        return self._written[key]

    def constant(self, value: Any, dtype: Any = None) -> str:
        """Adds an array; returns its name."""
        array = np.ascontiguousarray(np.asarray(value, dtype)).reshape(np.shape(value))
        key = (array.dtype.str, array.shape, hashlib.sha256(array.tobytes()).digest())
        if key not in self._constants:
            name = f"constant_{len(self._constants) + 1}"
            self._constants[key] = numpy_helper.from_array(array, name)
        return self._constants[key].name

    def ints(self, *values: int) -> str:
        """Adds a vector of whole numbers; returns its name."""
        return self.constant(values, np.int64)

    def length_of(self, image: str, axis: int) -> str:
        """Returns the name of the length of an axis, int64 [1]."""
        return self.add("Slice", self.add("Shape", image), self.ints(axis), self.ints(axis + 1))

    def rename(self, result: str, name: str) -> None:
        """Gives a result another name, that of an output."""
        self._nodes.append(helper.make_node("Identity", [result], [name], name=name))

    def model(
        self,
        inputs: Sequence[onnx.ValueInfoProto],
        outputs: Sequence[onnx.ValueInfoProto],
        *,
        opset: int,
        producer_version: str,
    ) -> onnx.ModelProto:
        """Returns the model of all that the outputs need, checked.

        Args:
          inputs: name, type and shape of each input.
          outputs: the same of each output; the names are those of results.
          opset: of ONNX's operators.
          producer_version: of this package.
        """
        needed = {value.name for value in outputs}
        kept = []
        for node in reversed(self._nodes):
            if needed.intersection(node.output):
                kept.append(node)
                needed.update(node.input)
        constants = [tensor for tensor in self._constants.values() if tensor.name in needed]
        graph = helper.make_graph(kept[::-1], "segnet_jax", list(inputs), list(outputs), constants)
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", opset)],
            # The oldest format that has this opset, for older runtimes.
            ir_version=8,
            producer_name="segnet_jax",
            producer_version=producer_version,
        )
        onnx.checker.check_model(model)
        return model
