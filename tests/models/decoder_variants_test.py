"""Tests for segnet_jax/models/decoder_variants.py."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from segnet_jax.models import create_model
from segnet_jax.models.modules import BatchNorm
from segnet_jax.ops.pooling import pooled_size
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
)

# The encoder's kernels, 7x7, and the scales and biases of its BatchNorm.
_ENCODER = 49 * 64 * (3 + 3 * 64) + 4 * 2 * 64
_CLASSIFIER = 64 * 11 + 11
_DECODER_NORMS = 4 * 2 * 64
_DECONVOLUTIONS = 4 * 8 * 8

# Of each network: parameters by hand for eleven classes, their sum, and millions as Table 1 prints them.
_PARAMETERS = {
    "bilinear_interpolation": (_ENCODER + _CLASSIFIER, 612_747, 0.625),
    "segnet_basic": (_ENCODER + 4 * 49 * 64 * 64 + _DECODER_NORMS + _CLASSIFIER, 1_416_075, 1.425),
    "segnet_basic_encoder_addition": (_ENCODER + 4 * 49 * 64 * 64 + _DECODER_NORMS + _CLASSIFIER, 1_416_075, 1.425),
    "segnet_basic_single_channel_decoder": (_ENCODER + 4 * 49 * 64 + _DECODER_NORMS + _CLASSIFIER, 625_803, 0.625),
    "fcn_basic": (_ENCODER + 4 * _CLASSIFIER + _DECONVOLUTIONS * 11 * 11, 645_868, 0.65),
    "fcn_basic_no_addition": (_ENCODER + _CLASSIFIER + _DECONVOLUTIONS * 11 * 11, 643_723, 0.65),
    "fcn_basic_no_dim_reduction": (_ENCODER + _DECONVOLUTIONS * 64 * 64 + _CLASSIFIER, 1_661_323, 1.625),
    "fcn_basic_no_addition_no_dim_reduction": (_ENCODER + _DECONVOLUTIONS * 64 * 64 + _CLASSIFIER, 1_661_323, 1.625),
}
_VARIANTS = [name for name in _PARAMETERS if name != "segnet_basic"]
_EACH = pytest.mark.parametrize("name", _VARIANTS)


@functools.partial(jax.jit, static_argnums=0)
def evaluate(model, variables, x):
    return model.apply(variables, x)


@pytest.mark.parametrize("name", _PARAMETERS)
def test_variants_have_the_numbers_of_parameters_of_table_1(name):
    expected, total, millions = _PARAMETERS[name]
    params = shapes(create_model(name, 11))["params"]
    assert count(params) == expected == total
    assert total / 1e6 == pytest.approx(millions, rel=0.03)


@_EACH
@pytest.mark.parametrize("size", [(360, 480), (45, 61), (1, 1), (2, 31)])
def test_variants_have_logits_of_the_size_of_the_image(name, size):
    model = create_model(name, 11)
    logits, state = jax.eval_shape(
        functools.partial(model.apply, mutable=["intermediates"]), shapes(model, *size), jnp.zeros((2, *size, 3))
    )
    assert logits.shape == (2, *size, 11)
    for number in range(1, 5):
        size = tuple(pooled_size(length) for length in size)
        assert state["intermediates"][f"pool{number}"][0].shape == (2, *size, 64)


def reference(name, variables, x):
    """Computes the logits by the definitions of section 3.1, in PyTorch."""
    torch = TorchLayers(variables)
    x, pools = torch.image(x), []
    for number in range(1, 5):
        before = x.shape[2:]
        x, indices = torch.pool(torch.unit(x, f"conv{number}", padding=3))
        pools.append((x, indices, before))

    def compressed(x, number):
        return x if "no_dim_reduction" in name else torch.conv(x, f"conv_reduce{number}")

    if name == "bilinear_interpolation":
        x = torch.conv(x, "conv_classifier")
        x = torch.functional.interpolate(x, scale_factor=16, mode="bilinear", align_corners=False)
        height, width = pools[0][2]
        return x[:, :, :height, :width]
    x = compressed(x, 4) if name.startswith("fcn") else x
    for number in range(4, 0, -1):
        _, indices, (height, width) = pools[number - 1]
        if name.startswith("fcn"):
            x = torch.deconv(x, f"deconv{number}", stride=2, padding=3)[:, :, :height, :width]
        else:
            x = torch.unpool(x, indices, (height, width))
            groups = x.shape[1] if "single_channel" in name else 1
            x = torch.norm(torch.conv(x, f"conv_decode{number}", padding=3, groups=groups), f"conv_decode{number}")
        if number > 1 and "no_addition" not in name and "single_channel" not in name:
            finer = pools[number - 2][0]
            x = x + (compressed(finer, number - 1) if name.startswith("fcn") else finer)
    return x if "conv_classifier" not in variables["params"] else torch.conv(x, "conv_classifier")


@_EACH
def test_variants_in_evaluation_equal_pytorch(name):
    model, variables = small_model(name)
    x = images(2, 37, 42, 3)
    expected = reference(name, variables, x)
    assert_parity(evaluate(model, variables, x), expected)


# Unpooling leans to the upper left: where ReLU leaves a window of zeros, the first of them has the index.
@pytest.mark.parametrize("name", [name for name in _VARIANTS if not name.startswith("segnet")])
def test_variants_lean_to_no_side(name):
    # Four halvings of 32 columns leave no odd one, so the mirrored network sees the mirrored image alike.
    model, variables = small_model(name)
    x = images(1, 16, 32, 3)
    logits = evaluate(model, variables, x)
    flipped = evaluate(model, mirrored(variables), x[:, :, ::-1])
    np.testing.assert_allclose(flipped[:, :, ::-1], logits, rtol=1e-3, atol=1e-4 * np.abs(logits).max())


@pytest.mark.parametrize("name", [name for name in _VARIANTS if name.startswith("fcn")])
def test_fcn_basic_starts_with_deconvolutions_that_interpolate(name):
    channels = 64 if "no_dim_reduction" in name else 11
    params = jax.jit(create_model(name, 11).init)(jax.random.key(0), jnp.zeros((1, 16, 16, 3)))["params"]
    line = np.array([1, 3, 5, 7, 7, 5, 3, 1]) / 16
    for number in range(1, 5):
        kernel = np.asarray(params[f"deconv{number}"]["kernel"])
        expected = np.einsum("i,j,cf->ijcf", line, line, np.eye(channels))
        np.testing.assert_allclose(kernel, expected, rtol=1e-6)


def test_bilinear_interpolation_keeps_a_constant():
    model = create_model("bilinear_interpolation", 3, width_multiplier=1 / 16)
    variables = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes(model))
    scores = jnp.array([0.5, -2.0, 3.0])
    variables["params"]["conv_classifier"]["bias"] = scores
    logits = evaluate(model, variables, images(1, 37, 50, 3))
    np.testing.assert_allclose(logits, np.broadcast_to(scores, (1, 37, 50, 3)), rtol=1e-6)


@_EACH
def test_variants_have_gradients_of_every_parameter(name):
    model, variables = small_model(name, dropout_rate=0.1)
    assert_all_reached(gradients(model, variables, images(2, 33, 48, 3)))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("segnet_basic_single_channel_decoder", ["conv3", "conv4", "conv_decode4", "conv_decode3"]),
        ("segnet_basic_encoder_addition", ["conv3", "conv4", "conv_decode4", "conv_decode3"]),
        ("fcn_basic", ["conv3", "conv4"]),
        ("bilinear_interpolation", ["conv3", "conv4"]),
    ],
)
def test_variants_have_dropout_where_segnet_basic_has_it(name, expected):
    log = []

    def record(next_function, args, kwargs, context):
        if context.method_name == "__call__" and isinstance(context.module, BatchNorm | nn.Dropout):
            log.append(context.module.name)
        return next_function(*args, **kwargs)

    def places(rate):
        model = create_model(name, 2, width_multiplier=1 / 64, **({} if rate is None else {"dropout_rate": rate}))
        variables = shapes(model)
        log.clear()
        with nn.intercept_methods(record):
            jax.eval_shape(
                functools.partial(model.apply, train=True, mutable=["batch_stats"]),
                variables,
                jnp.zeros((1, 32, 32, 3)),
                rngs={"dropout": jax.random.key(0)},
            )
        return [before.removesuffix("_bn") for before, name in zip(log, log[1:], strict=False) if "Dropout" in name]

    assert places(0.5) == expected
    # As the paper trained them.
    assert places(None) == []


@pytest.mark.parametrize("name", ["segnet_basic_single_channel_decoder", "fcn_basic"])
def test_variants_rematerialised_change_nothing(name):
    model, variables = small_model(name)
    frugal = create_model(name, 3, width_multiplier=1 / 16, remat="stages", remat_stages=(1, 2, 3, 4))
    x = images(1, 20, 24, 3)
    actual, expected = (jax.tree.leaves(gradients(network, variables, x)) for network in (frugal, model))
    for got, want in zip(actual, expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-4 * np.abs(want).max())


@_EACH
def test_variants_in_half_precision(name):
    model = create_model(name, 3, width_multiplier=1 / 16, dtype=jnp.bfloat16)
    variables = shapes(model)
    logits, state = jax.eval_shape(
        functools.partial(model.apply, train=True, mutable=["batch_stats"]), variables, jnp.zeros((1, 32, 32, 3))
    )
    assert logits.dtype == jnp.bfloat16
    for tree in (variables, state):
        assert {leaf.dtype for leaf in jax.tree.leaves(tree)} == {jnp.dtype(jnp.float32)}


def test_single_channel_decoder_has_filters_that_see_only_their_map():
    model, variables = small_model("segnet_basic_single_channel_decoder")
    kernel = variables["params"]["conv_decode4"]["kernel"]
    assert kernel.shape == (7, 7, 1, 4)
    x = images(1, 32, 32, 3)

    def decoded(variables):
        state = model.apply(variables, x, capture_intermediates=lambda module, _: module.name == "conv_decode4")[1]
        return state["intermediates"]["conv_decode4"]["__call__"][0]

    before = decoded(variables)
    variables["params"]["conv_decode4"]["kernel"] = kernel.at[..., 2].multiply(-2.0)
    after = decoded(variables)
    np.testing.assert_allclose(after, before * np.array([1, 1, -2, 1]), rtol=1e-5, atol=1e-5)
    assert np.abs(before).max() > 0.1
