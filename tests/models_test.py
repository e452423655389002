"""Tests for segnet_jax/models/__init__.py."""

import re

import jax.numpy as jnp
import pytest

from segnet_jax.errors import InputError
from segnet_jax.models import MODELS, create_model, fields_of
from segnet_jax.models.flat import SegNetFlat
from segnet_jax.models.segnet import SegNet, SegNetBasic


def test_names():
    assert [*MODELS.items()] == [("segnet", SegNet), ("segnet_basic", SegNetBasic), ("segnet_flat", SegNetFlat)]
    assert fields_of("segnet_flat") - fields_of("segnet") == {"pairs", "hidden_features", "head"}


def test_fields_reach_the_model():
    model = create_model("segnet_basic", 7, width_multiplier=0.5, dtype=jnp.bfloat16, remat_stages=(1, 2))
    assert model == SegNetBasic(num_classes=7, width_multiplier=0.5, dtype=jnp.bfloat16, remat_stages=(1, 2))
    assert model != SegNetBasic(num_classes=7)


def test_an_unknown_model_is_answered_with_the_known_ones():
    with pytest.raises(InputError, match=re.escape("no model 'SegNet'")) as caught:
        create_model("SegNet", 11)
    assert "segnet, segnet_basic" in str(caught.value)


# Also what classes hold that is not theirs to set: constants, and linen's own field.
@pytest.mark.parametrize("field", ["width", "encoder", "parent"])
def test_an_unknown_field_is_answered_with_the_known_ones(field):
    with pytest.raises(InputError, match=re.escape(f"model 'segnet' has no field '{field}'")) as caught:
        create_model("segnet", 11, dropout_rate=0.5, **{field: None})
    known = str(caught.value).partition("it has ")[2].rstrip(".").split(", ")
    assert known == [
        *["axis_name", "batch_norm_momentum", "dropout_rate", "dtype", "param_dtype", "remat_stages"],
        "width_multiplier",
    ]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dropout_rate": 1.5}, "dropout_rate=1.5"),
        ({"width_multiplier": 0.0}, "width_multiplier=0.0"),
        ({"remat_stages": (5,)}, "segnet_basic has the stages 1 to 4"),
        ({"remat_stages": ("x",)}, "remat_stages has 'x'"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused(fields, message):
    with pytest.raises(InputError, match=message):
        create_model("segnet_basic", 3, **fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"pairs": 0}, "pairs=0 must be 1 or more"),
        ({"hidden_features": -1}, "hidden_features=-1"),
        ({"dropout_rate": 0.5}, "segnet_flat has no dropout"),
        ({"pairs": 3, "remat_stages": (4,)}, "segnet_flat has the stages 1 to 3"),
    ],
)
def test_a_value_that_makes_no_sense_for_the_flat_network_is_refused(fields, message):
    with pytest.raises(InputError, match=message):
        create_model("segnet_flat", 3, **fields)
    assert create_model("segnet_flat", 3, pairs=3, remat_stages=(3,)).num_stages == 3
