"""Modular training of the 2015 paper (arXiv 1505.07293, section 3.1 and figure 2).

The classifier is trained first, on the random features of pair 1, the outermost, and then stays as it is, as everything
does that has been trained. Then pair 1 is trained, pair 2 is inserted inside it and trained on the same loss, and so
on. Each mini-batch is given some iterations of L-BFGS.

A pair that is inserted has random kernels of unit norm, like all others: the paper gives it no special initialisation.
Where the decoder outside took the pooled features of its encoder, it now takes what the new pair makes of them, so the
loss jumps up first and has to be won back. The pairs to come lie in the checkpoint as they were initialised.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from clu import metrics as clu_metrics

from segnet_jax.data.masking import Masking
from segnet_jax.data.preprocessing import Normalize
from segnet_jax.errors import InputError
from segnet_jax.models.segnet_flat import SegNetFlat, pair_layers
from segnet_jax.runtime.compilation import Compiled
from segnet_jax.runtime.sharding import AXIS, map_over_devices
from segnet_jax.training import lbfgs, losses
from segnet_jax.training.step import TrainState

_log = logging.getLogger("segnet_jax")

RECONSTRUCTION_HEAD = "conv_reconstruct"

# Means over mini-batches.
MinibatchMetrics = clu_metrics.Collection.create(
    loss=clu_metrics.Average.from_output("loss"),
    initial_loss=clu_metrics.Average.from_output("initial_loss"),
    gradient_norm=clu_metrics.Average.from_output("gradient_norm"),
    iterations=clu_metrics.Average.from_output("iterations"),
)


@dataclass(frozen=True)
class Stage:
    """One phase of layer-wise training: the innermost of `pairs` pairs, the classifier, or both are trained."""

    pairs: int
    trains_pair: bool
    trains_classifier: bool

    def layers(self, head: str) -> set[str]:
        """Returns the names of the layers that are trained, if the classifier is called `head`."""
        pair = pair_layers(self.pairs) if self.trains_pair else ()
        classifier = (head, f"{head}_hidden") if self.trains_classifier else ()
        return {*pair, *classifier}

    def __str__(self) -> str:
        pair = [f"pair {self.pairs}"] if self.trains_pair else []
        return " and ".join(pair + ["the classifier"] * self.trains_classifier)


def stages_of(pairs: int, classifier: str, first_pair: int = 1) -> tuple[Stage, ...]:
    """Lists the stages of layer-wise training, in order.

    Args:
      pairs: of the whole network.
      classifier: "first" trains the classifier by itself before the pairs and "never" leaves it as it is (the paper
        has both); "joint" trains it together with the first pair, "every" with every pair, "last" by itself after all.
      first_pair: where training begins.

    Raises:
      InputError: if there is nothing to train.
    """
    stages = [
        Stage(pair, True, classifier == "every" or (classifier == "joint" and pair == first_pair))
        for pair in range(first_pair, pairs + 1)
    ]
    if classifier == "first":
        stages.insert(0, Stage(max(1, first_pair - 1), False, True))
    if classifier == "last":
        stages.append(Stage(pairs, False, True))
    if not stages:
        raise InputError(
            f"layerwise.first_pair={first_pair} is beyond the {pairs} pairs of the network, and "
            f"layerwise.classifier={classifier} trains nothing either; lower the former."
        )
    return tuple(stages)


def create_minibatch_step(*, devices: Sequence[jax.Device], **arguments: Any) -> Compiled:
    """Maps `minibatch_step` over the devices: the state alike for all, batches [devices, b, ...].

    The state passed in is consumed: its memory is used again for the next one.
    """
    return map_over_devices(functools.partial(minibatch_step, **arguments), devices, donate_argnums=(0,))


def minibatch_step(
    state: TrainState,
    batch: dict[str, jax.Array],
    *,
    model: SegNetFlat,
    stage: Stage,
    normalize: Normalize,
    class_weights: jax.Array | None,
    loss_normalization: str = "pixels",
    iterations: int = 20,
    memory: int = 10,
    accumulation_steps: int = 1,
    seed: int = 0,
    masking: Masking | None = None,
) -> tuple[TrainState, clu_metrics.Collection]:
    """Runs L-BFGS on one device's share of a mini-batch, as part of all devices that are mapped over `AXIS`.

    Loss and gradient are those of all devices together, so each of them goes the same way. What does not change is
    computed once: the encoders outside the trained pair, or all but the classifier.

    Args:
      state: alike on all devices.
      batch: `image` uint8 or float32 [b, h, w, channels] and `label` uint8 [b, h, w].
      model: the whole network.
      stage: what is trained.
      normalize: from images to the network's input.
      class_weights: float32 [K]; None trains the network to reconstruct its input, by the mean squared error, and not
        to label it.
      loss_normalization: "pixels" or "weights", see `losses.normalizer`.
      iterations: of L-BFGS.
      memory: of L-BFGS.
      accumulation_steps: the number of microbatches of the share, computed one after the other.
      seed: of masking.
      masking: which input values are missing; None: none are.

    Returns:
      The next state and the metrics of this step, both alike on all devices.
    """
    model = model.clone(pairs=stage.pairs)
    layers = stage.layers(model.head)
    trained = {name: layer for name, layer in state.params.items() if name in layers}
    fixed = {name: layer for name, layer in state.params.items() if name not in layers}

    images = batch["image"]
    valid_mask = None
    if masking is not None:
        rng = jax.random.fold_in(jax.random.key(seed), state.step)
        valid_mask = masking(jax.random.fold_in(rng, jax.lax.axis_index(AXIS)), images)
    target = batch["label"] if class_weights is not None else normalize(images)
    if class_weights is not None:
        total = losses.normalizer(target, class_weights, loss_normalization)
    else:
        total = jnp.asarray(target.size, jnp.float32)
    total = jax.lax.psum(total, AXIS)
    # A batch without a labelled pixel has a loss of zero, not 0 / 0.
    total = jnp.where(total > 0, total, 1.0)

    def split(x: jax.Array) -> jax.Array:
        return x.reshape(accumulation_steps, -1, *x.shape[1:])

    before = functools.partial(model.apply, {"params": state.params}, method=functools.partial(_before, stage=stage))
    inputs = jax.lax.map(before, split(normalize(images, valid_mask)))
    microbatches = (inputs, split(target))
    size = (images.shape[1], images.shape[2])

    def loss_of(trained: Any, inputs: Any, target: jax.Array) -> jax.Array:
        outputs: Any = model.apply(
            {"params": fixed | trained}, inputs, method=functools.partial(_after, stage=stage, size=size)
        )
        if class_weights is not None:
            return losses.cross_entropy(outputs, target, class_weights) / total
        return jnp.sum(jnp.square(outputs.astype(jnp.float32) - target)) / total

    def value_and_grad(trained: Any) -> tuple[jax.Array, Any]:
        def add(sums: Any, microbatch: Any) -> tuple[Any, None]:
            return jax.tree.map(jnp.add, sums, jax.value_and_grad(loss_of)(trained, *microbatch)), None

        zeros = (jnp.zeros(()), jax.tree.map(jnp.zeros_like, trained))
        return jax.lax.psum(jax.lax.scan(add, zeros, microbatches)[0], AXIS)

    minimum = lbfgs.minimize(value_and_grad, trained, iterations=iterations, memory=memory)
    metrics = MinibatchMetrics.single_from_model_output(
        loss=minimum.value,
        initial_loss=minimum.initial_value,
        gradient_norm=optax.tree.norm(minimum.grads),
        iterations=minimum.iterations,
    )
    return state.replace(step=state.step + 1, params={**state.params, **minimum.params}), metrics


def _before(model: SegNetFlat, x: jax.Array, *, stage: Stage) -> Any:
    """Computes what does not depend on the trained layers: input, pooled features and indices for `_after`."""
    size = (x.shape[-3], x.shape[-2])
    if not stage.trains_pair:
        pooled, indices = model.encode(x)
        return model.decode(pooled[-1], indices, size), ()
    pooled, indices = model.encode(x, last=stage.pairs - 1)
    return (x, *pooled)[-1], indices


def _after(model: SegNetFlat, inputs: Any, *, stage: Stage, size: tuple[int, int]) -> jax.Array:
    x, outer = inputs
    if stage.trains_pair:
        (x,), inner = model.encode(x, first=stage.pairs)
        x = model.decode(x, (*outer, *inner), size)
    return model.classify(x)
