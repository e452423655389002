"""Tests for segnet_jax/weights/caffe_network.py; tests/inference/caffe_test.py compares what the networks compute."""

import dataclasses

import jax
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from segnet_jax.errors import InputError
from segnet_jax.models import create_model
from segnet_jax.weights.caffe_network import classifier, convert, first_features, named_network, recognize
from segnet_jax.weights.caffemodel import CaffeLayer, read_caffemodel
from tests.helpers.caffe_files import basic_net, caffemodel, damaged, vgg_net, with_statistics
from tests.helpers.networks import shapes

PLACES = ("pool3", "pool4", "pool5", "conv5_1_D", "conv4_1_D", "conv3_1_D")
PASCAL = ("conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3", *PLACES[2:], "conv2_1_D")


def layers_of(net):
    """Returns the layers as a file gives them."""
    return [CaffeLayer(x.name, x.type, blobs=tuple(blob.astype(np.float32) for blob in x.blobs)) for x in net.layers]


@pytest.mark.parametrize(
    ("net", "expected"),
    [
        (vgg_net(2, width=1), ("segnet", "none", 0.0)),
        (vgg_net(2, width=1, dropout=PLACES), ("segnet", "none", 0.5)),
        (basic_net(2, width=1), ("segnet_basic", "lrn", 0.0)),
        (basic_net(2, width=1, dropout=True), ("segnet_basic", "lrn", 0.5)),
    ],
    ids=["segnet", "bayesian", "basic", "bayesian basic"],
)
def test_recognize_tells_network_normalization_and_dropout(net, expected):
    assert dataclasses.astuple(recognize(layers_of(net), "file")) == expected


def test_recognize_leaves_out_dropout_after_other_layers(caplog):
    assert recognize(layers_of(vgg_net(2, width=1, dropout=PASCAL)), "pascal").dropout_rate == 0
    assert "pascal has dropout after other layers" in caplog.text


def test_recognize_refuses_another_network():
    with pytest.raises(InputError, match="fcn.caffemodel holds neither SegNet nor SegNet-Basic .*conv1_1, score_fr"):
        recognize([CaffeLayer("conv1_1", "Convolution"), CaffeLayer("score_fr", "Convolution")], "fcn.caffemodel")


def test_recognize_refuses_weights_alone():
    layers = [layer for layer in layers_of(basic_net(2, width=1)) if layer.blobs]
    with pytest.raises(InputError, match="bare.caffemodel holds weights alone.* or the architecture"):
        recognize(layers, "bare.caffemodel")


def test_named_network_knows_the_authors_networks():
    assert dataclasses.astuple(named_network("bayesian_segnet_basic")) == ("segnet_basic", "lrn", 0.5)
    with pytest.raises(InputError, match="no architecture 'segnet2'; the authors' are segnet, segnet_basic, bayesian"):
        named_network("segnet2")


def converted(net, outputs=(0, 1, 2), width=1 / 32):
    model = create_model("segnet_basic", len(outputs), width_multiplier=width)
    return convert(layers_of(net), "segnet_basic", shapes(model), outputs, "basic.caffemodel")


def batch_norm(variables, name, x):
    """Applies BatchNorm to [C] values."""
    (scale, bias), (mean, var) = (
        [variables[part][name][key].astype(np.float64) for key in keys]
        for part, keys in (("params", ("scale", "bias")), ("batch_stats", ("mean", "var")))
    )
    return (x - mean) / np.sqrt(var + 1e-5) * scale + bias


def test_convert_transposes_kernels_and_chooses_outputs():
    net = basic_net(4, width=2)
    variables = converted(net, outputs=(1, 3))
    layers = {layer.name: layer for layer in net.layers}
    kernel, stored = variables["params"]["conv_decode2"]["kernel"], layers["conv_decode2"].blobs[0].astype(np.float32)
    for feature, channel in np.ndindex(2, 2):
        np.testing.assert_array_equal(kernel[:, :, channel, feature], stored[feature, channel])
    last = variables["params"]["conv_classifier"]
    np.testing.assert_array_equal(
        last["kernel"][0, 0].T, layers["conv_classifier"].blobs[0][[1, 3], :, 0, 0].astype("f4")
    )
    np.testing.assert_array_equal(last["bias"], layers["conv_classifier"].blobs[1][[1, 3]].astype("f4"))


def test_convert_gives_batch_norm_what_bn_does_with_and_without_statistics():
    x = np.array([-3.0, 0.5])
    for net in (basic_net(3, width=2), with_statistics(basic_net(3, width=2))):
        blobs = {layer.name: [blob.ravel() for blob in layer.blobs] for layer in net.layers}
        scale, shift, *statistics = blobs["conv2_bn"]
        mean, var = statistics or (0.0, 1.0)
        expected = (x + blobs["conv2"][1] - mean) / np.sqrt(var + (1e-9 if statistics else 0)) * scale + shift
        np.testing.assert_allclose(batch_norm(converted(net), "conv2_bn", x), expected, rtol=2e-6)


