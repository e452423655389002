"""Tests for segnet_jax/inference/caffe.py: Caffe's networks, computed by NumPy as Caffe does and by this package."""

import numpy as np
import pytest

import segnet_jax
from segnet_jax.data.class_table import ClassTable
from segnet_jax.errors import InputError
from segnet_jax.inference.caffe import CAMVID12, VOC21, read_caffe_network
from segnet_jax.inference.from_config import build_preparation
from segnet_jax.inference.pretrained import load_network
from tests.helpers.caffe_files import basic_net, caffemodel, forward, prototxt, vgg_net, with_statistics
from tests.helpers.networks import logits_of

PLACES = ("pool3", "pool4", "pool5", "conv5_1_D", "conv4_1_D", "conv3_1_D")
PASCAL = ("conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3", *PLACES[2:], "conv2_1_D")

# Odd at every stage, as 45 and 23 rows are in the authors'.
IMAGE = np.random.default_rng(3).integers(0, 256, (22, 37, 3), dtype=np.uint8)

NETS = {
    "segnet": lambda: vgg_net(11),
    "segnet with statistics": lambda: with_statistics(vgg_net(11, seed=1)),
    "web demo": lambda: vgg_net(12),
    "sun": lambda: vgg_net(38, dropout=PLACES),
    "pascal": lambda: vgg_net(21, dropout=PASCAL),
    "bayesian camvid": lambda: vgg_net(11, dropout=PLACES, classifier="camvid", extra=True),
    "basic": lambda: basic_net(11, classifier="dense_softmax_inner_prod"),
    "bayesian basic": lambda: with_statistics(basic_net(11, dropout=True, seed=1)),
}


def write(folder, net, **options):
    path = folder / "net.caffemodel"
    path.write_bytes(caffemodel(net.layers, **options))
    return path


@pytest.mark.parametrize("name", NETS)
def test_load_network_of_a_caffemodel_computes_what_caffe_does(tmp_path, name):
    net = NETS[name]()
    trained = load_network(write(tmp_path, net))
    images = build_preparation(trained.config, trained.modalities).normalize(IMAGE[None])
    logits = np.asarray(logits_of(trained.model, trained.variables, images))[0]
    expected = forward(net, IMAGE)
    if name == "sun":
        expected = expected[..., 1:]  # the first output is of the label that was ignored
    assert logits.shape == expected.shape == (*IMAGE.shape[:2], trained.class_table.num_classes)
    assert expected.std(axis=(0, 1)).min() > 0.05
    np.testing.assert_allclose(logits, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("outputs", "table", "classes", "size"),
    [
        (11, "camvid11", 11, (360, 480)),
        (12, "camvid12", 12, (360, 480)),
        (21, "voc21", 21, (224, 224)),
        (38, "sunrgbd37", 37, (360, 480)),
        (5, "5 classes", 5, (360, 480)),
    ],
)
def test_read_caffe_network_knows_the_authors_data_sets_by_the_number_of_outputs(
    tmp_path, outputs, table, classes, size
):
    metadata, variables = read_caffe_network(write(tmp_path, basic_net(outputs, width=1)))
    found = ClassTable.from_dict(metadata["class_table"])
    assert (found.name, found.num_classes) == (table, classes)
    assert tuple(metadata["config"]["data"]["image_size"]) == size
    assert variables["params"]["conv_classifier"]["bias"].shape == (classes,)


def test_class_tables_are_those_of_the_tutorial():
    assert CAMVID12.names[2:5] == ["Pole", "RoadMarking", "Road"]
    assert CAMVID12.colors[3].tolist() == [255, 69, 0]
    assert (VOC21.names[0], VOC21.names[15], VOC21.names[20]) == ("background", "person", "tvmonitor")
    assert VOC21.colors[15].tolist() == [192, 128, 128]


def test_read_caffe_network_takes_network_and_size_from_a_prototxt(tmp_path):
    net = basic_net(11, width=1, dropout=True)
    (tmp_path / "net.prototxt").write_text(prototxt(net, size=(90, 120)))
    net.layers = [layer for layer in net.layers if layer.blobs]  # so that the file itself tells nothing
    path = write(tmp_path, net)
    with pytest.raises(InputError, match="net.caffemodel holds weights alone"):
        read_caffe_network(path)
    config = read_caffe_network(path, prototxt=tmp_path / "net.prototxt")[0]["config"]
    assert config == {
        "data": {"name": "camvid", "image_size": [90, 120]},
        "preprocessing": "lrn",
        "model": {"name": "segnet_basic", "width_multiplier": 1 / 64, "dropout_rate": 0.5},
    }
    assert read_caffe_network(path, architecture="bayesian_segnet_basic")[0]["config"] == {
        **config,
        "data": {"name": "camvid", "image_size": [360, 480]},
    }


def test_from_pretrained_segments_with_a_caffemodel_and_saves_it(tmp_path):
    net = basic_net(11)
    segmenter = segnet_jax.from_pretrained(write(tmp_path, net), architecture="segnet_basic")
    found = segmenter.predict(IMAGE, size=(), probabilities=True)
    logits = forward(net, IMAGE)
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    np.testing.assert_allclose(found.probabilities, exponentials / exponentials.sum(-1, keepdims=True), atol=1e-4)
    assert (found.labels == logits.argmax(-1)).mean() > 0.999
    assert found.class_table.names[3] == "Road"
    segmenter.save_pretrained(tmp_path / "saved")
    again = load_network(tmp_path / "saved")
    assert again.model == segmenter.trained.model
    np.testing.assert_array_equal(
        again.variables["batch_stats"]["conv3_bn"]["mean"],
        segmenter.trained.variables["batch_stats"]["conv3_bn"]["mean"],
    )


def test_load_network_refuses_a_prototxt_or_architecture_without_a_caffemodel(tmp_path):
    with pytest.raises(InputError, match="prototxt and architecture describe a .caffemodel file"):
        load_network(tmp_path, architecture="segnet")


def test_load_network_names_another_architecture(tmp_path):
    with pytest.raises(InputError, match="net.caffemodel has no weights of the layer 'conv1_1'"):
        load_network(write(tmp_path, basic_net(11, width=1)), architecture="segnet")
