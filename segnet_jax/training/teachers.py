"""Distillation (Hinton et al. 2015): other networks, trained before, say the probabilities that a network learns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from segnet_jax.data.preprocessing import Normalize
from segnet_jax.models.base import SegmentationModel
from segnet_jax.runtime.sharding import map_over_devices, replicate
from segnet_jax.training.step import TrainState


@dataclass(frozen=True, eq=False)
class Teacher:
    """A trained network, of the classes of the one that it teaches.

    Attributes:
      model: the network.
      variables: `params` and `batch_stats`, for evaluation.
      normalize: from images to its own input, which need not be that of the network that learns.
    """

    model: SegmentationModel
    variables: dict[str, Any]
    normalize: Normalize


def create_taught_step(
    take_step: Callable[..., Any], teachers: Sequence[Teacher], devices: Sequence[jax.Device]
) -> Callable[..., Any]:
    """Returns `take_step` with the mean of the teachers' probabilities in each batch, as `probabilities`.

    The teachers see the very images that the network sees, changed at random alike, but nothing of them is masked. Each
    device has the whole of its share of a batch taught at once.

    Args:
      take_step: of `step.create_train_step`.
      teachers: one or more.
      devices: of all processes.
    """

    def mean_probabilities(variables: Sequence[dict[str, Any]], images: jax.Array) -> jax.Array:
        logits = (
            jnp.asarray(teacher.model.apply(own, teacher.normalize(images), train=False), jnp.float32)
            for teacher, own in zip(teachers, variables, strict=True)
        )
        return sum(map(jax.nn.softmax, logits), start=jnp.zeros(())) / len(teachers)

    teach = map_over_devices(mean_probabilities, devices, out_axes=0)
    variables = replicate([teacher.variables for teacher in teachers], devices)

    def take_taught_step(state: TrainState, batch: dict[str, jax.Array]) -> tuple[TrainState, Any]:
        return take_step(state, {**batch, "probabilities": teach(variables, batch["image"])})

    return take_taught_step