def test_convert_keeps_a_variance_of_nearly_nothing():
    net = with_statistics(basic_net(3, width=2))
    next(layer for layer in net.layers if layer.name == "conv2_bn").blobs[3][:] = 1e-4
    variables = converted(net)
    blobs = {layer.name: [blob.ravel() for blob in layer.blobs] for layer in net.layers}
    scale, shift, mean, _ = blobs["conv2_bn"]
    expected = (0.01 + blobs["conv2"][1] - mean) / np.sqrt(1e-4 + 1e-9) * scale + shift
    np.testing.assert_allclose(batch_norm(variables, "conv2_bn", 0.01), expected, rtol=1e-5)


@pytest.mark.parametrize("absorbed", ["zeros", "removed"])
def test_convert_takes_an_absorbed_bn_as_none(absorbed):
    net = basic_net(3, width=2)
    for layer in net.layers:
        if layer.type == "BN":
            layer.blobs = [0 * blob for blob in layer.blobs]
    if absorbed == "removed":
        net.layers = [layer for layer in net.layers if layer.type != "BN"]
    bias = next(layer for layer in net.layers if layer.name == "conv3").blobs[1]
    np.testing.assert_allclose(batch_norm(converted(net), "conv3_bn", np.array([2.0, -1.0])), bias + [2, -1], rtol=1e-6)


def test_convert_takes_a_convolution_without_a_bias():
    net = basic_net(3, width=2)
    layer = next(layer for layer in net.layers if layer.name == "conv3")
    layer.blobs = layer.blobs[:1]
    np.testing.assert_array_equal(converted(net)["batch_stats"]["conv3_bn"]["mean"], [0, 0])


def change(net, name, position, shape):
    """Gives an array of a layer another shape; a shape of None removes the layer's arrays."""
    layer = next(layer for layer in net.layers if layer.name == name)
    if shape is None:
        layer.blobs = []
    else:
        layer.blobs[position] = np.ones(shape)
    return net


@pytest.mark.parametrize(
    ("name", "position", "shape", "reason"),
    [
        ("conv2", 0, None, "no weights of the layer 'conv2'"),
        ("conv2", 0, (2, 2, 3, 3), r"'conv2' has the kernel \[3, 3, 2, 2\] where \[7, 7, 2, 2\] is expected"),
        ("conv1", 0, (2, 4, 7, 7), r"'conv1' has the kernel \[7, 7, 4, 2\]"),
        ("conv2", 0, (2, 98), "which is no convolution's"),
        ("conv2", 1, (3,), "'conv2' has 3 values in its array 1, where 2 features"),
        ("conv2_bn", 1, (1, 3, 1, 1), "'conv2_bn' has 3 values in its array 1, where 2 features"),
        ("norm", 0, (1,), "weights of the layer 'norm', which segnet_basic does not have"),
    ],
)
def test_convert_says_which_layer_does_not_fit(name, position, shape, reason):
    net = basic_net(3, width=2)
    if name == "norm":
        net.layers[0].blobs = [np.ones(2)]
    with pytest.raises(InputError, match=reason) as caught:
        converted(change(net, name, position, shape))
    assert "basic.caffemodel" in str(caught.value)


def test_convert_refuses_bn_of_other_arrays_and_a_negative_variance():
    net = with_statistics(basic_net(3, width=2))
    layer = next(layer for layer in net.layers if layer.name == "conv2_bn")
    layer.blobs[3] = -layer.blobs[3]
    with pytest.raises(InputError, match="'conv2_bn' has 4 arrays, or a negative variance"):
        converted(net)
    layer.blobs = layer.blobs[:3]
    with pytest.raises(InputError, match="'conv2_bn' has 3 arrays"):
        converted(net)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damaged(caffemodel(with_statistics(basic_net(3, width=1, dropout=True)).layers)))
def test_convert_converts_or_refuses_any_damaged_file(tmp_path, content):
    path = tmp_path / "net.caffemodel"
    path.write_bytes(content)
    model = create_model("segnet_basic", 3, width_multiplier=1 / 64)
    try:
        layers = read_caffemodel(path)
        network = recognize(layers, "net.caffemodel")
        assert first_features(layers, network.name, "net.caffemodel") >= 1
        outputs = range(len(classifier(layers, "net.caffemodel").blobs[0]))
        variables = convert(layers, "segnet_basic", shapes(model), outputs, "net.caffemodel")
    except InputError as error:
        assert "net.caffemodel" in str(error)
    else:
        jax.tree.map(lambda leaf, value: np.testing.assert_equal(value.shape, leaf.shape), shapes(model), variables)
