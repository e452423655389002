import numpy as np
import onnxruntime
from jax import export
from onnx import TensorProto, helper

from segnet_jax.export.graph import Graph
from segnet_jax.export.lengths import Lengths


def test_lengths_are_those_of_python_for_every_size():
    n, h, w = export.symbolic_shape("n, h, w")
    half = -(-h // 2)
    lengths = [n, 5, half, -(-half // 2), (h + 15) // 32 + 1, h % 2 + w % 2, 3 * h - 2 * w, (w - 9) // 4, -h]
    graph = Graph()
    graph.rename(Lengths(graph, "x")(lengths), "y")
    image = helper.make_tensor_value_info("x", TensorProto.UINT8, ["N", "H", "W", 1])
    result = helper.make_tensor_value_info("y", TensorProto.INT64, [len(lengths)])
    model = graph.model([image], [result], opset=17, producer_version="")
    session = onnxruntime.InferenceSession(model.SerializeToString())
    for height, width in ((1, 1), (33, 45), (64, 3), (7, 200)):
        up = -(-height // 2)
        expected = [2, 5, up, -(-up // 2), (height + 15) // 32 + 1, height % 2 + width % 2, 3 * height - 2 * width]
        (found,) = session.run(None, {"x": np.zeros((2, height, width, 1), np.uint8)})
        assert found.tolist() == [*expected, (width - 9) // 4, -height]
