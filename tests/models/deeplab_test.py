"""Tests for segnet_jax/models/deeplab.py."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from segnet_jax.models import create_model
from segnet_jax.models.deeplab import _max_pool
from tests.helpers.networks import (
    TorchLayers,
    assert_all_reached,
    assert_parity,
    gradients,
    images,
    mirrored,
    shapes,
    small_model,
    vgg_stages,
)

_SMALL = {"width_multiplier": 1 / 16}


@functools.partial(jax.jit, static_argnums=0)
def evaluate(model, variables, x):
    """Returns logits, and the scores before they are interpolated."""
    logits, state = model.apply(variables, x, capture_intermediates=lambda module, _: module.name == "fc8")
    return logits, state["intermediates"]["fc8"]["__call__"][0]


def traced(model, size):
    """Returns the shapes of logits, pools and the output of every convolution for an image of `size`."""
    apply = functools.partial(
        model.apply, capture_intermediates=lambda module, _: isinstance(module, nn.Conv), mutable=["intermediates"]
    )
    logits, state = jax.eval_shape(apply, shapes(model, *size), jnp.zeros((1, *size, 3)))
    return logits, state["intermediates"]


@pytest.mark.parametrize("size", [(360, 480), (321, 321), (45, 61), (1, 1), (2, 31), (8, 9)])
def test_deeplab_has_logits_of_the_size_of_the_image(size):
    logits, _ = traced(create_model("deeplab_largefov", 11), size)
    assert logits.shape == (1, *size, 11)


@pytest.mark.parametrize(
    ("size", "pools"),
    [
        # The authors' training crop; the SegNet paper's images.
        ((321, 321), [(161, 161), (81, 81), (41, 41), (41, 41), (41, 41)]),
        ((360, 480), [(181, 241), (91, 121), (46, 61), (46, 61), (46, 61)]),
    ],
)
def test_deeplab_has_an_output_stride_of_8(size, pools):
    _, found = traced(create_model("deeplab_largefov", 11), size)
    assert [found[f"pool{number}"][0].shape[1:3] for number in range(1, 6)] == pools
    assert found["fc8"]["__call__"][0].shape == (1, *pools[-1], 11)


def test_deeplab_has_its_dilations():
    log = {}

    def record(next_function, args, kwargs, context):
        if context.method_name == "__call__" and isinstance(context.module, nn.Conv):
            module = context.module
            log[module.name] = module.kernel_size, module.kernel_dilation
        return next_function(*args, **kwargs)

    with nn.intercept_methods(record):
        shapes(create_model("deeplab_largefov", 11))
    dilations = {name: dilation if dilation != 1 else (1, 1) for name, (_, dilation) in log.items()}
    dilations = {name: dilation[0] if isinstance(dilation, tuple) else dilation for name, dilation in dilations.items()}
    expected = dict.fromkeys((name for stage in vgg_stages() for name in stage), 1)
    expected |= dict.fromkeys(["conv5_1", "conv5_2", "conv5_3"], 2)
    assert dilations == expected | {"fc6": 12, "fc7": 1, "fc8": 1}
    assert log["fc6"][0] == (3, 3)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (8, 9), (7, 10)])
def test_max_pool_is_caffes(size, stride):
    x = np.random.default_rng(0).normal(size=(1, *size, 2)).astype(np.float32) - 5
    # Windows that begin one pixel before the image, as many as begin in it or right behind it.
    counts = [n if stride == 1 else n // 2 + 1 for n in size]
    expected = np.empty((1, *counts, 2), np.float32)
    for i, j in np.ndindex(*counts):
        rows, columns = (slice(max(0, stride * k - 1), stride * k + 2) for k in (i, j))
        expected[:, i, j] = x[:, rows, columns].max((1, 2))
    np.testing.assert_array_equal(_max_pool(jnp.asarray(x), stride), expected)


def test_deeplab_interpolates_scores_between_every_eighth_pixel():
    model, variables = small_model("deeplab_largefov", **_SMALL)
    logits, scores = evaluate(model, variables, images(1, 33, 49, 3))
    assert scores.shape == (1, 5, 7, 3)
    assert scores.std() > 0.01
    np.testing.assert_allclose(logits[:, ::8, ::8], scores, rtol=1e-4, atol=1e-5)
    # Three quarters of the way from score 1 to score 2 of a row, a quarter from row 0 to row 1.
    along = scores[:, :, 1] / 4 + scores[:, :, 2] * 3 / 4
    np.testing.assert_allclose(logits[:, 2, 14], along[:, 0] * 3 / 4 + along[:, 1] / 4, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("size", "batch_norm"), [((37, 58), True), ((33, 41), False)])
def test_deeplab_in_evaluation_equals_pytorch(size, batch_norm):
    model, variables = small_model("deeplab_largefov", batch_norm=batch_norm, **_SMALL)
    image = images(1, *size, 3)
    torch = TorchLayers(variables)
    x, functional = torch.image(image), torch.functional
    for number, names in enumerate(vgg_stages(), start=1):
        for layer in names:
            x = torch.unit(x, layer, padding=2, dilation=2) if number == 5 else torch.unit(x, layer, padding=1)
        x = functional.max_pool2d(x, 3, 2 if number <= 3 else 1, padding=1, ceil_mode=True)
    x = functional.avg_pool2d(x, 3, 1, padding=1)
    x = torch.conv(torch.unit(torch.unit(x, "fc6", padding=12, dilation=12), "fc7"), "fc8")
    zoomed = [8 * (n - 1) + 1 for n in x.shape[2:]]
    x = functional.interpolate(x, size=zoomed, mode="bilinear", align_corners=True)
    assert_parity(evaluate(model, variables, image)[0], x[:, :, : size[0], : size[1]])


def test_deeplab_leans_to_no_side():
    model, variables = small_model("deeplab_largefov", **_SMALL)
    x = images(1, 20, 41, 3)
    logits, _ = evaluate(model, variables, x)
    flipped, _ = evaluate(model, mirrored(variables), x[:, :, ::-1])
    np.testing.assert_allclose(flipped[:, :, ::-1], logits, rtol=1e-3, atol=1e-4 * np.abs(logits).max())


@pytest.mark.parametrize("batch_norm", [True, False])
def test_deeplab_has_gradients_of_every_parameter(batch_norm):
    model, variables = small_model("deeplab_largefov", batch_norm=batch_norm, **_SMALL)
    # More than 12 scores in a row, so that the outer taps of fc6 see something.
    reached = gradients(model, variables, images(1, 112, 120, 3))
    assert_all_reached(reached)
    assert np.abs(reached["fc6"]["kernel"]).max((2, 3)).min() > 1e-9
