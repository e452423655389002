"""Tests for segnet_jax/models/fcn.py."""

import functools

import jax
import numpy as np
import pytest

from segnet_jax.models import create_model
from tests.helpers.networks import assert_logits, images, logits_of, shapes, small_model, vgg_stages
from tests.helpers.numpy_layers import pool, unpool

# Of each network: the scored pools, each with the upsampling that leads to it and FCN's crop offset, and the last
# upsampling with its stride and offset.
_UPSAMPLINGS = {
    "fcn32s": ([], ("upscore", 32, 19)),
    "fcn16s": ([(4, "upscore2", 5)], ("upscore16", 16, 27)),
    "fcn8s": ([(4, "upscore2", 5), (3, "upscore_pool4", 9)], ("upscore8", 8, 31)),
}
_SMALL = {"width_multiplier": 1 / 16, "fc_features": 96}


def crop(x, offset, size):
    return x[offset : offset + size[0], offset : offset + size[1]]


def reference(name, padded, unpools, layers, x):
    """Computes the logits by FCN's own train.prototxt with its crop offsets, or with same-size convolutions."""
    size, pools, pooled_from = x.shape[:2], {}, {}
    for number, names in enumerate(vgg_stages(), start=1):
        for layer in names:
            x = layers.unit(x, layer, padding=100 if padded and layer == "conv1_1" else 1)
        shape = x.shape
        x, places = pool(x)
        pools[number], pooled_from[number] = x, (places, shape)
    x = layers.unit(layers.unit(x, "fc6", padding=0 if padded else 3), "fc7")
    x = layers.conv(x, "score_fr")
    if unpools:
        if padded:
            x = np.pad(x, ((3, 3), (3, 3), (0, 0)))
        for number in (5, 4, 3, 2, 1):
            if f"score_pool{number}" in layers.params:
                x = x + layers.conv(pools[number], f"score_pool{number}")
            x = unpool(layers.conv(x, f"unpool{number}_spread"), *pooled_from[number])
            x = layers.conv(x, f"unpool{number}_score")
        return crop(x, 99 if padded else 0, size)
    skips, (last, stride, last_offset) = _UPSAMPLINGS[name]
    for number, layer, offset in skips:
        skip = layers.conv(pools[number], f"score_pool{number}")
        x = layers.deconv(x, layer, stride=2)
        x = x + crop(skip, offset, x.shape) if padded else crop(x, 1, skip.shape) + skip
    return crop(layers.deconv(x, last, stride=stride), last_offset if padded else stride // 2, size)


_PADDED = {"reference_padding": True, "batch_norm": False}


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        *[(name, fields) for name in _UPSAMPLINGS for fields in ({}, _PADDED)],
        ("fcn32s", {"upsampling": "unpool"}),
        ("fcn8s", {"upsampling": "unpool"}),
        ("fcn16s", {"upsampling": "unpool", **_PADDED}),
    ],
)
def test_fcn_in_evaluation_equals_a_reference(name, fields):
    model, variables = small_model(name, **_SMALL, **fields)
    expected = functools.partial(reference, name, "reference_padding" in fields, "upsampling" in fields)
    # Odd and even sizes at every pool.
    assert_logits(model, variables, images(1, 37, 74, 3), expected)


def test_fcn_that_unpools_has_the_layers_of_the_plain_one_but_for_the_upsampling():
    plain, unpooling = (shapes(create_model("fcn8s", 3, upsampling=kind))["params"] for kind in ("fixed", "unpool"))
    assert {name: plain[name] for name in plain} == {name: unpooling[name] for name in plain}
    added = {name: {key: leaf.shape for key, leaf in unpooling[name].items()} for name in unpooling.keys() - plain}
    assert added == {
        name: layer
        for number, features in enumerate((64, 128, 256, 512, 512), start=1)
        for name, layer in {
            f"unpool{number}_spread": {"kernel": (1, 1, 3, features)},
            f"unpool{number}_score": {"kernel": (3, 3, features, 3), "bias": (3,)},
        }.items()
    }


@pytest.mark.parametrize("name", ["fcn8s", *(pytest.param(n, marks=pytest.mark.slow) for n in ("fcn16s", "fcn32s"))])
def test_fcn_with_learnt_upsampling_starts_as_with_the_fixed_one(name):
    learnt, fixed = (create_model(name, 3, upsampling=kind, **_SMALL) for kind in ("learnt", "fixed"))
    x = images(1, 50, 70, 3)
    variables = jax.jit(learnt.init)(jax.random.key(0), x)
    kept = shapes(fixed)["params"]
    upsamplings = {layer for layer in variables["params"] if layer.startswith("upscore")}
    assert variables["params"].keys() - kept.keys() == upsamplings != set()
    expected = logits_of(learnt, variables, x)
    assert expected.std() > 0.01
    fewer = {**variables, "params": {layer: variables["params"][layer] for layer in kept}}
    np.testing.assert_allclose(logits_of(fixed, fewer, x), expected, rtol=1e-4, atol=1e-5)
