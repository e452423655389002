"""Tests for segnet_jax/models/fcn.py."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segnet_jax.models import create_model
from segnet_jax.models.upsampling import ConvTranspose
from tests.networks import (
    TorchLayers,
    assert_all_reached,
    assert_parity,
    gradients,
    images,
    mirrored,
    random_variables,
    shapes,
    small_model,
    traced,
    vgg_stages,
)

_NAMES = ["fcn32s", "fcn16s", "fcn8s"]
_EACH = pytest.mark.parametrize("name", _NAMES)
_SMALL = {"width_multiplier": 1 / 16, "fc_features": 96}


@functools.partial(jax.jit, static_argnums=0)
def evaluate(model, variables, x):
    return model.apply(variables, x)


@_EACH
@pytest.mark.parametrize(
    ("size", "fields"),
    [
        ((360, 480), {}),
        ((45, 61), {"upsampling": "fixed"}),
        ((1, 1), {}),
        ((1, 1), {"reference_padding": True}),
        ((500, 333), {"reference_padding": True, "upsampling": "fixed"}),
    ],
)
def test_logits_have_the_size_of_the_image(name, size, fields):
    logits, _ = traced(create_model(name, 11, **fields), size)
    assert logits.shape == (2, *size, 11)


@_EACH
def test_layers(name):
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
    """The layers of FCN's own train.prototxt, with its crop offsets; or with same-size convolutions throughout."""
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


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("fcn32s", {"reference_padding": True}),
        ("fcn16s", {}),
        ("fcn16s", {"reference_padding": True, "batch_norm": False}),
        ("fcn8s", {}),
        ("fcn8s", {"reference_padding": True}),
    ],
)
def test_evaluation_equals_pytorch(name, fields):
    model, variables = small_model(name, **_SMALL, **fields)
    x = images(1, 37, 74, 3)
    assert_parity(evaluate(model, variables, x), reference(name, variables, x, "reference_padding" in fields))


@pytest.mark.parametrize(("name", "width", "fields"), [("fcn8s", 64, {}), ("fcn16s", 58, {"reference_padding": True})])
def test_nothing_leans_to_one_side(name, width, fields):
    # 64 columns halve to 2 without an odd one, and 58 + 198 to 8.
    model, variables = small_model(name, **_SMALL, **fields)
    x = images(1, 33, width, 3)
    logits = evaluate(model, variables, x)
    flipped = evaluate(model, mirrored(variables), x[:, :, ::-1])
    np.testing.assert_allclose(flipped[:, :, ::-1], logits, rtol=1e-3, atol=1e-4 * np.abs(logits).max())


def constant_scores(name, scores, **fields):
    """A network whose every score is the bias of score_fr."""
    model = create_model(name, 3, upsampling="fixed", **_SMALL, **fields)
    variables = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes(model))
    variables["params"]["score_fr"]["bias"] = jnp.asarray(scores)
    return model, variables


def test_fixed_upsampling_of_constant_scores():
    scores = np.array([1.0, -2.0, 0.5])
    model, variables = constant_scores("fcn8s", scores)
    logits = evaluate(model, variables, jnp.zeros((1, 96, 128, 3)))
    # Each doubling dims its first row, and what is made of it: row 0 of pool4, rows 0 to 2 of pool3. Row 3 of pool3
    # lies at pixel 27.5.
    inside = logits[0, 28:-28, 28:-28]
    np.testing.assert_allclose(inside, np.broadcast_to(scores, inside.shape), rtol=1e-5)
    assert abs(logits[0, 27, 64, 0]) < 0.999


# Score f lies at the centre of pixels 32 f to 32 f + 31. With FCN's own padding the places are 3 pixels less, by which
# 100 pixels exceed three scores, the half of fc6's kernel, and conv1_1's own pixel.
@pytest.mark.parametrize(("fields", "first"), [({}, 15.5), ({"reference_padding": True}, 12.5)])
def test_fixed_upsampling_by_32_is_linear_between_the_scores(fields, first):
    scores = np.array([1.0, -2.0, 0.5])
    model, variables = constant_scores("fcn32s", scores, **fields)
    logits = evaluate(model, variables, jnp.zeros((1, 64, 64, 3)))
    # Beyond the outermost scores, what is interpolated falls by 1/32 per pixel.
    distances = np.abs(np.arange(64)[:, None] - (first + 32 * np.arange(2 if first == 15.5 else 3)))
    weights = np.maximum(0, 1 - distances / 32).sum(1)
    assert weights[0] == 1 - first / 32
    np.testing.assert_allclose(logits[0], weights[:, None, None] * weights[None, :, None] * scores, rtol=1e-5)


def test_learnt_upsampling_starts_as_the_fixed_one():
    learnt, fixed = (create_model("fcn8s", 3, upsampling=kind, **_SMALL) for kind in ("learnt", "fixed"))
    x = images(1, 37, 74, 3)
    variables = random_variables(learnt)
    upscores = {}
    for layer, size in (("upscore2", 4), ("upscore_pool4", 4), ("upscore8", 16)):
        params = jax.jit(ConvTranspose(3, size, size // 2).init, static_argnums=2)(
            jax.random.key(0), jnp.zeros((1, 2, 2, 3)), (4, 4)
        )["params"]
        assert params["kernel"].shape == variables["params"][layer]["kernel"].shape
        upscores[layer] = params
    fewer = {**variables, "params": {k: v for k, v in variables["params"].items() if k not in upscores}}
    expected = evaluate(learnt, {**variables, "params": {**fewer["params"], **upscores}}, x)
    assert expected.std() > 0.01
    np.testing.assert_allclose(evaluate(fixed, fewer, x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("fields", [{}, {"upsampling": "fixed", "batch_norm": False}])
def test_gradients_reach_every_parameter(fields):
    model, variables = small_model("fcn8s", **_SMALL, **fields)
    reached = gradients(model, variables, images(2, 48, 64, 3))
    assert any(layer.startswith("upscore") for layer in reached) == (model.upsampling == "learnt")
    assert_all_reached(reached)
