import collections
import json

import numpy as np
import onnxruntime
import pytest

import segnet_jax
from segnet_jax.export.check import agreement
from segnet_jax.export.onnx import INPUT, to_onnx
from segnet_jax.models import MODELS
from tests.helpers.exported import TABLE, expected, make_program, noise, with_output

# The default suite has the two networks of the papers; the others share their operations.
VARIANTS = [
    *((name, {}) for name in ("segnet", "segnet_basic")),
    *(pytest.param(name, {}, marks=pytest.mark.ci) for name in MODELS if name not in ("segnet", "segnet_basic")),
    # Biases instead of BatchNorm, and padding and upsampling of FCN's own code.
    ("fcn8s", {"batch_norm": False, "reference_padding": True}),
    pytest.param("fcn16s", {"upsampling": "fixed"}, marks=pytest.mark.ci),
    ("segnet", {"dropout_rate": 0.5, "remat": "stages"}),
    ("segnet_flat", {"pairs": 2, "hidden_features": 5}),
]


def runner(model):
    """Returns the function of images that ONNX Runtime makes of a model."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {INPUT: images})[0]


def operators(model):
    """Counts the operators of a model."""
    return collections.Counter(node.op_type for node in model.graph.node)


def metadata(model):
    """Returns the texts that travel with a model."""
    return {entry.key: entry.value for entry in model.metadata_props}


@pytest.mark.parametrize(("name", "fields"), VARIANTS, ids=lambda value: value if isinstance(value, str) else "")
def test_to_onnx_gives_the_logits_of_every_network_at_three_sizes_from_one_file(name, fields):
    program = make_program(name, **fields)
    model = to_onnx(program)
    found = agreement(program, runner(model), int(metadata(model)["smallest_size"]))
    assert len(set(found.sizes)) == 3 and any(height % 2 and width % 2 for height, width in found.sizes)
    assert found.difference < 2e-5
    assert found.equal == 1
    assert not {"BatchNormalization", "MaxUnpool", "GatherND", "ScatterND", "Loop", "If"} & operators(model).keys()


@pytest.mark.parametrize("name", ["segnet_flat", pytest.param("segnet_basic_encoder_addition", marks=pytest.mark.ci)])
def test_to_onnx_native_gives_the_same_with_operators_of_onnx(name):
    program = make_program(name)
    model = to_onnx(program, native=True)
    found = agreement(program, runner(model), 1)
    assert found.difference < 2e-5
    assert operators(model)["MaxUnpool"] == 4


def test_to_onnx_folds_batch_norm_into_convolutions_and_relu_is_an_operator():
    model = to_onnx(make_program("segnet", in_graph=False), native=True)
    counts = operators(model)
    # The 26 convolutions of SegNet, of which 25 have BatchNorm and ReLU, and nothing else that computes.
    assert (counts["Conv"], counts["Relu"], counts["MaxPool"], counts["MaxUnpool"]) == (26, 25, 5, 5)
    assert not {"Mul", "Add", "Sub", "Div"} & counts.keys()
    # A kernel and a bias each.
    assert all(len(node.input) == 3 for node in model.graph.node if node.op_type == "Conv")


@pytest.mark.parametrize(
    ("preprocessing", "modalities"), [("none", (3,)), ("lrn", (3,)), ("lcn", (3,)), ("lcn", (3, 1))], ids=str
)
def test_to_onnx_preprocesses_in_the_graph(preprocessing, modalities):
    program = make_program("segnet_flat", pairs=1, preprocessing=preprocessing, modalities=modalities)
    images = noise(2, 13, 18, sum(modalities))
    logits = expected(program, images)
    np.testing.assert_allclose(runner(to_onnx(program))(images), logits, atol=2e-5 * np.abs(logits).max())


@pytest.mark.parametrize(("preprocessing", "modalities"), [("lcn", (3, 1)), ("imagenet", (3,))], ids=str)
def test_to_onnx_takes_nan_for_missing_values(preprocessing, modalities):
    fields = {"pairs": 1, "preprocessing": preprocessing, "modalities": modalities}
    program = make_program("segnet_flat", dtype="float32", **fields)
    images = noise(2, 13, 18, sum(modalities)).astype(np.float32)
    images[np.random.default_rng(0).random(images.shape) < 0.2] = np.nan
    logits = expected(program, images)
    assert np.isfinite(logits).all()
    model = to_onnx(program)
    np.testing.assert_allclose(runner(model)(images), logits, atol=2e-5 * np.abs(logits).max())
    assert operators(model)["IsNaN"] == 1


def test_to_onnx_takes_normalised_images_without_preprocessing():
    program = make_program("segnet_flat", pairs=1, in_graph=False)
    images = np.random.default_rng(0).normal(size=(1, 9, 12, 3)).astype(np.float32)
    np.testing.assert_allclose(runner(to_onnx(program))(images), expected(program, images), atol=1e-4)


def test_to_onnx_returns_labels_or_probabilities():
    program = make_program("segnet_flat", pairs=1)
    images = noise(2, 9, 12, 3)
    logits = expected(program, images)
    labels = runner(to_onnx(with_output(program, "labels")))(images)
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, logits.argmax(-1))
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    probabilities = runner(to_onnx(with_output(program, "probabilities")))(images)
    np.testing.assert_allclose(probabilities, powers / powers.sum(-1, keepdims=True), atol=1e-5)


def test_to_onnx_float16_halves_the_weights_and_keeps_input_and_output():
    program = make_program("fcn_basic", width_multiplier=1)
    images, logits = noise(1, 16, 16, 3), None
    single, half = to_onnx(program), to_onnx(program, dtype=np.float16)
    assert half.ByteSize() < 0.55 * single.ByteSize()
    logits = expected(program, images)
    found = runner(half)(images)
    assert found.dtype == np.float32
    assert 1e-5 < np.abs(found - logits).max() / np.abs(logits).max() < 2e-2


def test_to_onnx_writes_classes_colours_and_preprocessing():
    found = metadata(to_onnx(make_program("segnet_flat", pairs=1, output="labels", preprocessing="lrn")))
    assert json.loads(found["classes"]) == ["sky", "road", "car"]
    assert json.loads(found["palette"]) == TABLE.colors.tolist() == [[0, 0, 255], [90, 60, 90], [9, 0, 3]]
    assert (found["preprocessing"], found["preprocessing_in_graph"], found["output"]) == ("lrn", "true", "labels")
    assert found["segnet_jax"] == segnet_jax.__version__


def test_to_onnx_deconvnet_says_the_size_that_it_needs():
    # Below, its pool5 has less than 7x7 pixels.
    assert metadata(to_onnx(make_program("deconvnet")))["smallest_size"] == "193"


@pytest.mark.filterwarnings("ignore:.*os.fork:RuntimeWarning")
@pytest.mark.parametrize("name", ["segnet_basic", pytest.param("fcn8s", marks=pytest.mark.ci)])
def test_to_onnx_runs_in_openvino(name, tmp_path):
    openvino = pytest.importorskip("openvino")
    program = make_program(name, preprocessing="lcn")
    path = tmp_path / "network.onnx"
    path.write_bytes(to_onnx(program).SerializeToString())
    # By default OpenVINO computes in what is fastest on the processor.
    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    assert agreement(program, lambda images: compiled(images)[0], 1).difference < 2e-5
