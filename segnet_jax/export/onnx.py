"""Networks as ONNX, one file for any number and size of images."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import onnx
from onnx import TensorProto, helper

import segnet_jax
from segnet_jax.export.converter import Converter
from segnet_jax.export.graph import Graph
from segnet_jax.export.metadata import metadata_of
from segnet_jax.export.pooling import Native, Portable
from segnet_jax.export.program import Program, symbolic
from segnet_jax.export.values import Value

# The oldest that has all operators in their present form, for older runtimes.
OPSET = 17
INPUT = "images"


def to_onnx(program: Program, *, native: bool = False, dtype: Any = np.float32) -> onnx.ModelProto:
    """Returns the program as an ONNX model.

    Its input `images` is [N, H, W, channels] as the program takes it, its output is named after what it is.

    Args:
      program: the network.
      native: whether pooling with indices is ONNX's own, see `export.pooling`.
      dtype: float32 or float16, of the network's weights and activations; images and output stay what they are.

    Raises:
      InputError: if the network cannot be exported.
    """
    write = functools.partial(_write, program, native=native, dtype=np.dtype(dtype))
    model, smallest = symbolic(program, write)
    helper.set_model_props(model, metadata_of(program, smallest))
    return model


def _write(program: Program, images: jax.ShapeDtypeStruct, *, native: bool, dtype: np.dtype) -> onnx.ModelProto:
    graph = Graph()
    converter = Converter(graph, INPUT, Native() if native else Portable())

    def run(function: Callable[[jax.Array], jax.Array], x: Value, like: Any) -> tuple[Value, Any]:
        traced, shapes = jax.make_jaxpr(function, return_shape=True)(like)
        return converter.run(traced.jaxpr, traced.consts, [x])[0], shapes

    # Numbers first, for few operators take bytes.
    x = Value(graph.add("Cast", INPUT, to=TensorProto.FLOAT), np.dtype(np.float32), 4)
    x = Value(graph.add("Transpose", converter.name(x), perm=(0, 3, 1, 2)), x.dtype, 4)
    x, normalized = run(program.normalize, x, images)
    logits, shape = run(program.network, converter.cast(x, dtype), normalized)
    output, shape = run(program.finish, converter.cast(logits, np.float32), shape)
    graph.rename(converter.logical_name(output), program.output)
    kinds = {np.dtype(np.uint8): TensorProto.UINT8, np.dtype(np.float32): TensorProto.FLOAT}
    return graph.model(
        [helper.make_tensor_value_info(INPUT, kinds[np.dtype(images.dtype)], ["N", "H", "W", program.channels])],
        [
            helper.make_tensor_value_info(
                program.output, kinds[np.dtype(shape.dtype)], ["N", "H", "W", *map(int, shape.shape[3:])]
            )
        ],
        opset=OPSET,
        producer_version=segnet_jax.__version__,
    )
