"""Tests for segnet_jax/inference/trained_model.py."""

import jax
import numpy as np
import pytest

from segnet_jax.checkpoint.manager import Checkpoints
from segnet_jax.errors import InputError
from segnet_jax.inference.trained_model import load_trained
from segnet_jax.training.loop import train_and_evaluate
from tests.helpers.tiny_config import make_tiny_config


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    state = train_and_evaluate(make_tiny_config(), workdir)
    return workdir, state


def test_best_is_the_default_and_a_step_can_be_named(run):
    workdir, _ = run
    with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
        best, steps = checkpoints.best_step(), checkpoints.steps()
    assert load_trained(workdir).step == best
    assert load_trained(workdir, {"eval.checkpoint": str(steps[0])}).step == steps[0]


def test_the_trained_network_holds_the_last_state(run):
    workdir, state = run
    trained = load_trained(workdir, {"eval.checkpoint": "latest"})
    for a, b in zip(jax.tree.leaves(trained.variables), jax.tree.leaves(state.variables), strict=True):
        np.testing.assert_array_equal(a, b)
    assert trained.class_table.names[0] == "sky"
    assert trained.config.train.batch_size == 8


@pytest.mark.parametrize("name", ["optimizer.momentum", "train.batch_size"])
def test_what_training_has_fixed_cannot_be_overridden(run, name):
    with pytest.raises(InputError, match=f"{name} belongs to the training run"):
        load_trained(run[0], {name: 0})


def test_a_directory_without_checkpoints_is_left_as_it_is(tmp_path):
    with pytest.raises(InputError, match="holds no checkpoint"):
        load_trained(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


@pytest.mark.slow
def test_a_network_without_batch_norm_goes_the_same_way(tmp_path):
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
