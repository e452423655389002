"""Compares states of runs, and acts at a step of one."""

import jax
import numpy as np

from segnet_jax.training import from_config


def assert_identical(first, second):
    """Asserts that two trees of arrays hold the same bits."""
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(first), jax.tree.leaves(second), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes(), path


def stop_at(monkeypatch, step, act):
    """Makes a run call `act` when it asks for the batch of `step`."""
    original = from_config.build_train_batches

    def batches(config, dataset, devices, first_step):
        number = first_step
        for batch in original(config, dataset, devices, first_step):
            number += 1
            if number == step:
                act()
            yield batch

    monkeypatch.setattr(from_config, "build_train_batches", batches)
