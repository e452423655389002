"""Tests for segnet_jax/weights/vgg16.py."""

import functools

import huggingface_hub
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from segnet_jax.data.preprocessing import imagenet
from segnet_jax.errors import InputError
from segnet_jax.models import create_model
from segnet_jax.weights.vgg16 import find_weights, initialize_encoder, load_vgg16, match_batch_norm, mirror_encoder
from tests.helpers.caffe_files import old_caffemodel
from tests.helpers.hub import Hub
from tests.helpers.numpy_layers import convolve
from tests.helpers.vgg16 import LAYERS, random_layers, write

_SOURCE = {"repository": "someone/vgg16", "file": "model.safetensors", "revision": "v1"}


@pytest.fixture(scope="module")
def full_layers(tmp_path_factory):
    """Returns tensors of VGG16's true shapes, and the file that holds them."""
    tensors = random_layers()
    return tensors, write(tmp_path_factory.mktemp("vgg16") / "model.safetensors", tensors)


def segnet_variables(name="segnet", channels=3, **fields):
    """Returns a network and variables of it: kernels 0, scales and variances 1."""
    model = create_model(name, 2, **fields)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, channels)))
    return model, jax.tree_util.tree_map_with_path(
        lambda path, leaf: np.full(leaf.shape, path[-1].key in ("scale", "var"), leaf.dtype), shapes
    )


def test_load_vgg16_transposes_and_names(tmp_path):
    tensors = random_layers(narrow=32)
    tensors["classifier.0.weight"] = np.zeros((2, 2), np.float32)
    layers = load_vgg16(write(tmp_path / "vgg16.safetensors", tensors))
    assert list(layers) == [name for name, *_ in LAYERS]
    for name, number, *_ in LAYERS:
        kernel, bias = layers[name]
        assert kernel.dtype == bias.dtype == np.float32
        stored = tensors[f"features.{number}.weight"]
        for feature, channel in np.ndindex(stored.shape[:2]):
            np.testing.assert_array_equal(kernel[:, :, channel, feature], stored[feature, channel])
        np.testing.assert_array_equal(bias, tensors[f"features.{number}.bias"])


@pytest.mark.parametrize("missing", ["features.0.weight", "features.28.bias"])
def test_load_vgg16_names_a_missing_tensor(tmp_path, missing):
    tensors = random_layers(narrow=64)
    del tensors[missing]
    path = write(tmp_path / "vgg16.safetensors", tensors)
    with pytest.raises(InputError, match="torchvision's names") as caught:
        load_vgg16(path)
    assert str(path) in str(caught.value)
    assert f"'{missing}'" in str(caught.value)


def test_load_vgg16_refuses_values_that_are_not_finite(tmp_path):
    tensors = random_layers(narrow=64)
    tensors["features.28.bias"][-1] = np.nan
    with pytest.raises(InputError, match=r"vgg16.safetensors has values of conv5_3 that are not finite"):
        load_vgg16(write(tmp_path / "vgg16.safetensors", tensors))


