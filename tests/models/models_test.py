"""Tests for segnet_jax/models/__init__.py, and of what all networks have in common."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from segnet_jax.errors import InputError
from segnet_jax.models import MODELS, create_model, fields_of, models_with_vgg16
from segnet_jax.models.modules import BatchNorm
from segnet_jax.models.segnet import SegNetBasic
from tests.helpers.networks import (
    assert_all_reached,
    count,
    gradients,
    images,
    logits_of,
    mirrored,
    shapes,
    small_model,
)

_EACH = pytest.mark.parametrize("name", MODELS)
_FCN = ("fcn32s", "fcn16s", "fcn8s")


# The papers' numbers of parameters, in millions: Table 1 of arXiv 1511.00561, whose Table 6 has MB of 4 bytes a
# parameter, and section 4 of arXiv 1505.07293. Neither width of DeconvNet explains the 877 MB that Table 6 has.
@pytest.mark.parametrize(
    ("name", "fields", "parameters", "published"),
    [
        ("segnet", {}, 29_441_419, 117 / 4),
        ("segnet_basic", {}, 1_416_075, 1.425),
        ("segnet_basic_encoder_addition", {}, 1_416_075, 1.425),
        ("segnet_basic_single_channel_decoder", {}, 625_803, 0.625),
        ("fcn_basic", {}, 645_868, 0.65),
        ("fcn_basic_no_addition", {}, 643_723, 0.65),
        ("fcn_basic_no_dim_reduction", {}, 1_661_323, 1.625),
        ("fcn_basic_no_addition_no_dim_reduction", {}, 1_661_323, 1.625),
        ("bilinear_interpolation", {}, 612_747, 0.625),
        ("fcn32s", {}, 134_813_643, 539 / 4),
        ("fcn16s", {}, 134_449_510, 539 / 4),
        ("fcn8s", {}, 134_361_345, 539 / 4),
        ("fcn8s", {"batch_norm": False}, 134_348_929, 539 / 4),
        ("fcn8s", {"batch_norm": False, "upsampling": "fixed"}, 134_314_081, 539 / 4),
        ("fcn8s", {"upsampling": "unpool"}, 134_488_472, 539 / 4),
        ("fcn32s", {"upsampling": "unpool"}, 134_480_002, 539 / 4),
        ("deeplab_largefov", {}, 20_501_451, 83 / 4),
        ("deeplab_largefov", {"batch_norm": False}, 20_495_179, 83 / 4),
        ("deconvnet", {}, 81_906_699, None),
        ("segnet_flat", {}, 1_415_040, 1.4),
        # A hidden layer of five features before the classifier, and two more pairs.
        ("segnet_flat", {"hidden_features": 5}, 1_415_040 - 64 * 11 + 64 * 5 + 5 * 11, None),
        ("segnet_flat", {"pairs": 6}, 1_415_040 + 4 * 49 * 64 * 64, None),
    ],
)
def test_networks_have_the_numbers_of_parameters_of_the_papers(name, fields, parameters, published):
    assert count(shapes(create_model(name, 11, **fields))["params"]) == parameters
    assert published is None or parameters / 1e6 == pytest.approx(published, rel=0.03)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        *[(name, {}) for name in MODELS],
        *[(name, {"reference_padding": True}) for name in _FCN],
        *[(name, {"reference_padding": True, "upsampling": "fixed"}) for name in _FCN],
        ("fcn8s", {"upsampling": "unpool"}),
        ("fcn16s", {"upsampling": "unpool", "reference_padding": True}),
    ],
)
@pytest.mark.parametrize(
    "size", [(45, 61), (1, 1), *(pytest.param(size, marks=pytest.mark.ci) for size in [(360, 480), (2, 31)])]
)
def test_networks_have_logits_of_the_size_of_the_image(name, fields, size):
    model = create_model(name, 11, **fields)
    logits, state = jax.eval_shape(
        functools.partial(model.apply, mutable=["intermediates"]), shapes(model), jnp.zeros((2, *size, 3))
    )
    assert (logits.shape, logits.dtype) == ((2, *size, 11), jnp.float32)
    if name != "deeplab_largefov" and not fields:
        for number in range(1, model.num_stages + 1):
            size = tuple(-(-length // 2) for length in size)
            assert state["intermediates"][f"pool{number}"][0].shape[1:3] == size


@_EACH
def test_networks_in_half_precision_have_float32_variables(name):
    model = create_model(name, 3, width_multiplier=1 / 16, dtype=jnp.bfloat16)
    variables = shapes(model)
    apply = functools.partial(model.apply, train=True, mutable=["batch_stats", "intermediates"])
    rngs = {"dropout": jax.random.key(0)}
    logits, state = jax.eval_shape(functools.partial(apply, rngs=rngs), variables, jnp.zeros((1, 32, 32, 3)))
    assert {leaf.dtype for leaf in (logits, *jax.tree.leaves(state["intermediates"]))} == {jnp.dtype(jnp.bfloat16)}
    assert {leaf.dtype for leaf in jax.tree.leaves((variables, state.get("batch_stats")))} == {jnp.dtype(jnp.float32)}


# DeepLab's fc6 reaches 12 scores to each side. DeconvNet's gives one value per image and feature, and BatchNorm needs
# several.
_TRAINING_SHAPES = {"deeplab_largefov": (1, 112, 120, 3), "deconvnet": (4, 40, 64, 3)}


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("segnet", {}),
        ("segnet_basic", {}),
        # The layers of FCN-32s and FCN-16s are among those of FCN-8s.
        *[
            pytest.param(name, {}, marks=pytest.mark.ci)
            for name in MODELS
            if name not in ("segnet", "segnet_basic", "fcn32s", "fcn16s")
        ],
        *[
            pytest.param(name, fields, marks=pytest.mark.ci)
            for name, fields in [
                ("fcn8s", {"upsampling": "fixed", "batch_norm": False}),
                ("fcn8s", {"upsampling": "unpool", "remat": "activations"}),
                ("deeplab_largefov", {"batch_norm": False}),
                ("deconvnet", {"batch_norm": False}),
            ]
        ],
    ],
)
def test_networks_have_gradients_of_every_parameter(name, fields):
    model, variables = small_model(name, **fields)
    assert_all_reached(gradients(model, variables, images(*_TRAINING_SHAPES.get(name, (2, 33, 48, 3)))))


@pytest.mark.parametrize(
    "name",
    [
        "segnet_flat",
        *(pytest.param(name, marks=pytest.mark.ci) for name in ("segnet_basic_single_channel_decoder", "fcn_basic")),
    ],
)
def test_networks_rematerialised_have_the_same_gradients(name):
    model, variables = small_model(name)
    x = images(2, 33, 48, 3)
    frugal = gradients(model.clone(remat="stages", remat_stages=(1, 2, 3, 4)), variables, x)
    for actual, want in zip(*map(jax.tree.leaves, (frugal, gradients(model, variables, x))), strict=True):
        np.testing.assert_allclose(actual, want, rtol=1e-3, atol=1e-4 * np.abs(want).max())


# Widths whose every halving is even, so that the mirrored network sees the mirrored image alike; 58 + 198 also is one.
# Unpooling leans to the upper left: where ReLU leaves a window of zeros, the first of them has the index.
@pytest.mark.parametrize(
    ("name", "size", "fields"),
    [
        *[(name, (16, 32), {}) for name in MODELS if name.startswith(("fcn_basic", "bilinear"))],
        *[(name, (33, 64), {}) for name in _FCN],
        *[(name, (33, 58), {"reference_padding": True}) for name in _FCN],
        ("deeplab_largefov", (20, 41), {}),
    ],
)
def test_networks_without_unpooling_lean_to_no_side(name, size, fields):
    model, variables = small_model(name, **fields)
    x = images(1, *size, 3)
    logits = logits_of(model, variables, x)
    flipped = logits_of(model, mirrored(variables), x[:, :, ::-1])
    np.testing.assert_allclose(flipped[:, :, ::-1], logits, rtol=1e-3, atol=1e-4 * np.abs(logits).max())


_BASIC_ENCODER = [("conv3", 8), ("conv4", 4)]
_SEGNET_BASIC = [*_BASIC_ENCODER, ("conv_decode4", 8), ("conv_decode3", 16)]


# The layer before, and the height there of a 64x64 image: pooled in the encoder.
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "segnet",
            [("conv3_3", 8), ("conv4_3", 4), ("conv5_3", 2), ("conv5_1_D", 4), ("conv4_1_D", 8), ("conv3_1_D", 16)],
        ),
        ("segnet_basic", _SEGNET_BASIC),
        ("segnet_basic_single_channel_decoder", _SEGNET_BASIC),
        ("segnet_basic_encoder_addition", _SEGNET_BASIC),
        ("fcn_basic", _BASIC_ENCODER),
        ("bilinear_interpolation", _BASIC_ENCODER),
        ("fcn32s", [("fc6", 2), ("fc7", 2)]),
        ("deeplab_largefov", [("fc6", 9), ("fc7", 9)]),
        ("deconvnet", [("fc6", 1), ("fc7", 1)]),
    ],
)
def test_networks_have_dropout_where_the_authors_have_it(name, expected):
    log = []

    def record(next_function, args, kwargs, context):
        if context.method_name == "__call__" and isinstance(context.module, nn.Conv | BatchNorm | nn.Dropout):
            log.append((context.module, args[0].shape[1]))
        return next_function(*args, **kwargs)

    def places(rate):
        model = create_model(name, 3, width_multiplier=1 / 16, dropout_rate=rate)
        variables = shapes(create_model(name, 3, width_multiplier=1 / 16))
        log.clear()
        apply = functools.partial(model.apply, train=True, mutable=["batch_stats"], rngs={"dropout": jax.random.key(0)})
        with nn.intercept_methods(record):
            jax.eval_shape(apply, variables, jnp.zeros((1, 64, 64, 3)))
        return [
            (before.name.removesuffix("_bn"), height, layer.rate)
            for (before, _), (layer, height) in zip(log, log[1:], strict=False)
            if isinstance(layer, nn.Dropout)
        ]

    assert places(0.3) == [(layer, height, 0.3) for layer, height in expected]
    assert places(0.0) == []


@_EACH
def test_networks_refuse_images_of_another_number_of_channels(name):
    model = create_model(name, 3, width_multiplier=1 / 16)
    with pytest.raises(InputError, match="images have 4 channels, but this network takes 3"):
        jax.eval_shape(model.clone(remat="activations").apply, shapes(model), jnp.zeros((1, 32, 32, 4)))


@_EACH
def test_networks_refuse_images_without_all_axes(name):
    model = create_model(name, 3, width_multiplier=1 / 16)
    variables = shapes(model)
    for shape in [(3,), (32, 32, 3), (1, 1, 32, 32, 3)]:
        message = re.escape(f"The images have the shape {shape}, but this network takes [N, H, W, channels]; give")
        for function, first in ((model.apply, variables), (model.init, jax.random.key(0))):
            with pytest.raises(InputError, match=message):
                jax.eval_shape(function, first, jnp.zeros(shape))


def test_models_have_the_names_of_their_classes():
    # The class of each name: the name, written as a class.
    assert {name: model.__name__.lower() for name, model in MODELS.items()} == {
        name: name.replace("_", "")
        for name in (
            *("segnet", "segnet_basic", "segnet_basic_single_channel_decoder", "segnet_basic_encoder_addition"),
            *("fcn_basic", "fcn_basic_no_addition", "fcn_basic_no_dim_reduction"),
            *("fcn_basic_no_addition_no_dim_reduction", "bilinear_interpolation"),
            *("fcn32s", "fcn16s", "fcn8s", "deeplab_largefov", "deconvnet", "segnet_flat"),
        )
    }
    assert fields_of("segnet_flat") - fields_of("segnet") == {"pairs", "hidden_features", "head"}


def test_models_with_vgg16_are_those_with_its_encoder():
    assert models_with_vgg16() == ["segnet", "fcn32s", "fcn16s", "fcn8s", "deeplab_largefov", "deconvnet"]


@pytest.mark.parametrize("name", [name for name in MODELS if name != "segnet_flat"])
def test_create_model_has_the_dropout_of_the_papers_training(name):
    expected = 0.5 if name.startswith(("fcn32", "fcn16", "fcn8", "deeplab", "deconvnet")) else 0.0
    assert create_model(name, 3).dropout_rate == expected
    assert create_model(name, 3, dropout_rate=0.25).dropout_rate == 0.25


def test_create_model_sets_fields():
    model = create_model(
        "segnet_basic", 7, width_multiplier=0.5, dtype=jnp.bfloat16, remat="stages", remat_stages=(1, 2)
    )
    assert model == SegNetBasic(
        num_classes=7, width_multiplier=0.5, dtype=jnp.bfloat16, remat="stages", remat_stages=(1, 2)
    )
    assert model != SegNetBasic(num_classes=7)


def test_create_model_answers_an_unknown_model_with_the_known_ones():
    with pytest.raises(InputError, match=re.escape("no model 'SegNet'")) as caught:
        create_model("SegNet", 11)
    assert str(caught.value).partition("the known ones are ")[2] == f"{', '.join(sorted(MODELS))}."


# Also what classes hold that is not theirs to set: constants, and linen's own field.
@pytest.mark.parametrize("field", ["width", "encoder", "parent"])
def test_create_model_answers_an_unknown_field_with_the_known_ones(field):
    with pytest.raises(InputError, match=re.escape(f"model 'segnet' has no field '{field}'")) as caught:
        create_model("segnet", 11, dropout_rate=0.5, **{field: None})
    known = str(caught.value).partition("it has ")[2].rstrip(".").split(", ")
    assert known == [
        *["axis_name", "batch_norm_momentum", "dropout_rate", "dtype", "param_dtype", "remat", "remat_stages"],
        *["separate_classifier", "stochastic"],
        "width_multiplier",
    ]


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("segnet_basic", {"dropout_rate": 1.5}, "dropout_rate=1.5"),
        ("segnet_basic", {"width_multiplier": 0.0}, "width_multiplier=0.0"),
        ("segnet_basic", {"remat": "all"}, "remat='all' is not known; choose none, activations or stages"),
        ("segnet_basic", {"remat_stages": (5,)}, "remat_stages has 5; this network has the stages 1 to 4"),
        ("segnet_basic", {"remat_stages": ("x",)}, "remat_stages has 'x'"),
        ("fcn8s", {"fc_features": 0}, "fc_features=0 must be at least 1"),
        ("fcn8s", {"upsampling": "nearest"}, "upsampling='nearest' is not known; choose learnt, fixed or unpool"),
        ("fcn8s", {"remat_stages": (6,)}, "remat_stages has 6; this network has the stages 1 to 5"),
        ("fcn8s", {"kernel_size": 7}, "model 'fcn8s' has no field 'kernel_size'"),
        ("segnet_flat", {"pairs": 0}, "pairs=0 must be 1 or more"),
        ("segnet_flat", {"hidden_features": -1}, "hidden_features=-1"),
        ("segnet_flat", {"dropout_rate": 0.5}, "segnet_flat has no dropout"),
        ("segnet_flat", {"pairs": 3, "remat_stages": (4,)}, "this network has the stages 1 to 3"),
    ],
)
def test_create_model_refuses_a_value_that_makes_no_sense(name, fields, message):
    with pytest.raises(InputError, match=message):
        create_model(name, 3, **fields)
