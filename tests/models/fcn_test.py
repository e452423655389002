"""Tests for segnet_jax/models/fcn.py."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segnet_jax.models import create_model
from tests.helpers.networks import (
    TorchLayers,
    assert_all_reached,
    assert_parity,
    count,
    gradients,
    images,
    mirrored,
    shapes,
    small_model,
    vgg_stages,
)

_NAMES = ["fcn32s", "fcn16s", "fcn8s"]
_EACH = pytest.mark.parametrize("name", _NAMES)
_SMALL = {"width_multiplier": 1 / 16, "fc_features": 96}


@functools.partial(jax.jit, static_argnums=0)
def evaluate(model, variables, x):
    return model.apply(variables, x)


@_EACH
@pytest.mark.parametrize("reference_padding", [False, True])
@pytest.mark.parametrize("size", [(360, 480), (45, 61), (1, 1), (2, 31), (500, 333)])
def test_fcn_has_logits_of_the_size_of_the_image(name, size, reference_padding):
    for upsampling in ("learnt", "fixed"):
        model = create_model(name, 11, reference_padding=reference_padding, upsampling=upsampling)
        logits = jax.eval_shape(model.apply, shapes(model, *size), jnp.zeros((2, *size, 3)))
        assert logits.shape == (2, *size, 11)


@_EACH
def test_fcn_has_its_layers(name):
    params = jax.tree.map(jnp.shape, shapes(create_model(name, 11))["params"])
    heads = {layer: leaves for layer, leaves in params.items() if not layer.startswith("conv")}
    expected = {
        "fc6": {"kernel": (7, 7, 512, 4096)},
        "fc6_bn": {"scale": (4096,), "bias": (4096,)},
        "fc7": {"kernel": (1, 1, 4096, 4096)},
        "fc7_bn": {"scale": (4096,), "bias": (4096,)},
        "score_fr": {"kernel": (1, 1, 4096, 11), "bias": (11,)},
    }
    deconvolutions = {"fcn32s": {"upscore": 64}, "fcn16s": {"upscore2": 4, "upscore16": 32}}.get(
        name, {"upscore2": 4, "upscore_pool4": 4, "upscore8": 16}
    )
    pools = {"fcn32s": {}, "fcn16s": {"score_pool4": 512}}.get(name, {"score_pool4": 512, "score_pool3": 256})
    expected |= {layer: {"kernel": (1, 1, depth, 11), "bias": (11,)} for layer, depth in pools.items()}
    fixed = jax.tree.map(jnp.shape, shapes(create_model(name, 11, upsampling="fixed"))["params"])
    assert {layer: leaves for layer, leaves in fixed.items() if not layer.startswith("conv")} == expected
    expected |= {layer: {"kernel": (size, size, 11, 11)} for layer, size in deconvolutions.items()}
    assert heads == expected


def reference(name, variables, x, padded):
    """Computes the logits by FCN's own train.prototxt with its crop offsets, or with same-size convolutions."""
    torch = TorchLayers(variables)
    size, x, pools = x.shape[1:3], torch.image(x), {}
    for number, names in enumerate(vgg_stages(), start=1):
        for layer in names:
            x = torch.unit(x, layer, padding=100 if padded and layer == "conv1_1" else 1)
        x = pools[number] = torch.pool(x)[0]
    x = torch.unit(torch.unit(x, "fc6", padding=0 if padded else 3), "fc7")

    def crop(x, offset, rows, columns):
        return x[:, :, offset : offset + rows, offset : offset + columns]

    x = torch.conv(x, "score_fr")
    skips = {"fcn32s": [], "fcn16s": [(4, "upscore2", 5)]}.get(name, [(4, "upscore2", 5), (3, "upscore_pool4", 9)])
    for number, layer, offset in skips:
        skip = torch.conv(pools[number], f"score_pool{number}")
        if padded:
            x = torch.deconv(x, layer, stride=2)
            x = x + crop(skip, offset, *x.shape[2:])
        else:
            x = crop(torch.deconv(x, layer, stride=2), 1, *skip.shape[2:]) + skip
    last, stride, offset = {"fcn32s": ("upscore", 32, 19), "fcn16s": ("upscore16", 16, 27)}.get(
        name, ("upscore8", 8, 31)
    )
    return crop(torch.deconv(x, last, stride=stride), offset if padded else stride // 2, *size)


@_EACH
@pytest.mark.parametrize("fields", [{}, {"reference_padding": True, "batch_norm": False}])
def test_fcn_in_evaluation_equals_pytorch(name, fields):
    model, variables = small_model(name, **_SMALL, **fields)
    x = images(1, 37, 74, 3)
    assert_parity(evaluate(model, variables, x), reference(name, variables, x, "reference_padding" in fields))


@_EACH
def test_fcn_leans_to_no_side(name):
    # 64 columns halve to 2 without an odd one, and 58 + 198 to 8.
    for width, fields in ((64, {}), (58, {"reference_padding": True})):
        model, variables = small_model(name, **_SMALL, **fields)
        x = images(1, 33, width, 3)
        logits = evaluate(model, variables, x)
        flipped = evaluate(model, mirrored(variables), x[:, :, ::-1])
        np.testing.assert_allclose(flipped[:, :, ::-1], logits, rtol=1e-3, atol=1e-4 * np.abs(logits).max())


def constant_scores(name, scores, **fields):
    """Creates a network whose every score is the bias of score_fr."""
    model = create_model(name, 3, upsampling="fixed", **_SMALL, **fields)
    variables = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes(model))
    variables["params"]["score_fr"]["bias"] = jnp.asarray(scores)
    return model, variables


