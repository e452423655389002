"""Tests for segnet_jax/evaluation/from_config.py."""

import jax
import pytest

from segnet_jax.errors import InputError
from segnet_jax.evaluation.from_config import build_evaluator
from segnet_jax.inference.crf import DenseCRF
from segnet_jax.inference.from_config import build_crf
from segnet_jax.models.from_config import build_model
from tests.helpers.tiny_config import config_with


def test_build_evaluator_refuses_stochastic_passes_without_dropout():
    config = config_with(model__name="segnet_basic", eval__samples=4)
    with pytest.raises(InputError, match="eval.samples=4 needs a network with dropout.*model.dropout_rate=0.5"):
        build_evaluator(config, build_model(config, 3), jax.devices()[:1])
    config.model.dropout_rate = 0.5
    build_evaluator(config, build_model(config, 3), jax.devices()[:1])


def test_build_crf_builds_one_only_if_it_is_enabled():
    config = config_with(crf__bilateral_weight=4.0)
    assert build_crf(config) is None
    config.crf.enabled = True
    crf = build_crf(config)
    assert crf == DenseCRF(bilateral_weight=4.0)
    assert build_crf(config_with(crf__enabled=True)) == DenseCRF()
