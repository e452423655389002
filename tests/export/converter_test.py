import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest
from jax import export, lax
from onnx import TensorProto, helper

from segnet_jax.errors import InputError
from segnet_jax.export.converter import Converter
from segnet_jax.export.graph import Graph
from segnet_jax.export.pooling import Portable
from segnet_jax.export.values import Value
from segnet_jax.ops.pooling import max_pool_argmax


def convert(function, channels=2):
    """Returns the model of a function of images, float32 [N, H, W, channels] to [N, H', W', C]."""
    graph = Graph()
    converter = Converter(graph, "x", Portable())
    shape = export.symbolic_shape(f"n, h, w, {channels}")
    traced = jax.make_jaxpr(function)(jax.ShapeDtypeStruct(shape, jnp.float32))
    image = Value(graph.add("Transpose", "x", perm=(0, 3, 1, 2)), np.dtype(np.float32), 4)
    (result,) = converter.run(traced.jaxpr, traced.consts, [image])
    graph.rename(converter.logical_name(result), "y")
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * 4) for name in "xy"]
    return graph.model(values[:1], values[1:], opset=17, producer_version="")


def assert_same(function, *, channels=2, sizes=((5, 8), (6, 7))):
    """Asserts that ONNX Runtime computes what JAX does; returns the operators."""
    model = convert(function, channels)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    for size in sizes:
        x = np.random.default_rng(0).normal(size=(2, *size, channels)).astype(np.float32)
        np.testing.assert_allclose(session.run(None, {"x": x})[0], function(x), atol=1e-5)
    return [node.op_type for node in model.graph.node if node.op_type not in ("Transpose", "Identity")]


def convolve(x, kernel, **options):
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), **options)


KERNEL = jnp.asarray(np.random.default_rng(1).normal(size=(3, 3, 2, 2)), jnp.float32)
FACTOR, SHIFT = jnp.asarray([2.0, -3.0]), jnp.asarray([0.5, 1.0])


def test_converter_joins_factors_and_summands_of_channels_to_a_convolution():
    # Bias, BatchNorm, ReLU, as where a convolution has a bias.
    used = assert_same(lambda x: jax.nn.relu((convolve(x, KERNEL) + SHIFT) * FACTOR - SHIFT))
    assert used == ["Conv", "Relu"]


def test_converter_joins_nothing_to_a_convolution_that_is_used_otherwise_too():
    used = assert_same(lambda x: (lambda y: y * FACTOR + jnp.tanh(y))(convolve(x, KERNEL)))
    # One convolution with the factors, and one without.
    assert used.count("Conv") == 2 and used.count("Add") == 1 and "Mul" not in used


def test_converter_keeps_factors_of_pixels_and_sums_of_images():
    used = assert_same(lambda x: convolve(x, KERNEL) * x + x)
    assert sorted(used) == ["Add", "Conv", "Mul"]


def test_converter_convolves_by_groups_and_dilated():
    kernel = KERNEL[:, :, :1]
    assert_same(lambda x: convolve(x, kernel, feature_group_count=2))
    assert_same(lambda x: convolve(x, KERNEL, rhs_dilation=(2, 2)))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: jnp.pad(x, ((0, 0), (1, 0), (2, 3), (0, 0)), constant_values=4.0),
        lambda x: x[:, 1:, : x.shape[2] // 2][..., ::-1],
        lambda x: jnp.concatenate([x, jnp.sum(x, -1, keepdims=True)], axis=-1),
        lambda x: x.reshape(x.shape[0], x.shape[1], 1, x.shape[2] * 2).transpose(0, 2, 3, 1),
        lambda x: jnp.where(x > 0.2, x, jnp.arange(x.shape[2], dtype=jnp.float32)[:, None]),
        lambda x: x - jnp.mean(x, axis=(1, 2), keepdims=True),
        lambda x: x / jnp.sqrt(1 + x * x) + lax.rsqrt(x**2 + 1),
        lambda x: jax.image.scale_and_translate(
            x, (x.shape[0], 16, 2 * x.shape[2], 2), (1, 2), jnp.full(2, 2.0), jnp.zeros(2), "linear", antialias=False
        ),
        lambda x: lax.reduce_window(x, 0.0, lax.add, (1, 3, 3, 1), (1, 1, 1, 1), ((0, 0), (1, 1), (1, 1), (0, 0))),
    ],
    ids=["pad", "slice", "concatenate", "reshape", "where", "mean", "roots", "resize", "window"],
)
def test_converter_writes(function):
    assert_same(function)


def test_converter_refuses_what_it_cannot_write():
    with pytest.raises(InputError, match="an operation that cannot be exported to ONNX, sin"):
        convert(jnp.sin)
    with pytest.raises(InputError, match="windows of 2x2"):
        convert(lambda x: max_pool_argmax(x, 3)[0])
