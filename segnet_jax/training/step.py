"""The training state, and one step of SGD, mapped over the devices."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from clu import metrics as clu_metrics
from flax import struct

from segnet_jax.data.masking import Masking
from segnet_jax.data.preprocessing import Normalize
from segnet_jax.models.base import SegmentationModel
from segnet_jax.runtime.compilation import Compiled, jit_once
from segnet_jax.runtime.sharding import AXIS, map_over_devices
from segnet_jax.training.objective import Objective


class TrainState(struct.PyTreeNode):
    """Holds everything that training changes.

    Attributes:
      step: int32 [], steps done.
      params: of the network.
      batch_stats: running averages of BatchNorm; empty for a network without it.
      opt_state: of the optimizer.
      averages: moving averages of `variables`, for evaluation; {} if none are kept.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any
    averages: Any = struct.field(default_factory=dict)

    @property
    def variables(self) -> dict[str, Any]:
        """The variables that are trained, as `model.apply` takes them."""
        return {"params": self.params, "batch_stats": self.batch_stats}

    @property
    def eval_variables(self) -> dict[str, Any]:
        """The variables to evaluate with: the averages where they are kept."""
        return self.averages or self.variables


# Means over steps.
TrainMetrics = clu_metrics.Collection.create(
    loss=clu_metrics.Average.from_output("loss"),
    pixel_accuracy=clu_metrics.Average.from_output("pixel_accuracy"),
    gradient_norm=clu_metrics.Average.from_output("gradient_norm"),
)


def create_train_state(
    model: SegmentationModel,
    optimizer: optax.GradientTransformation,
    *,
    seed: int,
    channels: int = 3,
    initialize: Callable[[dict[str, Any]], dict[str, Any]] = lambda variables: variables,
    keeps_averages: bool = False,
) -> TrainState:
    """Builds the state before the first step.

    Args:
      model: the network.
      optimizer: whose state begins.
      seed: of the initial weights.
      channels: of the network's input.
      initialize: applied to the initial variables, such as to put pretrained weights in.
      keeps_averages: whether the state has moving averages, which begin as the initial variables.
    """
    variables = jit_once(model.init)(jax.random.key(seed), _small_images(model, channels))
    return _state_of(initialize(variables), optimizer, keeps_averages)


def _small_images(model: SegmentationModel, channels: int) -> jax.Array:
    """Returns images to initialise with: parameters do not depend on their size, and small ones make it quick."""
    return jnp.zeros((1, 32, 32, channels), model.dtype)


def _state_of(variables: Any, optimizer: optax.GradientTransformation, keeps_averages: bool) -> TrainState:
    state = TrainState(
        step=jnp.zeros((), jnp.int32),
        params=variables["params"],
        batch_stats=variables.get("batch_stats", {}),
        opt_state=optimizer.init(variables["params"]),
    )
    return with_averages(state) if keeps_averages else state


def with_averages(state: TrainState) -> TrainState:
    """Returns `state` with averages that begin as its variables, in memory of their own."""
    return state.replace(averages=jax.tree.map(jnp.array, state.variables))


