"""Tests for segnet_jax/models/__init__.py."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segnet_jax.errors import InputError
from segnet_jax.models import MODELS, create_model, fields_of, models_with_vgg16
from segnet_jax.models.segnet import SegNetBasic
from tests.helpers.networks import images, small_model


@pytest.mark.parametrize("name", MODELS)
def test_networks_refuse_images_of_another_number_of_channels(name):
    model = create_model(name, 3, width_multiplier=1 / 32, remat="activations")
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 4)))
    with pytest.raises(InputError, match="images have 3 channels, but this network takes 4"):
        jax.eval_shape(model.apply, variables, jnp.zeros((1, 32, 32, 3)))


TAKE_ONE_IMAGE = ("segnet", "segnet_basic", "segnet_flat")


@pytest.mark.parametrize("name", MODELS)
def test_networks_refuse_images_without_all_axes(name):
    model = create_model(name, 3, width_multiplier=1 / 32)
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    shapes = [(3,), (32, 3)] if name in TAKE_ONE_IMAGE else [(3,), (32, 3), (32, 32, 3), (1, 1, 32, 32, 3)]
    for shape in shapes:
        message = re.escape(f"The images have the shape {shape}, but this network takes [N, H, W, channels]; give")
        with pytest.raises(InputError, match=message):
            jax.eval_shape(model.apply, variables, jnp.zeros(shape))
        with pytest.raises(InputError, match=message):
            jax.eval_shape(model.init, jax.random.key(0), jnp.zeros(shape))


@pytest.mark.parametrize("name", TAKE_ONE_IMAGE)
def test_networks_take_one_image_as_a_batch_of_one(name):
    model, variables = small_model(name)
    batch = images(1, 19, 22, 3)
    np.testing.assert_allclose(model.apply(variables, batch[0]), model.apply(variables, batch)[0], atol=1e-5)


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
        "stochastic",
        "width_multiplier",
    ]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dropout_rate": 1.5}, "dropout_rate=1.5"),
        ({"width_multiplier": 0.0}, "width_multiplier=0.0"),
        ({"remat": "all"}, "remat='all' is not known; choose none, activations or stages"),
        ({"remat_stages": (5,)}, "remat_stages has 5; this network has the stages 1 to 4"),
        ({"remat_stages": ("x",)}, "remat_stages has 'x'"),
    ],
)
def test_create_model_refuses_a_value_that_makes_no_sense(fields, message):
    with pytest.raises(InputError, match=message):
        create_model("segnet_basic", 3, **fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"fc_features": 0}, "fc_features=0 must be at least 1"),
        ({"upsampling": "nearest"}, "upsampling='nearest' is not known; choose learnt or fixed"),
        ({"remat_stages": (6,)}, "remat_stages has 6; this network has the stages 1 to 5"),
        ({"kernel_size": 7}, "model 'fcn8s' has no field 'kernel_size'"),
    ],
)
def test_create_model_refuses_a_value_that_makes_no_sense_for_a_competitor(fields, message):
    with pytest.raises(InputError, match=message):
        create_model("fcn8s", 3, **fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"pairs": 0}, "pairs=0 must be 1 or more"),
        ({"hidden_features": -1}, "hidden_features=-1"),
        ({"dropout_rate": 0.5}, "segnet_flat has no dropout"),
        ({"pairs": 3, "remat_stages": (4,)}, "this network has the stages 1 to 3"),
    ],
)
def test_create_model_refuses_a_value_that_makes_no_sense_for_the_flat_network(fields, message):
    with pytest.raises(InputError, match=message):
        create_model("segnet_flat", 3, **fields)
    assert create_model("segnet_flat", 3, pairs=3, remat_stages=(3,)).num_stages == 3
