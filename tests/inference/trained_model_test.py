"""Tests for segnet_jax/inference/trained_model.py."""

import jax
import numpy as np
import pytest

from segnet_jax.checkpoint.manager import Checkpoints
from segnet_jax.errors import InputError
from segnet_jax.inference.trained_model import load_trained
from segnet_jax.training.loop import train_and_evaluate
from tests.helpers.tiny_config import make_tiny_config


def test_load_trained_takes_the_best_step_or_the_one_that_is_named(trained_run):
    with Checkpoints(trained_run / "checkpoints", read_only=True) as checkpoints:
        best, steps = checkpoints.best_step(), checkpoints.steps()
    assert load_trained(str(trained_run)).step == best  # a path as text
    for step in steps:
        assert load_trained(trained_run, {"eval.checkpoint": str(step)}).step == step


def test_load_trained_gives_the_last_state(trained_run, trained_state):
    trained = load_trained(trained_run, {"eval.checkpoint": "latest"})
    for a, b in zip(jax.tree.leaves(trained.variables), jax.tree.leaves(trained_state.variables), strict=True):
        np.testing.assert_array_equal(a, b)
    assert trained.class_table.names[0] == "sky"
    assert trained.config.train.batch_size == 8


@pytest.mark.parametrize("name", ["optimizer.momentum", "train.batch_size"])
def test_load_trained_refuses_to_override_what_training_has_fixed(trained_run, name):
    with pytest.raises(InputError, match=f"{name} belongs to the training run"):
        load_trained(trained_run, {name: 0})


def test_load_trained_leaves_a_directory_without_checkpoints_as_it_is(tmp_path):
    with pytest.raises(InputError, match="holds no checkpoint"):
        load_trained(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


@pytest.mark.slow
def test_load_trained_gives_a_network_without_batch_norm(tmp_path):
    config = make_tiny_config()
    config.model.name = "deeplab_largefov"
    config.model.batch_norm = False
    config.eval.batch_norm = "exact"
    state = train_and_evaluate(config, tmp_path)
    trained = load_trained(tmp_path, {"eval.checkpoint": "latest"})
    assert not trained.model.batch_norm
    assert trained.model.dropout_rate == 0.5
    assert trained.variables["batch_stats"] == {}
    jax.tree.map(np.testing.assert_array_equal, trained.variables["params"], jax.device_get(state.params))