def train_step(
    state: TrainState,
    batch: dict[str, jax.Array],
    *,
    model: SegmentationModel,
    optimizer: optax.GradientTransformation,
    normalize: Normalize,
    objective: Objective,
    accumulation_steps: int = 1,
    seed: int = 0,
    masking: Masking | None = None,
    is_trained: Callable[[Any], Any] | None = None,
    average_decay: float = 0.0,
) -> tuple[TrainState, clu_metrics.Collection]:
    """Takes one step of SGD on one device's share of a batch, as part of all devices that are mapped over `AXIS`.

    The loss is divided by what the whole batch counts, and gradients are summed, so the step is the same for any number
    of devices (BatchNorm's statistics too, if the network shares them over `AXIS`).

    Args:
      state: alike on all devices.
      batch: `image` uint8 or float32 [b, h, w, channels], `label` uint8 [b, h, w], and for distillation
        `probabilities` float32 [b, h, w, K], a teacher's.
      model: the network.
      optimizer: an Optax transformation.
      normalize: from images to the network's input.
      objective: what is minimised.
      accumulation_steps: the number of microbatches of the share, computed one after the other, each with BatchNorm
        statistics of its own.
      seed: of dropout and masking.
      masking: which input values are missing; None: none are.
      is_trained: from the parameters to a tree like them of bools; the others have a gradient of zero, which costs
        nothing. None: all are trained.
      average_decay: d of `average = d * average + (1 - d) * value` for all variables, if the state has averages. Of the
        first steps, of which there is little to average, it is (1 + steps) / (10 + steps) at most.

    Returns:
      The next state and the metrics of this step, both alike on all devices.
    """
    labels = batch["label"]
    counts = jax.lax.psum(objective.counts(labels), AXIS)
    rng = jax.random.fold_in(jax.random.key(seed), state.step)
    rng = jax.random.fold_in(rng, jax.lax.axis_index(AXIS))

    def loss_fn(
        params: Any,
        batch_stats: Any,
        images: jax.Array,
        labels: jax.Array,
        probabilities: jax.Array | None,
        rng: jax.Array,
    ) -> tuple[jax.Array, tuple[Any, jax.Array]]:
        if is_trained is not None:
            params = jax.tree.map(
                lambda x, chosen: x if chosen else jax.lax.stop_gradient(x), params, is_trained(params)
            )
        # Dropout takes keys that are folded with the names of its layers.
        valid_mask = None if masking is None else masking(jax.random.fold_in(rng, 0), images)
        logits, updates = model.apply(
            {"params": params, "batch_stats": batch_stats},
            normalize(images, valid_mask),
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": rng},
        )
        loss = objective(logits, labels, counts, probabilities)
        correct = jnp.sum(jnp.argmax(logits, axis=-1) == labels, dtype=jnp.float32)
        return loss, (updates.get("batch_stats", {}), correct)

    gradient = jax.value_and_grad(loss_fn, has_aux=True)
    examples = batch["image"], labels, batch.get("probabilities")
    if accumulation_steps == 1:
        (loss, (batch_stats, correct)), grads = gradient(state.params, state.batch_stats, *examples, rng)
    else:

        def accumulate(carry: Any, microbatch: tuple[jax.Array, Any]) -> tuple[Any, None]:
            batch_stats, sums = carry
            index, examples = microbatch
            (loss, (batch_stats, correct)), grads = gradient(
                state.params, batch_stats, *examples, jax.random.fold_in(rng, index)
            )
            return (batch_stats, jax.tree.map(jnp.add, sums, (loss, correct, grads))), None

        microbatches = (
            jnp.arange(accumulation_steps),
            jax.tree.map(lambda x: x.reshape(accumulation_steps, -1, *x.shape[1:]), examples),
        )
        zeros = (jnp.zeros(()), jnp.zeros(()), jax.tree.map(jnp.zeros_like, state.params))
        (batch_stats, (loss, correct, grads)), _ = jax.lax.scan(accumulate, (state.batch_stats, zeros), microbatches)

    loss, correct, grads = jax.lax.psum((loss, correct, grads), AXIS)
    batch_stats = jax.lax.pmean(batch_stats, AXIS)
    labelled = jax.lax.psum(jnp.sum(labels < model.num_classes, dtype=jnp.float32), AXIS)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    metrics = TrainMetrics.single_from_model_output(
        loss=loss, pixel_accuracy=correct / jnp.maximum(labelled, 1.0), gradient_norm=optax.tree.norm(grads)
    )
    next_state = state.replace(
        step=state.step + 1,
        params=optax.apply_updates(state.params, updates),
        batch_stats=batch_stats,
        opt_state=opt_state,
    )
    if state.averages:
        decay = jnp.minimum(average_decay, (1 + next_state.step) / (10 + next_state.step))
        averages = optax.incremental_update(next_state.variables, state.averages, 1 - decay)
        next_state = next_state.replace(averages=averages)
    return next_state, metrics


def checkpoint_template(
    model: SegmentationModel,
    optimizer: optax.GradientTransformation,
    channels: int = 3,
    *,
    keeps_averages: bool = False,
) -> dict[str, Any]:
    """Returns shapes and types of what a checkpoint holds: the training state, and the statistics of its evaluation."""
    variables = jax.eval_shape(model.init, jax.random.key(0), _small_images(model, channels))
    state = jax.eval_shape(functools.partial(_state_of, optimizer=optimizer, keeps_averages=keeps_averages), variables)
    return {"train_state": state, "eval_batch_stats": state.batch_stats}


def create_train_step(*, devices: Sequence[jax.Device] | None = None, **arguments: Any) -> Compiled:
    """Maps `train_step` over the devices: the state alike for all, batches [devices, b, ...].

    The state passed in is consumed: its memory is used again for the next one.
    """
    step = functools.partial(train_step, **arguments)
    return map_over_devices(step, devices or jax.local_devices(), donate_argnums=(0,))