def test_load_vgg16_names_a_damaged_file(tmp_path):
    whole = write(tmp_path / "whole.safetensors", random_layers(narrow=64)).read_bytes()
    path = tmp_path / "damaged.safetensors"
    for content in (b"", whole[: len(whole) // 2], b"<!DOCTYPE html><html>404</html>"):
        path.write_bytes(content)
        with pytest.raises(InputError, match="damaged.safetensors is not a readable .safetensors file"):
            load_vgg16(path)
    with pytest.raises(InputError, match="absent.safetensors"):
        load_vgg16(tmp_path / "absent.safetensors")


def caffe_tensors():
    """Returns VGG16 for Caffe with few features, by layer, among others: kernels OIHW, of BGR, and biases."""
    rng = np.random.default_rng(0)
    tensors = {"data": [], "fc8": [rng.normal(size=(1000, 16))]}
    for name, _, fan_in, fan_out in LAYERS:
        shape = (fan_out // 32, max(3, fan_in // 32), 3, 3)
        tensors[name] = [rng.normal(size=shape), rng.normal(size=shape[0])]
    return tensors


def test_load_vgg16_reads_caffes_file_for_normalised_rgb(tmp_path):
    tensors = caffe_tensors()
    path = tmp_path / "VGG_ILSVRC_16_layers.caffemodel"
    path.write_bytes(old_caffemodel(tensors))
    layers = load_vgg16(path)
    assert list(layers) == [name for name, *_ in LAYERS]
    for name, *_ in LAYERS[1:]:
        kernel, bias = layers[name]
        np.testing.assert_array_equal(kernel.transpose(3, 2, 0, 1), tensors[name][0].astype(np.float32))
        np.testing.assert_array_equal(bias, tensors[name][1].astype(np.float32))
    # Caffe subtracts its mean from BGR of 0 to 255. Within the border, which the padding reaches, the answer is equal.
    rgb = np.random.default_rng(1).integers(0, 256, (5, 6, 3)).astype(np.uint8)
    kernel, bias = tensors["conv1_1"]
    expected = convolve(rgb[..., ::-1] - np.array([103.939, 116.779, 123.68]), kernel.transpose(2, 3, 1, 0)) + bias
    kernel, bias = layers["conv1_1"]
    assert kernel.dtype == bias.dtype == np.float32
    found = convolve(np.asarray(imagenet(rgb[None]))[0].astype(np.float64), kernel) + bias
    np.testing.assert_allclose(found[1:-1, 1:-1], expected[1:-1, 1:-1], rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(found, expected, atol=0.6 * np.abs(kernel).sum() / 58)


@pytest.mark.parametrize(
    ("name", "arrays", "reason"),
    [
        ("conv5_3", None, "no kernel and bias of 'conv5_3'"),
        ("conv1_2", [np.ones((2, 2, 3, 3))], "no kernel and bias of 'conv1_2'"),
        ("conv1_2", [np.ones((2, 18)), np.ones(2)], "no kernel and bias of 'conv1_2'"),
        ("conv1_2", [np.ones((2, 2, 3, 3)), np.ones(3)], "no kernel and bias of 'conv1_2'"),
        ("conv1_1", [np.ones((2, 4, 3, 3)), np.ones(2)], "images of 4 channels"),
    ],
)
def test_load_vgg16_says_what_caffes_file_lacks(tmp_path, name, arrays, reason):
    tensors = caffe_tensors() | {name: arrays}
    path = tmp_path / "vgg.caffemodel"
    path.write_bytes(old_caffemodel({key: value for key, value in tensors.items() if value is not None}))
    with pytest.raises(InputError, match=reason) as caught:
        load_vgg16(path)
    assert str(path) in str(caught.value)


@jax.jit
def vgg16_pools(x, tensors):
    """Returns what VGG16 has after each of its five pools."""
    pools = []
    for name, number, *_ in LAYERS:
        kernel = tensors[f"features.{number}.weight"].astype(np.float32)
        x = lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "OIHW", "NHWC"))
        x = jnp.maximum(x + tensors[f"features.{number}.bias"].astype(np.float32), 0)
        if name in ("conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3"):
            x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
            pools.append(x)
    return pools


def segnet_pools(model, variables, x, train):
    apply = jax.jit(functools.partial(model.apply, mutable=["intermediates", "batch_stats"], train=train))
    _, state = apply(variables, x)
    return [state["intermediates"][f"pool{number}"][0] for number in range(1, 6)]


def test_initialize_encoder_makes_the_encoder_compute_what_vgg16_does(full_layers):
    tensors, path = full_layers
    model, variables = segnet_variables()
    variables = initialize_encoder(variables, load_vgg16(path))
    x = jnp.asarray(np.random.default_rng(1).normal(size=(1, 32, 32, 3)), jnp.float32)
    pools = segnet_pools(model, variables, x, train=False)
    for actual, expected in zip(pools, vgg16_pools(x, tensors), strict=True):
        assert expected.std() > 0.1
        # BatchNorm divides by the root of 1 + 1e-5.
        np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-3)


def test_initialize_encoder_of_more_channels_computes_vgg16_of_rgb_alone(full_layers):
    tensors, path = full_layers
    model, variables = segnet_variables(channels=5)
    variables = initialize_encoder(variables, load_vgg16(path), first_channel=2)
    x = jnp.asarray(np.random.default_rng(1).normal(size=(2, 32, 32, 5)), jnp.float32)
    variables = match_batch_norm(model, variables, [x])
    for actual, pool in zip(segnet_pools(model, variables, x, True), vgg16_pools(x[..., 2:], tensors), strict=True):
        np.testing.assert_allclose(actual, pool, rtol=1e-3, atol=1e-3 * float(pool.std()))


def test_mirror_encoder_turns_the_encoders_kernels_round():
    rng = np.random.default_rng(0)
    kernel = rng.normal(3, 5, (3, 3, 2, 4)).astype(np.float32)
    layers = {"conv2_1": {"kernel": kernel}, "conv2_1_D": {"kernel": np.zeros((3, 3, 4, 2), np.float32)}}
    layers |= {"conv1_1": {"kernel": kernel}, "conv1_1_D": {"kernel": kernel, "bias": kernel[0, 0, 0]}}
    variables = mirror_encoder({"params": layers, "batch_stats": {}})
    found = variables["params"]["conv2_1_D"]["kernel"]
    assert found.dtype == np.float32
    assert (found.mean(), found.std()) == pytest.approx((0, (2 / 36) ** 0.5), abs=1e-6)
    for row, column, inputs, outputs in np.ndindex(found.shape):
        expected = (kernel[2 - row, 2 - column, outputs, inputs] - kernel.mean()) / kernel.std() * (2 / 36) ** 0.5
        assert found[row, column, inputs, outputs] == pytest.approx(expected, abs=1e-5)
    for name in ("conv2_1", "conv1_1", "conv1_1_D"):
        assert variables["params"][name] is layers[name]


def test_match_batch_norm_makes_training_compute_what_vgg16_does(full_layers):
    tensors, path = full_layers
    model, variables = segnet_variables(remat="stages")
    absorbed = initialize_encoder(variables, load_vgg16(path))
    x = jnp.asarray(np.random.default_rng(1).normal(size=(4, 32, 32, 3)), jnp.float32)
    variables = match_batch_norm(model, absorbed, [x[:1], x[1:2], x[2:3], x[3:]])
    expected = vgg16_pools(x, tensors)
    for train in (False, True):
        for actual, pool in zip(segnet_pools(model, variables, x, train), expected, strict=True):
            np.testing.assert_allclose(actual, pool, rtol=1e-3, atol=1e-3 * float(pool.std()))
    # The start that holds in evaluation alone is far from it.
    for actual, pool in zip(segnet_pools(model, absorbed, x, train=True)[1:], expected[1:], strict=True):
        assert np.abs(actual - pool).mean() > 0.1 * pool.std()


def test_match_batch_norm_leaves_all_but_the_encoders_batch_norm(full_layers):
    model, variables = segnet_variables("fcn32s", fc_features=4)
    before = initialize_encoder(variables, load_vgg16(full_layers[1]))
    after = match_batch_norm(model, before, [jnp.ones((1, 32, 32, 3))])
    names = {f"{name}_bn" for name, *_ in LAYERS}
    for collection in ("params", "batch_stats"):
        assert after[collection].keys() == before[collection].keys()
        for name, value in after[collection].items():
            same = jax.tree.all(jax.tree.map(np.array_equal, value, before[collection][name]))
            assert same == (name not in names), name


def test_match_batch_norm_has_nothing_to_do_without_batch_norm(full_layers):
    model, variables = segnet_variables("fcn32s", fc_features=4, batch_norm=False)
    before = initialize_encoder(variables, load_vgg16(full_layers[1]))
    jax.tree.map(np.testing.assert_array_equal, match_batch_norm(model, before, []), before)


def test_initialize_encoder_changes_nothing_but_the_encoder(full_layers):
    _, path = full_layers
    layers = load_vgg16(path)
    _, variables = segnet_variables()
    before = jax.tree.map(np.array, variables)
    after = initialize_encoder(variables, layers)
    jax.tree.map(np.testing.assert_array_equal, variables, before)
    changed = {
        (path[1].key, path[2].key)
        for (path, old), new in zip(jax.tree_util.tree_leaves_with_path(before), jax.tree.leaves(after), strict=True)
        if not np.array_equal(old, new)
    }
    names = [name for name, *_ in LAYERS]
    assert changed == {(name, "kernel") for name in names} | {(f"{name}_bn", "mean") for name in names}


@pytest.mark.parametrize(
    ("name", "batch_norm"),
    [
        *[("fcn32s", True), ("fcn32s", False), ("deeplab_largefov", False), ("deconvnet", True)],
        pytest.param("deeplab_largefov", True, marks=pytest.mark.ci),
        pytest.param("deconvnet", False, marks=pytest.mark.ci),
    ],
)
def test_initialize_encoder_takes_the_competitors_too(full_layers, name, batch_norm):
    _, path = full_layers
    layers = load_vgg16(path)
    _, variables = segnet_variables(name, fc_features=4, batch_norm=batch_norm)
    after = initialize_encoder(variables, layers)
    for layer, (kernel, bias) in layers.items():
        np.testing.assert_array_equal(after["params"][layer]["kernel"], kernel)
        if batch_norm:
            np.testing.assert_array_equal(after["batch_stats"][f"{layer}_bn"]["mean"], -bias)
            np.testing.assert_array_equal(after["batch_stats"][f"{layer}_bn"]["var"], np.ones_like(bias))
        else:
            np.testing.assert_array_equal(after["params"][layer]["bias"], bias)
    others = {layer for layer in after["params"] if layer not in layers}
    for layer in others:
        jax.tree.map(np.testing.assert_array_equal, after["params"][layer], variables["params"][layer])
    assert {"fc6", "fc7"} <= others
    assert not any(leaf.any() for leaf in jax.tree.leaves(variables["params"]["conv1_1"]))


def test_initialize_encoder_keeps_the_dtype_of_the_parameters(full_layers):
    _, path = full_layers
    _, variables = segnet_variables(param_dtype=jnp.bfloat16)
    after = initialize_encoder(variables, load_vgg16(path))
    assert after["params"]["conv1_1"]["kernel"].dtype == jnp.bfloat16
    assert after["batch_stats"]["conv1_1_bn"]["mean"].dtype == np.float32


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"width_multiplier": 0.5}, r"conv1_1 has a kernel of \(3, 3, 3, 64\), the model's is \(3, 3, 3, 32\)"),
        ({"channels": 1}, r"the model's is \(3, 3, 1, 64\); .*for images of three channels or more"),
        ({"name": "segnet_basic"}, "the model's is None; .*--config.pretrained.weights=none"),
    ],
)
def test_initialize_encoder_refuses_a_network_of_other_shapes(full_layers, fields, expected):
    _, variables = segnet_variables(**fields)
    with pytest.raises(InputError, match=expected):
        initialize_encoder(variables, load_vgg16(full_layers[1]))


