"""What a configuration stands for: the one place where a ConfigDict becomes typed objects."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import ml_collections
import optax

from segnet_jax.config import to_steps
from segnet_jax.errors import InputError
from segnet_jax.models.base import SegmentationModel
from segnet_jax.training import optimizers
from segnet_jax.training.plan import Plan
from segnet_jax.training.step import TrainState, create_train_state
from segnet_jax.weights import transfer
from segnet_jax.weights.vgg16 import find_weights, initialize_encoder, load_vgg16


def build_plan(config: ml_collections.ConfigDict, num_examples: int, stages: int = 0) -> Plan:
    """The configured rhythm.

    Args:
      config: the configuration.
      num_examples: of the training split.
      stages: of layer-wise training, each of which lasts `layerwise.duration` and ends with a milestone; 0 for a run
        that lasts `train.duration`.
    """
    steps_per_epoch = num_examples / config.train.batch_size

    def steps(key: str) -> int:
        return to_steps(config.train[key], steps_per_epoch, f"train.{key}")

    length, key = steps("duration"), "train.duration"
    if stages:
        key = "layerwise.duration"
        length = to_steps(config.layerwise.duration, steps_per_epoch, key)
    if not length:
        raise InputError(f"{key} must be at least one step.")
    milestones = frozenset(length * stage for stage in range(1, stages + 1))
    total = length * max(1, stages)
    return Plan(total, steps_per_epoch, steps("log_every"), steps("eval_every"), steps("checkpoint_every"), milestones)


def build_learning_rate(config: ml_collections.ConfigDict, plan: Plan) -> optax.Schedule:
    """The configured learning rate, a function of the step."""
    fields = config.optimizer
    return optimizers.create_schedule(
        fields.schedule,
        learning_rate=fields.learning_rate,
        total_steps=plan.total_steps,
        warmup_steps=to_steps(fields.warmup, plan.steps_per_epoch, "optimizer.warmup"),
        poly_power=fields.poly_power,
        step_every=to_steps(fields.step_every, plan.steps_per_epoch, "optimizer.step_every"),
        step_factor=fields.step_factor,
        cycles=fields.cycles,
    )


def build_optimizer(config: ml_collections.ConfigDict, schedule: optax.Schedule) -> optax.GradientTransformation:
    """The configured optimizer; the form of its state does not depend on `schedule`.

    L-BFGS begins anew with every mini-batch, so layer-wise training has nothing to keep.
    """
    if config.train.procedure == "layerwise":
        return optax.identity()
    fields = config.optimizer
    optimizer = optimizers.create_optimizer(
        schedule,
        momentum=fields.momentum,
        nesterov=fields.nesterov,
        weight_decay=fields.weight_decay,
        clip_norm=fields.clip_norm,
    )
    if build_is_trained(config) is None:
        return optimizer
    return transfer.freeze(optimizer, config.transfer.trained, config.transfer.frozen)


def build_is_trained(config: ml_collections.ConfigDict) -> Callable[[Any], Any] | None:
    """Which parameters are trained, a function of them as `transfer.is_trained` is; None if all are."""
    fields = config.transfer
    if fields.trained == ".*" and not fields.frozen:
        return None
    return functools.partial(transfer.is_trained, trained=fields.trained, frozen=fields.frozen)


def build_initial_state(
    config: ml_collections.ConfigDict,
    model: SegmentationModel,
    optimizer: optax.GradientTransformation,
    channels: int = 3,
) -> TrainState:
    """The state before the first step, pretrained weights included if configured."""
    source = config.pretrained

    def initialize(variables: dict[str, Any]) -> dict[str, Any]:
        if source.weights == "none":
            return variables
        path = find_weights(source.path, repository=source.repository, file=source.file, revision=source.revision)
        return initialize_encoder(variables, load_vgg16(path))

    return create_train_state(model, optimizer, seed=config.seed, channels=channels, initialize=initialize)


def build_checkpoint_template(
    model: SegmentationModel, optimizer: optax.GradientTransformation, channels: int = 3
) -> dict[str, Any]:
    """The form of what a checkpoint holds: the training state, and the statistics that evaluation uses."""
    state = jax.eval_shape(lambda: create_train_state(model, optimizer, seed=0, channels=channels))
    return {"train_state": state, "eval_batch_stats": state.batch_stats}
