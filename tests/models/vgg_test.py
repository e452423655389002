"""Tests for segnet_jax/models/vgg.py."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from segnet_jax.models import MODELS, create_model
from segnet_jax.models.vgg import VGGModel
from tests.helpers.networks import count, images, random_variables, shapes, vgg_stages

_NETWORKS = [name for name, model in MODELS.items() if issubclass(model, VGGModel)]
_FEATURES = [
    (3, 64),
    (64, 64),
    (64, 128),
    (128, 128),
    (128, 256),
    (256, 256),
    (256, 256),
    (256, 512),
    *[(512, 512)] * 5,
]


class OneUnit(VGGModel):
    """A network of one unit, the smallest of these layers."""

    kernel_size: int = 3
    padding: int | str = "SAME"
    dilation: int = 1

    @nn.compact
    def __call__(self, x, train=False):
        return self.unit(
            x, 4, "conv", train, kernel_size=self.kernel_size, padding=self.padding, dilation=self.dilation
        )


def test_vgg_models_are_the_competitors():
    assert _NETWORKS == ["fcn32s", "fcn16s", "fcn8s", "deeplab_largefov", "deconvnet"]


@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("name", _NETWORKS)
def test_vgg_models_have_vgg16s_encoder(name, batch_norm):
    variables = shapes(create_model(name, 11, batch_norm=batch_norm))
    names = [name for stage in vgg_stages() for name in stage]
    for layer, (fan_in, fan_out) in zip(names, _FEATURES, strict=True):
        params = jax.tree.map(jnp.shape, variables["params"][layer])
        if batch_norm:
            assert params == {"kernel": (3, 3, fan_in, fan_out)}
            norm = jax.tree.map(jnp.shape, variables["params"][f"{layer}_bn"])
            assert norm == {"scale": (fan_out,), "bias": (fan_out,)}
            assert variables["batch_stats"][f"{layer}_bn"]["mean"].shape == (fan_out,)
        else:
            assert params == {"kernel": (3, 3, fan_in, fan_out), "bias": (fan_out,)}
    if not batch_norm:
        assert set(variables) == {"params"}
        assert not [layer for layer in variables["params"] if layer.endswith("_bn")]


# Table 6, in MB: the size of the weights' file, 4 bytes a parameter. The convolutions of VGG16 have 14,710,464 weights
# and 4,224 biases, in the place of which BatchNorm has twice as many parameters and as many running averages.
_VGG16 = 14_710_464
_SCORES = {"pool3": 256 * 11 + 11, "pool4": 512 * 11 + 11, "fc7": 4096 * 11 + 11}
_FC = 49 * 512 * 4096 + 4096 * 4096


@pytest.mark.parametrize(
    ("name", "weights", "features", "megabytes"),
    [
        ("fcn32s", _VGG16 + _FC + _SCORES["fc7"] + 64 * 64 * 11 * 11, 4_224 + 2 * 4096, 539),
        (
            "fcn16s",
            _VGG16 + _FC + _SCORES["fc7"] + _SCORES["pool4"] + (4 * 4 + 32 * 32) * 11 * 11,
            4_224 + 2 * 4096,
            539,
        ),
        ("fcn8s", _VGG16 + _FC + sum(_SCORES.values()) + (2 * 4 * 4 + 16 * 16) * 11 * 11, 4_224 + 2 * 4096, 539),
        (
            "deeplab_largefov",
            _VGG16 + 9 * 512 * 1024 + 1024 * 1024 + 1024 * 11 + 11,
            4_224 + 2 * 1024,
            83,
        ),
    ],
)
def test_vgg_models_have_the_sizes_of_table_6(name, weights, features, megabytes):
    variables = shapes(create_model(name, 11))
    assert count(variables["params"]) == weights + 2 * features
    assert count(variables["batch_stats"]) == 2 * features
    assert count(shapes(create_model(name, 11, batch_norm=False))["params"]) == weights + features
    # With or without running averages, with BatchNorm or with biases: within 1.5 % of what the paper prints.
    for total in (weights + features, weights + 2 * features, weights + 4 * features):
        assert total * 4 / 1e6 == pytest.approx(megabytes, rel=0.015)


def test_vgg_models_have_the_hand_computed_totals():
    assert count(shapes(create_model("fcn8s", 11, batch_norm=False))) == 134_348_929
    assert count(shapes(create_model("fcn8s", 11, batch_norm=False, upsampling="fixed"))) == 134_314_081
    assert count(shapes(create_model("deeplab_largefov", 11, batch_norm=False))) == 20_495_179


@pytest.mark.parametrize("name", _NETWORKS)
def test_fc_features_set_the_width_of_the_fully_connected_layers(name):
    for fields, width in (({"fc_features": 96}, 96), ({"fc_features": 96, "width_multiplier": 0.25}, 24)):
        params = shapes(create_model(name, 11, **fields))["params"]
        assert params["fc6"]["kernel"].shape[-1] == params["fc7"]["kernel"].shape[-1] == width
    default = {"fcn32s": 4096, "fcn16s": 4096, "fcn8s": 4096}.get(name, 1024)
    assert shapes(create_model(name, 11))["params"]["fc7"]["kernel"].shape == (1, 1, default, default)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, (7, 9)),
        ({"dilation": 2}, (7, 9)),
        ({"padding": 0}, (5, 7)),
        ({"padding": 4}, (13, 15)),
        ({"kernel_size": 7, "padding": 0}, (1, 3)),
        ({"kernel_size": 1}, (7, 9)),
    ],
)
@pytest.mark.parametrize("batch_norm", [True, False])
def test_unit_by_hand(fields, expected, batch_norm):
    model = OneUnit(num_classes=2, batch_norm=batch_norm, **fields)
    x = images(2, 7, 9, 3)
    variables = random_variables(model)
    size, dilation, padding = model.kernel_size, model.dilation, model.padding
    reach = dilation * (size - 1)
    border = reach // 2 if padding == "SAME" else padding
    padded = np.pad(np.asarray(x, np.float64), ((0, 0), (border, border), (border, border), (0, 0)))
    kernel = np.asarray(variables["params"]["conv"]["kernel"], np.float64)
    rows, columns = padded.shape[1] - reach, padded.shape[2] - reach
    y = np.zeros((2, rows, columns, 4))
    for i, j in np.ndindex(size, size):
        y += padded[:, dilation * i : dilation * i + rows, dilation * j : dilation * j + columns] @ kernel[i, j]
    if batch_norm:
        assert "bias" not in variables["params"]["conv"]
        params, stats = variables["params"]["conv_bn"], variables["batch_stats"]["conv_bn"]
        y = (y - stats["mean"]) / np.sqrt(stats["var"] + 1e-5) * params["scale"] + params["bias"]
    else:
        y = y + variables["params"]["conv"]["bias"]
    assert (y < 0).any()
    actual = model.apply(variables, x)
    assert actual.shape == (2, *expected, 4)
    np.testing.assert_allclose(actual, np.maximum(y, 0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("fields", [{}, {"dilation": 2}])
def test_unit_moves_its_running_averages_alike_in_both_forms(fields):
    model, x = OneUnit(num_classes=2, batch_norm_momentum=0.75, **fields), images(2, 7, 9, 3)
    variables = random_variables(model)
    _, state = model.apply(variables, x, train=True, mutable=["batch_stats"])
    kernel, dilation = variables["params"]["conv"]["kernel"], model.dilation
    convolved = np.asarray(
        jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", rhs_dilation=(dilation, dilation), dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
    )
    old, new = variables["batch_stats"]["conv_bn"], state["batch_stats"]["conv_bn"]
    np.testing.assert_allclose(new["mean"], 0.75 * old["mean"] + 0.25 * convolved.mean((0, 1, 2)), atol=1e-5)
    np.testing.assert_allclose(new["var"], 0.75 * old["var"] + 0.25 * convolved.var((0, 1, 2)), rtol=1e-4)


def test_unit_shares_statistics_over_devices_when_dilated():
    x = images(4, 7, 9, 3) + jnp.arange(4.0).reshape(4, 1, 1, 1)
    shared = OneUnit(num_classes=2, dilation=2, axis_name="batch")
    variables = random_variables(shared)
    apply = functools.partial(shared.apply, train=True, mutable=["batch_stats"])
    step = jax.pmap(apply, axis_name="batch", in_axes=(None, 0), devices=jax.local_devices()[:2])
    split, state = step(variables, x.reshape(2, 2, 7, 9, 3))
    whole, expected = OneUnit(num_classes=2, dilation=2).apply(variables, x, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(split.reshape(whole.shape), whole, rtol=1e-4, atol=1e-5)
    for key, want in expected["batch_stats"]["conv_bn"].items():
        np.testing.assert_allclose(state["batch_stats"]["conv_bn"][key], np.stack([want, want]), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", _NETWORKS)
def test_dropout_follows_fc6_and_fc7(name):
    log = []

    def record(next_function, args, kwargs, context):
        if context.method_name == "__call__" and isinstance(context.module, nn.Conv | nn.Dropout):
            log.append((context.module.name, getattr(context.module, "rate", None)))
        return next_function(*args, **kwargs)

    model = create_model(name, 2, width_multiplier=1 / 64)
    variables = shapes(model)
    log.clear()
    with nn.intercept_methods(record):
        jax.eval_shape(
            functools.partial(model.apply, train=True, mutable=["batch_stats"]),
            variables,
            jnp.zeros((1, 32, 32, 3)),
            rngs={"dropout": jax.random.key(0)},
        )
    places = [(before[0], rate) for before, (name, rate) in zip(log, log[1:], strict=False) if rate is not None]
    assert places == [("fc6", 0.5), ("fc7", 0.5)]
