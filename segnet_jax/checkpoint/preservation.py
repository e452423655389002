"""The choice of the checkpoints that stay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orbax.checkpoint import checkpoint_managers as ocp_managers

from segnet_jax.checkpoint.manifest import CheckpointScore, best_of, last_steps_of_stages

# A damaged newest one leaves the one before.
_NUM_NEWEST = 2


class NewestAndBest(ocp_managers.PreservationPolicy):
    """Keeps the two newest intact checkpoints, the best one and the last one of each phase, up to the step being saved.

    The best one has the highest `mean_iou` of the last phase that was scored. Orbax's LatestN and BestN would count
    damaged checkpoints and later ones that are given up, and Orbax's metrics files are not protected against damage.
    """

    def __init__(self, scores: Mapping[int, CheckpointScore], damaged: Mapping[int, str]) -> None:
        self._scores, self._damaged = scores, damaged

    def should_preserve(self, checkpoints: Any, *, context: Any) -> list[bool]:
        """Tells for each checkpoint, ascending, whether it stays; the last one is being saved."""
        steps = [info.step for info in checkpoints]
        current = steps[-1]  # the one that is being saved
        intact = sorted(step for step in self._scores.keys() & set(steps) - self._damaged.keys() if step <= current)
        scores = {step: self._scores[step] for step in intact}
        best, last = best_of(scores), last_steps_of_stages(scores)
        keep = {*intact[-_NUM_NEWEST:], best, *last}
        return [step in keep for step in steps]