@pytest.mark.parametrize(
    ("number", "shape", "expected"),
    [
        (0, (64, 3, 7, 7), r"for conv1_1 a kernel of \(7, 7, 3, 64\) .*VGG16 has \(3, 3, 3, 64\) and \(64,\)"),
        (19, (256, 512, 3, 3), r"for conv4_2 a kernel of \(3, 3, 512, 256\) .*: it is another network's"),
    ],
)
def test_initialize_encoder_refuses_weights_that_are_not_vgg16s(full_layers, number, shape, expected):
    layers = load_vgg16(full_layers[1])
    (name,) = (name for name, at, *_ in LAYERS if at == number)
    layers[name] = np.zeros(shape, np.float32).transpose(2, 3, 1, 0), layers[name][1]
    # The network has the right width, and is not to blame.
    with pytest.raises(InputError, match=expected) as caught:
        initialize_encoder(segnet_variables()[1], layers)
    assert "width_multiplier" not in str(caught.value)


def test_find_weights_takes_a_local_file_without_the_hub(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", None)
    path = tmp_path / "vgg16.safetensors"
    path.write_bytes(b"")
    assert find_weights(str(path), **_SOURCE) == path


def test_find_weights_refuses_a_path_without_a_file(tmp_path):
    for path in (tmp_path, tmp_path / "absent.safetensors"):
        with pytest.raises(InputError, match="is not a file") as caught:
            find_weights(str(path), **_SOURCE)
        assert f"pretrained.path={path} " in str(caught.value)


def test_find_weights_takes_the_file_from_the_hubs_cache(tmp_path, monkeypatch):
    hub = Hub(monkeypatch, cached=tmp_path / "cached")
    assert find_weights("", **_SOURCE) == tmp_path / "cached"
    assert hub.calls == [("cache", "someone/vgg16", "model.safetensors", "v1")]


def test_find_weights_names_the_way_out_without_a_connection(tmp_path, monkeypatch, capfd):
    # The hub's own answer: offline, and nothing in its cache.
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError, match="could not be had from the Hugging Face hub") as caught:
        find_weights("", **_SOURCE)
    for part in ("model.safetensors of someone/vgg16 (revision v1)", "--config.pretrained.path=FILE"):
        assert part in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_load_vgg16_reads_the_published_weights(vgg16_weights):
    layers = load_vgg16(vgg16_weights)
    assert {name: (kernel.shape, bias.shape) for name, (kernel, bias) in layers.items()} == {
        name: ((3, 3, fan_in, fan_out), (fan_out,)) for name, _, fan_in, fan_out in LAYERS
    }
    assert all(np.isfinite(kernel).all() and np.isfinite(bias).all() for kernel, bias in layers.values())
    # The filters of a trained first layer: some sum up what they see, some only differences.
    sums = layers["conv1_1"][0].sum((0, 1, 2))
    assert np.abs(sums).max() > 1
    assert np.abs(sums).min() < 0.05
