"""Stores the weights of an ONNX model in 16 bits, while it computes in 32."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# Values of an array, below which it is left as it is: biases and constants, which weigh little.
_FEWEST = 256


def halve_weights(model: onnx.ModelProto) -> None:
    """Turns a model's large float32 arrays into float16, each cast back to float32 when a session begins.

    The file is half as large, and the activations keep the range and the precision of float32.
    """
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < _FEWEST:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), f"{name}_half"))
        casts.append(helper.make_node("Cast", [tensor.name], [name], name=name, to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model)
