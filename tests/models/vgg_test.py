"""Tests for segnet_jax/models/vgg.py."""

import pytest

from segnet_jax.models import create_model
from tests.helpers.networks import shapes


@pytest.mark.parametrize(
    ("name", "default"),
    [("fcn32s", 4096), ("fcn16s", 4096), ("fcn8s", 4096), ("deeplab_largefov", 1024), ("deconvnet", 1024)],
)
def test_fc_features_set_the_width_of_the_fully_connected_layers(name, default):
    for fields, width in (
        ({}, default),
        ({"fc_features": 96}, 96),
        ({"fc_features": 96, "width_multiplier": 0.25}, 24),
    ):
        params = shapes(create_model(name, 11, **fields))["params"]
        assert params["fc6"]["kernel"].shape[-1] == width
        assert params["fc7"]["kernel"].shape == (1, 1, width, width)
