"""Training of a whole network by SGD (arXiv 1511.00561, section 3.2)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections

from segnet_jax.data.dataset import Dataset, modalities_of
from segnet_jax.data.from_config import build_class_weights, build_masking, build_normalization
from segnet_jax.evaluation.evaluator import Evaluator
from segnet_jax.evaluation.from_config import build_evaluator
from segnet_jax.models.from_config import build_model
from segnet_jax.training.from_config import build_is_trained, build_learning_rate, build_optimizer, build_plan
from segnet_jax.training.step import create_train_step


class EndToEnd:
    """The procedure `end_to_end`: how `train` takes steps and evaluates. `layerwise.Layerwise` is another one.

    Attributes:
      model: the network.
      plan: the rhythm of the run.
      optimizer: whose state is part of the training state.
      classes: what the network's outputs mean.
      advice: what to do about a loss that is not finite.
    """

    advice = "Lower optimizer.learning_rate, or set optimizer.clip_norm."

    def __init__(self, config: ml_collections.ConfigDict, dataset: Dataset, devices: Sequence[jax.Device]) -> None:
        """Plans a run on the training split `dataset`."""
        self._config, self._dataset, self._devices = config, dataset, devices
        self._modalities = modalities_of(dataset)
        self.classes = tuple(dataset.class_table.names)
        self.model = build_model(config, dataset.class_table.num_classes)
        self.plan = build_plan(config, len(dataset))
        self._schedule = build_learning_rate(config, self.plan)
        self.optimizer = build_optimizer(config, self._schedule)
        self._evaluator = build_evaluator(config, self.model, devices, self._modalities)
        self._masking = build_masking(config, self._modalities)

    @functools.cached_property
    def _step(self) -> Callable[..., Any]:
        return create_train_step(
            devices=self._devices,
            model=self.model,
            optimizer=self.optimizer,
            normalize=build_normalization(self._config, self._modalities),
            class_weights=jnp.asarray(build_class_weights(self._config, self._dataset)),
            loss_normalization=self._config.loss.normalization,
            accumulation_steps=self._config.train.accumulation_steps,
            seed=self._config.seed,
            masking=self._masking,
            is_trained=build_is_trained(self._config),
        )

    def step_function(self, step: int) -> Callable[..., Any]:
        """The function that takes step number `step`, from 1 on."""
        return self._step

    def evaluator(self, step: int) -> Evaluator:
        """The evaluation of the network as it is after `step`."""
        return self._evaluator

    def model_fields(self, step: int) -> dict[str, Any]:
        """What tells the network after `step` from the configured one: nothing."""
        return {}

    def stage(self, step: int) -> int:
        """0: there is one stage."""
        return 0

    def learning_rate(self, step: int) -> float | None:
        """The learning rate of step number `step`, from 1 on."""
        return float(self._schedule(step - 1))
