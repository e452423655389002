"""A training run, ready to go: what `from_config.build_run` makes of a configuration and `loop` carries out."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import optax
from clu import metrics as clu_metrics

from segnet_jax.data.dataset import Dataset
from segnet_jax.data.preprocessing import ChannelStatistics
from segnet_jax.evaluation.evaluator import Evaluator
from segnet_jax.evaluation.result import Settings
from segnet_jax.models.base import SegmentationModel
from segnet_jax.training.plan import Plan
from segnet_jax.training.step import TrainState


class TakeStep(Protocol):
    """Takes one step on all devices; the state that it is given is consumed."""

    def __call__(self, state: TrainState, batch: dict[str, jax.Array]) -> tuple[TrainState, clu_metrics.Collection]:
        """Returns the next state, and metrics among which are `loss` and `gradient_norm`."""


@dataclass(frozen=True)
class Phase:
    """A stretch of steps in which the same parameters of the same network are trained.

    Attributes:
      last_step: its last step.
      create_step: builds the function that takes its steps.
      evaluator: evaluates the network as it is in this phase.
      model_fields: the fields by which this network differs from the configured one.
      description: what is trained, for the log; "" is not logged.
    """

    last_step: int
    create_step: Callable[[], TakeStep]
    evaluator: Evaluator
    model_fields: Mapping[str, Any]
    description: str = ""


@dataclass(frozen=True)
class Run:
    """Data, network and schedule of a run: all that `loop.train_and_evaluate` needs.

    Attributes:
      config: all values of the configuration, as checkpoints store them.
      shared: what all processes must have in common, by its name.
      devices: of all processes.
      batch_size: images of a step, over all devices.
      phases: one after the other; one for a network that is trained as a whole.
      model: the whole network.
      transfer: puts another run's parameters into it, if so configured.
      train_batches: opens the batches on the devices from the one after a step on.
      exact_batch_stats: computes exact statistics of BatchNorm before an evaluation; None: running averages are used.
      learning_rate: as a function of the steps done; None where a line search finds the length of each step.
      settings: of the evaluations, which their reports state.
      pictures: the number of images of an evaluation's sheet.
      advice: the way out of a loss that is not finite.
      keeps_averages: whether moving averages of the variables are kept, and evaluated.
      image_dtype: of the images, "uint8" or "float32".
      channel_statistics: of the training images, if their normalisation needs them.
    """

    config: dict[str, Any]
    shared: dict[str, Any]
    train_data: Dataset
    eval_data: Dataset
    devices: list[jax.Device]
    batch_size: int
    plan: Plan
    phases: tuple[Phase, ...]
    model: SegmentationModel
    optimizer: optax.GradientTransformation
    initial_state: Callable[[], TrainState]
    transfer: Callable[[TrainState], TrainState]
    train_batches: Callable[[int], Generator[dict[str, jax.Array], None, None]]
    exact_batch_stats: Callable[[Any], Any] | None
    learning_rate: optax.Schedule | None
    settings: Settings
    pictures: int
    advice: str
    keeps_averages: bool
    image_dtype: str = "uint8"
    channel_statistics: ChannelStatistics | None = None

    def phase_number(self, step: int) -> int:
        """Returns the number, from 0 on, of the phase that step number `step` belongs to."""
        return next(number for number, phase in enumerate(self.phases) if step <= phase.last_step)
