"""SGD with momentum, its learning-rate schedules and its weight decay."""

from __future__ import annotations

import functools
import logging
from collections.abc import Collection
from typing import Any

import jax
import optax

from segnet_jax.errors import InputError

_log = logging.getLogger("segnet_jax")

SCHEDULES = ("constant", "poly", "cosine", "step")


def create_schedule(
    name: str,
    *,
    learning_rate: float,
    total_steps: int,
    warmup_steps: int = 0,
    poly_power: float = 0.9,
    step_every: int = 0,
    step_factor: float = 0.1,
    cycles: int = 1,
) -> optax.Schedule:
    """Creates the learning rate as a function of the step, from 0 to `total_steps` - 1.

    Args:
      name: "constant"; "poly", `(1 - t) ** poly_power` (DeepLab's); "cosine", half a cosine down to 0; "step", times
        `step_factor` after every `step_every` steps. t goes from 0 to 1 after the warm-up.
      learning_rate: the one that the schedule starts from.
      total_steps: of the run.
      warmup_steps: the first steps, over which the rate rises linearly from `learning_rate / warmup_steps`. Where the
        run, or a cycle, is not longer, a tenth of it takes their place, and the log says so.
      poly_power: of "poly".
      step_every: of "step", in steps.
      step_factor: of "step".
      cycles: how often the run goes through warm-up and schedule, in equal parts: warm restarts (SGDR, arXiv
        1608.03983).

    Raises:
      InputError: for an unknown name or numbers that do not make sense.
    """
    if name not in SCHEDULES:
        raise InputError(f"optimizer.schedule={name!r} is not known; choose one of {', '.join(SCHEDULES)}.")
    if not 1 <= cycles <= max(1, total_steps):
        raise InputError(f"optimizer.cycles={cycles} must be at least 1 and at most the run's {total_steps} steps.")
    cycle_steps = -(-total_steps // cycles)
    if warmup_steps >= cycle_steps:
        holder = "the run" if cycles == 1 else f"each of the {cycles} cycles"
        shorter = cycle_steps // 10
        _log.info("optimizer.warmup is %d steps in place of %d: %s has %d.", shorter, warmup_steps, holder, cycle_steps)
        warmup_steps = shorter
    after_warmup = max(1, cycle_steps - warmup_steps)
    schedule: optax.Schedule
    if name == "constant":
        schedule = optax.constant_schedule(learning_rate)
    elif name == "poly":
        schedule = optax.polynomial_schedule(learning_rate, 0.0, poly_power, after_warmup)
    elif name == "cosine":
        schedule = optax.cosine_decay_schedule(learning_rate, after_warmup)
    else:
        if step_every < 1:
            raise InputError("optimizer.schedule='step' needs optimizer.step_every, such as '30 epochs'.")
        if not 0 < step_factor <= 1:
            raise InputError(f"optimizer.step_factor={step_factor} must lie above 0 and not above 1.")
        schedule = optax.exponential_decay(learning_rate, step_every, step_factor, staircase=True)
    if warmup_steps:
        warmup = optax.linear_schedule(learning_rate / warmup_steps, learning_rate, max(1, warmup_steps - 1))
        schedule = optax.join_schedules([warmup, schedule], [warmup_steps])
    if cycles == 1:
        return schedule
    return lambda step: schedule(step % cycle_steps)


def create_optimizer(
    schedule: optax.Schedule,
    *,
    momentum: float = 0.9,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    decay_scale: bool = False,
    decay_shift: bool = False,
    bias_rate: float = 1.0,
    clip_norm: float = 0.0,
) -> optax.GradientTransformation:
    """Creates SGD with momentum, as in the paper (section 3.2).

    Args:
      schedule: the learning rate at each step.
      momentum: 0 leaves it out.
      nesterov: Nesterov's form of it.
      weight_decay: added to the gradient of convolution kernels, times the kernel, as in Caffe; biases of convolutions
        are spared.
      decay_scale: whether BatchNorm's scales decay too, as in the authors' files.
      decay_shift: whether its shifts do, as in the authors' files of SegNet-Basic.
      bias_rate: factor of the learning rate of convolutions' biases; the authors' files have 2.
      clip_norm: gradients of a greater global norm are scaled down to it, before the weight decay; 0 leaves it out.
    """
    steps = []
    if clip_norm:
        steps.append(optax.clip_by_global_norm(clip_norm))
    if weight_decay:
        decayed = {"kernel", *(["scale"] if decay_scale else []), *(["shift"] if decay_shift else [])}
        steps.append(optax.add_decayed_weights(weight_decay, mask=functools.partial(is_one_of, kinds=decayed)))
    steps.append(optax.sgd(schedule, momentum=momentum or None, nesterov=nesterov))
    if bias_rate != 1:
        steps.append(optax.masked(optax.scale(bias_rate), functools.partial(is_one_of, kinds={"bias"})))
    return optax.chain(*steps)


def is_one_of(params: Any, kinds: Collection[str]) -> Any:
    """Tells which parameters are of these kinds: a tree like `params`, of bools.

    Args:
      params: of a network.
      kinds: among "kernel" and "bias" of convolutions, and "scale" and "shift" of BatchNorm.
    """

    def kind(layer: str, name: str) -> str:
        # Flax calls the shift a bias.
        return "shift" if name == "bias" and layer.endswith("_bn") else name

    return jax.tree_util.tree_map_with_path(lambda path, _: kind(path[-2].key, path[-1].key) in kinds, params)
