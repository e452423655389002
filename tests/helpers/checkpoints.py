"""Saves and compares checkpoints of a small state."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from segnet_jax.checkpoint.manager import Checkpoints


def make_state(step: int, size: int = 3000) -> dict[str, Any]:
    """Returns a small state whose every byte depends on the step, and that does not compress."""
    rng = np.random.default_rng(step)
    return {
        "params": {"conv1_1": {"kernel": rng.normal(size=(size, 3)).astype(np.float32)}},
        "opt_state": ({"mu": rng.normal(size=(40,)).astype(np.float32)}, ()),
        "step": np.array(step, np.int32),
    }


TEMPLATE = make_state(0)


def assert_same(actual: Any, expected: Any) -> None:
    """Asserts the same tree, dtypes, shapes and bits."""
    structures: set[Any] = {jax.tree.structure(actual), jax.tree.structure(expected)}
    assert len(structures) == 1
    for got, want in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert type(got) is np.ndarray
        assert (got.dtype, got.shape) == (np.asarray(want).dtype, np.shape(want))
        assert got.tobytes() == np.asarray(want).tobytes()


def save_steps(directory: Path, steps: list[int], scores: dict[int, float] | None = None) -> None:
    with Checkpoints(directory) as checkpoints:
        for step in steps:
            metrics = {"mean_iou": scores[step]} if scores and step in scores else None
            assert checkpoints.save(step, make_state(step), {"step": step}, metrics)
