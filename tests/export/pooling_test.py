import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from segnet_jax.export.graph import Graph
from segnet_jax.export.pooling import Native, Portable, max_pool


def run(write, x):
    """Returns what ONNX Runtime computes of an image: `write` gives the graph and the image's name the result's."""
    graph = Graph()
    graph.rename(write(graph, "x"), "y")
    kind = TensorProto.FLOAT16 if x.dtype == np.float16 else TensorProto.FLOAT
    values = [helper.make_tensor_value_info(name, kind, ["N", "C", name + "H", name + "W"]) for name in "xy"]
    model = graph.model(values[:1], values[1:], opset=17, producer_version="")
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]


def reference(x):
    """Pools and unpools by NumPy, window by window."""
    pooled = np.zeros((*x.shape[:2], -(-x.shape[2] // 2), -(-x.shape[3] // 2)), x.dtype)
    unpooled = np.zeros_like(x)
    for n, c, i, j in np.ndindex(pooled.shape):
        window = x[n, c, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
        row, column = np.unravel_index(window.argmax(), window.shape)
        pooled[n, c, i, j] = window[row, column]
        unpooled[n, c, 2 * i + row, 2 * j + column] = window[row, column]
    return pooled, unpooled


def images(height, width, dtype):
    """Draws images of all magnitudes, with many equal neighbours."""
    rng = np.random.default_rng(0)
    x = rng.integers(-2, 3, (2, 3, height, width)) * 10.0 ** rng.integers(-4, 4, (2, 3, height, width))
    x[0, 0] = 7  # a flat region
    x[0, 1] = np.maximum(x[0, 1], 0)  # as after ReLU
    return x.astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("form", [Portable(), Native()], ids=["portable", "native"])
@pytest.mark.parametrize("size", [(6, 8), (7, 9), (1, 4), (1, 1)], ids=str)
def test_forms_pool_and_unpool_to_the_bit(form, size, dtype):
    x = images(*size, dtype)
    pooled, unpooled = reference(x)

    def both(graph, name):
        return form.unpool(graph, *form.pool(graph, name, np.dtype(dtype)))

    np.testing.assert_array_equal(run(lambda graph, name: form.pool(graph, name, np.dtype(dtype))[0], x), pooled)
    np.testing.assert_array_equal(run(both, x), unpooled)


@pytest.mark.parametrize("size", [(6, 8), (7, 9)], ids=str)
def test_max_pool_takes_what_does_not_fill_a_window(size):
    x = -1 - np.abs(images(*size, np.float32))
    np.testing.assert_array_equal(run(max_pool, x), reference(x)[0])