@_EACH
@pytest.mark.parametrize("reference_padding", [False, True])
def test_fcn_with_fixed_upsampling_of_constant_scores(name, reference_padding):
    scores = np.array([1.0, -2.0, 0.5])
    model, variables = constant_scores(name, scores, reference_padding=reference_padding)
    logits = evaluate(model, variables, jnp.zeros((1, 160, 192, 3)))
    # Nearer to the border, some of the upsamplings lack a neighbour, with the reference's padding too.
    inside = logits[0, 32:-32, 32:-32]
    np.testing.assert_allclose(inside, np.broadcast_to(scores, inside.shape), rtol=1e-5)


def test_fcn_with_fixed_upsampling_fades_at_the_border():
    scores = np.array([1.0, -2.0, 0.5])
    model, variables = constant_scores("fcn32s", scores)
    logits = np.asarray(evaluate(model, variables, jnp.zeros((1, 64, 64, 3))))[0]
    # Score 0 lies at pixel 15.5, and nothing before it; its weight falls by 1/32 per pixel.
    weights = np.ones(64)
    weights[:16] = 1 - (15.5 - np.arange(16)) / 32
    weights[48:] = weights[15::-1]
    np.testing.assert_allclose(logits, weights[:, None, None] * weights[None, :, None] * scores, rtol=1e-5)


@_EACH
def test_fcn_with_learnt_upsampling_starts_as_with_the_fixed_one(name):
    learnt, fixed = (create_model(name, 3, upsampling=kind, **_SMALL) for kind in ("learnt", "fixed"))
    x = images(1, 50, 70, 3)
    variables = jax.jit(learnt.init)(jax.random.key(0), x)
    kept = shapes(fixed)["params"]
    assert {layer for layer in variables["params"] if layer not in kept} == {
        layer for layer in variables["params"] if layer.startswith("upscore")
    }
    fewer = {**variables, "params": {layer: variables["params"][layer] for layer in kept}}
    assert count(fewer["params"]) < count(variables["params"])
    expected = evaluate(learnt, variables, x)
    assert expected.std() > 0.01
    np.testing.assert_allclose(evaluate(fixed, fewer, x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "fields"),
    [("fcn8s", {}), ("fcn8s", {"upsampling": "fixed", "batch_norm": False}), ("fcn16s", {"upsampling": "fixed"})],
)
def test_fcn_has_gradients_of_every_parameter(name, fields):
    model, variables = small_model(name, **_SMALL, **fields)
    reached = gradients(model, variables, images(2, 48, 64, 3))
    assert any(layer.startswith("upscore") for layer in reached) == (model.upsampling == "learnt")
    assert_all_reached(reached)
