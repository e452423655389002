"""Bayesian SegNet (arXiv 1511.02680): predictions and their uncertainty by dropout at prediction time."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from segnet_jax.models.base import SegmentationModel


class Posterior(NamedTuple):
    """Mean and variance of stochastic passes, for each pixel.

    Attributes:
      probabilities: float32 [N, H, W, K], the mean of the passes' softmax.
      uncertainty: float32 [N, H, W], its variance over the passes (divided by their number), averaged over classes.
    """

    probabilities: jax.Array
    uncertainty: jax.Array


def sample_posterior(
    model: SegmentationModel, variables: Any, images: jax.Array, keys: jax.Array, *, samples: int
) -> Posterior:
    """Samples by Monte-Carlo dropout: dropout is on, and BatchNorm uses its running statistics.

    The passes run one after the other, and their mean and variance are updated by Welford's method in float32, so that
    memory does not grow with their number and no digits are lost where they hardly differ.

    Args:
      model: the network. Without dropout, the result is the plain softmax and an uncertainty of 0.
      variables: `params` and `batch_stats`.
      images: normalised, float [N, H, W, channels].
      keys: random keys [N], one per image, so that an image's result does not depend on the others of its batch. Pass
        number t takes `jax.random.fold_in(key, t)`.
      samples: the number of passes, at least 1.
    """
    stochastic = model.clone(stochastic=True)

    def predict(image: jax.Array, key: jax.Array) -> jax.Array:
        logits: jax.Array = stochastic.apply(variables, image[None], train=False, rngs={"dropout": key})  # type: ignore[assignment]
        return jax.nn.softmax(logits[0].astype(jnp.float32))

    def add_pass(number: int, moments: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        mean, squares = moments
        sample = jax.vmap(lambda image, key: predict(image, jax.random.fold_in(key, number)))(images, keys)
        difference = sample - mean
        mean += difference / (number + 1)
        return mean, squares + jnp.sum(difference * (sample - mean), axis=-1)

    shape = images.shape[:-1]
    moments = jnp.zeros((*shape, model.num_classes)), jnp.zeros(shape)
    mean, squares = jax.lax.fori_loop(0, samples, add_pass, moments)
    return Posterior(mean, squares / (samples * model.num_classes))
