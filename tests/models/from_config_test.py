"""Tests for segnet_jax/models/from_config.py."""

import json

import jax.numpy as jnp
import pytest

from segnet_jax.config import from_dict, to_json
from segnet_jax.errors import InputError
from segnet_jax.models.from_config import build_model
from tests.helpers.tiny_config import config_with


def test_build_model_takes_its_fields_from_the_config():
    config = config_with(
        model__dtype="bfloat16", model__width_multiplier=0.5, model__remat="stages", model__remat_stages=(1, 2)
    )
    model = build_model(config, 11)
    assert (model.dtype, model.param_dtype) == (jnp.bfloat16, jnp.float32)
    assert (model.num_classes, model.width_multiplier, tuple(model.remat_stages)) == (11, 0.5, (1, 2))
    assert model.axis_name == "batch"
    assert build_model(config_with(model__cross_replica_batch_norm=False), 11).axis_name is None


def test_build_model_leaves_the_network_its_own_defaults():
    assert build_model(config_with(), 3).dropout_rate == 0.0
    model = build_model(config_with(model__name="deeplab_largefov"), 3)
    assert (model.dropout_rate, model.batch_norm, model.fc_features) == (0.5, True, 1024)
    config = config_with(
        model__name="fcn8s",
        model__dropout_rate=0.0,
        model__batch_norm=False,
        model__fc_features=64,
        model__upsampling="fixed",
        model__reference_padding=True,
    )
    for again in (config, from_dict(json.loads(to_json(config)))):
        model = build_model(again, 3)
        assert (model.dropout_rate, model.batch_norm, model.fc_features) == (0.0, False, 64)
        assert (model.upsampling, model.reference_padding) == ("fixed", True)
    stored = from_dict(json.loads(to_json(config_with(model__name="deconvnet"))))
    assert build_model(stored, 3).dropout_rate == 0.5


def test_build_model_refuses_a_field_of_another_model():
    flat = build_model(config_with(model__name="segnet_flat", model__pairs=3), 5)
    assert (flat.num_classes, flat.pairs) == (5, 3)
    assert build_model(config_with(model__name="segnet_flat"), 5).pairs == 4
    with pytest.raises(InputError, match="model 'segnet_basic' has no field 'pairs'"):
        build_model(config_with(model__name="segnet_basic", model__pairs=3), 5)
