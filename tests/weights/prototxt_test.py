"""Tests for segnet_jax/weights/prototxt.py."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segnet_jax.errors import InputError
from segnet_jax.weights.prototxt import read_prototxt
from tests.helpers.caffe_files import basic_net, prototxt, vgg_net


def read(folder, text):
    path = folder / "net.prototxt"
    path.write_text(text)
    return read_prototxt(path)


@pytest.mark.parametrize("net", [vgg_net(11, width=1), basic_net(11, width=1, dropout=True)], ids=["vgg", "basic"])
def test_read_prototxt_reads_layers_in_order(tmp_path, net):
    found = read(tmp_path, prototxt(net, size=(90, 120)))
    assert [(layer.name, layer.type) for layer in found.layers] == [(layer.name, layer.type) for layer in net.layers]
    assert found.image_size == (90, 120)
    assert not any(layer.blobs for layer in found.layers)


LAYER = 'layer { name: "conv1" type: "Convolution" }\n'


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("input_dim: 1 input_dim: 3 input_dim: 36 input_dim: 48", (36, 48)),
        ("input_shape { dim: 4 # samples\n dim: 3\n dim: 36, dim: 48; }", (36, 48)),
        ("layer{name:'data'type:'Input'input_param{shape:{dim:1 dim:3 dim:36 dim:48}}}", (36, 48)),
        ('layer { name: "data" type: "DenseImageData" dense_image_data_param { batch_size: 1 } }', ()),
    ],
)
def test_read_prototxt_finds_the_size_of_images(tmp_path, text, size):
    assert read(tmp_path, text + "\n" + LAYER).image_size == size


def test_read_prototxt_tells_texts_from_marks(tmp_path):
    found = read(
        tmp_path, """layer { name: "a { # } b" top: '"' type: 'Dropout' dropout_param { dropout_ratio: .25 } }"""
    )
    assert [(layer.name, layer.type, layer.dropout_ratio) for layer in found.layers] == [("a { # } b", "Dropout", 0.25)]


def test_read_prototxt_refuses_one_for_training(tmp_path):
    with pytest.raises(InputError, match="conv1_1_bn, normalise by each batch"):
        read(tmp_path, prototxt(vgg_net(11, width=1), training=True))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "has no layers"),
        ('name: "net"', "has no layers"),
        (LAYER + "}", "a brace that closes nothing"),
        (LAYER + "layer {", "it ends within a message"),
        (LAYER + "{ }", "a message without a name"),
        ("layer { name }", "'name' without a value"),
        (LAYER + "\n  @", "unexpected '@' at line 3"),
        ('layer: "text"', "no readable .prototxt"),
        (LAYER + "input_dim: 1 input_dim: 3 input_dim: high input_dim: 4", "no readable .prototxt"),
        ("layer { type: 'Dropout' dropout_param { dropout_ratio: half } }", "no readable .prototxt"),
        ("layer { type: 'Dropout' dropout_param { dropout_ratio { } } }", "no readable .prototxt"),
        ("layer {" * 5000, "it ends within a message"),
    ],
)
def test_read_prototxt_says_what_is_wrong_with_a_file(tmp_path, text, reason):
    with pytest.raises(InputError, match=reason) as caught:
        read(tmp_path, text)
    assert "net.prototxt" in str(caught.value)


def test_read_prototxt_refuses_other_files(tmp_path):
    (tmp_path / "binary").write_bytes(b"\n\x14VGG_ILSVRC_16_layer\xa2\x06\xff")
    for name, reason in (("binary", "no readable .prototxt"), ("absent", "cannot be read")):
        with pytest.raises(InputError, match=reason):
            read_prototxt(tmp_path / name)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_read_prototxt_reads_or_refuses_any_damaged_file(tmp_path, data):
    text = prototxt(basic_net(2, width=1, dropout=True))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text) - 1))
        text = (
            text[:at]
            + data.draw(st.sampled_from(["", "{", "}", '"', ":", "layer", "input_dim: 7", "\x00"]))
            + text[at + 1 :]
        )
    try:
        assert read(tmp_path, text).layers
    except InputError as error:
        assert "net.prototxt" in str(error)
