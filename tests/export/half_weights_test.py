import numpy as np
import onnx
import onnxruntime

from segnet_jax.export.half_weights import halve_weights
from segnet_jax.export.onnx import INPUT, to_onnx
from tests.helpers.exported import expected, make_program, noise


def test_halve_weights_halves_the_file_and_computes_in_float32():
    program = make_program("segnet_basic", width_multiplier=0.25)
    model = to_onnx(program)
    size, before = model.ByteSize(), [numpy for numpy in map(onnx.numpy_helper.to_array, model.graph.initializer)]
    halve_weights(model)
    assert model.ByteSize() < 0.55 * size
    images = noise(1, 16, 24, 3)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {INPUT: images})
    # What rounding each weight to 11 bits does, and no more.
    difference = np.abs(logits - expected(program, images)).max() / np.abs(logits).max()
    assert logits.dtype == np.float32 and 1e-5 < difference < 5e-3
    after = [onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer]
    for old, new in zip(before, after, strict=True):
        is_large = old.dtype == np.float32 and old.size >= 256
        assert new.dtype == (np.float16 if is_large else old.dtype)
        np.testing.assert_allclose(new, old, rtol=2**-11 if is_large else 0, atol=2**-25 if is_large else 0)
