"""Tests for segnet_jax/weights/caffemodel.py."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segnet_jax.errors import InputError
from segnet_jax.weights.caffemodel import read_caffemodel
from tests.helpers.caffe_files import Layer, blob, caffemodel, damaged, message, old_caffemodel, varint, vgg_net

KERNEL = np.random.default_rng(0).normal(size=(4, 3, 2, 5)).astype(np.float32)
LAYERS = [
    Layer("data", "Input"),
    Layer("conv", "Convolution", ("data",), ("conv",), [KERNEL, np.arange(4.0)]),
    Layer("drop", "Dropout", ("conv",), ("conv",)),
]


def write(folder, content):
    path = folder / "net.caffemodel"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize("old", [True, False])
def test_read_caffemodel_reads_every_form_of_an_array(tmp_path, packed, double, old):
    layers = read_caffemodel(write(tmp_path, caffemodel(LAYERS, packed=packed, double=double, old=old)))
    assert [(layer.name, layer.type, len(layer.blobs)) for layer in layers] == [
        ("data", "Input", 0),
        ("conv", "Convolution", 2),
        ("drop", "Dropout", 0),
    ]
    kernel, bias = layers[1].blobs
    np.testing.assert_array_equal(kernel, KERNEL)
    np.testing.assert_array_equal(bias.ravel(), [0, 1, 2, 3])
    assert kernel.dtype == bias.dtype == np.float32
    assert bias.shape == ((1, 1, 1, 4) if old else (4,))


def test_read_caffemodel_joins_an_array_in_pieces(tmp_path):
    values = np.arange(6, dtype="<f4").tobytes()
    array = message(5, values[:8]) + message(7, b"\x08\x02" + b"\x08\x03") + message(5, values[8:])
    (layer,) = read_caffemodel(write(tmp_path, message(100, message(1, b"a") + message(7, array))))
    np.testing.assert_array_equal(layer.blobs[0], [[0, 1, 2], [3, 4, 5]])


def test_read_caffemodel_reads_layers_of_before_2015(tmp_path):
    layers = read_caffemodel(write(tmp_path, old_caffemodel({"conv1_1": [KERNEL, np.ones(4)], "relu": []})))
    assert [(layer.name, layer.type) for layer in layers] == [("conv1_1", ""), ("relu", "")]
    np.testing.assert_array_equal(layers[0].blobs[0], KERNEL)


def test_read_caffemodel_reads_the_ratio_of_dropout(tmp_path):
    ratio = np.float32(0.25).tobytes()
    content = caffemodel(LAYERS) + message(100, message(1, b"d") + message(108, varint(1 << 3 | 5) + ratio))
    assert [layer.dropout_ratio for layer in read_caffemodel(write(tmp_path, content))] == [0.5, 0.5, 0.5, 0.25]


def one_layer(content):
    return message(100, message(1, b"conv") + message(7, content))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no .caffemodel file with weights"),
        (b"<!DOCTYPE html><html>404</html>", "unknown type 4"),
        (b"\x89PNG\r\n\x1a\n", "longer than what is left"),
        (message(1, b"name only"), "no .caffemodel file with weights"),
        # A length of 2**62 bytes.
        (varint(100 << 3 | 2) + varint(2**62), "longer than what is left"),
        (varint(100 << 3 | 2) + b"\xff", "within a number"),
        (b"\xff" * 11, "longer than 64 bits"),
        (varint(100 << 3) + b"\x05", "a number in place of bytes"),
        (message(100, varint(1 << 3) + varint(2**40)), "a number in place of bytes"),
        # Shapes that promise more than there is: 2**62 values, and products that would overflow 64 bits to 0.
        (one_layer(message(5, b"\0" * 8) + message(7, message(1, varint(2**31) * 2))), "8 bytes"),
        (one_layer(message(5, b"\0" * 8) + message(7, message(1, varint(2**32) * 2))), "8 bytes"),
        (one_layer(message(5, b"\0" * 8) + message(7, message(1, b"\x02" + varint(2**64 - 1)))), "8 bytes"),
        (one_layer(message(7, message(1, b"\0" + varint(2**63)))), "0 bytes"),
        (one_layer(message(5, b"\0" * 7) + message(7, message(1, b"\x02"))), "7 bytes"),
        (one_layer(message(5, b"\0" * 4) + message(7, message(1, b"\x01" * 9))), "more than 8 axes"),
        (one_layer(blob(np.array([1.0, np.nan]))), "not finite"),
        (one_layer(blob(np.array([1e300]), double=True)), "not finite"),
        (message(100, message(7, blob(np.ones(1))) * 17), "more than 16 arrays"),
        (message(100, b"") * 4097, "more than 4096 layers"),
    ],
)
def test_read_caffemodel_says_what_is_wrong_with_a_file(tmp_path, content, reason):
    with pytest.raises(InputError, match=reason) as caught:
        read_caffemodel(write(tmp_path, content))
    assert "net.caffemodel" in str(caught.value)


def test_read_caffemodel_names_a_missing_file_and_a_folder(tmp_path):
    for path in (tmp_path / "absent.caffemodel", tmp_path):
        with pytest.raises(InputError, match="cannot be read") as caught:
            read_caffemodel(path)
        assert str(path) in str(caught.value)


_SMALL = vgg_net(3, width=1).layers
SMALL_FILE = caffemodel(_SMALL[:8], packed=False) + caffemodel(_SMALL[8:])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damaged(SMALL_FILE))
def test_read_caffemodel_reads_or_refuses_any_damaged_file_within_little_memory(tmp_path, content):
    path = write(tmp_path, content)
    tracemalloc.start()
    try:
        layers = read_caffemodel(path)
    except InputError as error:
        assert "net.caffemodel" in str(error)
    else:
        assert all(np.isfinite(array).all() for layer in layers for array in layer.blobs)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 4 * len(content) + 200_000


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.sampled_from([b"", b"\xa2\x06", b"\xa2\x06\x20\x3a\x1e"]))
def test_read_caffemodel_refuses_bytes_at_random(tmp_path, content, start):
    try:
        layers = read_caffemodel(write(tmp_path, start + content))
    except InputError:
        return
    assert any(layer.blobs for layer in layers)


@pytest.mark.parametrize(
    "content",
    [
        message(100, b"") * 300_000,
        message(100, message(7, b"") * 300_000),
        one_layer(message(7, message(1, b"\x01" * 500_000))),
        one_layer(b"".join(b"\x2d\0\0\0\0" for _ in range(20_000)) + message(7, message(1, varint(20_000)))),
    ],
    ids=["layers", "arrays", "axes", "single values"],
)
def test_read_caffemodel_takes_little_memory_for_many_small_fields(tmp_path, content):
    path = write(tmp_path, content)
    tracemalloc.start()
    try:
        read_caffemodel(path)
    except InputError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 4 * len(content)
