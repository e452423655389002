"""The schedule of logging, evaluation and checkpoints."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """The schedule of a run, in steps; 0 means never.

    Attributes:
      total_steps: of the whole run.
      steps_per_epoch: images of the training split over the batch size; rarely a whole number.
      log_every, eval_every, checkpoint_every: steps between two.
      milestones: steps besides the last whose evaluation is written in full.
    """

    total_steps: int
    steps_per_epoch: float
    log_every: int
    eval_every: int
    checkpoint_every: int
    milestones: frozenset[int] = frozenset()

    def reports(self, step: int) -> bool:
        """Tells whether the evaluation after `step` is written in full: after the last step and the milestones."""
        return step == self.total_steps or step in self.milestones

    def evaluates(self, step: int) -> bool:
        """Tells whether an evaluation follows `step`."""
        return self.reports(step) or _is_due(step, self.eval_every)

    def checkpoints(self, step: int) -> bool:
        """Tells whether a checkpoint follows `step`; every evaluation has one."""
        return self.evaluates(step) or _is_due(step, self.checkpoint_every)


def _is_due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0
