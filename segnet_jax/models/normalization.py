"""Batch normalisation with its ReLU, as the networks use it."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name

# The name under which a rematerialisation policy finds the statistics of a batch.
STATISTICS = "batch_statistics"


class BatchNorm(nn.Module):
    """Normalises each channel of [N, H, W, C] to `scale` and `bias`, then applies ReLU if asked.

    The variables are those of `flax.linen.BatchNorm`: `params` scale and bias, `batch_stats` mean and var, float32.
    Unlike it, this module names the statistics of a batch, so that rematerialisation can keep them, a few numbers, and
    compute the normalised activations anew.

    Attributes:
      use_running_average: normalise by the running averages instead of the batch's statistics.
      momentum: `average = momentum * average + (1 - momentum) * batch`.
      relu: whether ReLU follows.
      epsilon: added to the variance.
      axis_name: the mapped axis whose devices share batch statistics.
      dtype: of the result; the statistics are float32.
      param_dtype: of scale and bias.
    """

    use_running_average: bool
    momentum: float = 0.9
    relu: bool = False
    epsilon: float = 1e-5
    axis_name: str | None = None
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """The normalised activations, `dtype` [N, H, W, C]."""
        channels = x.shape[-1]
        average_mean = self.variable("batch_stats", "mean", jnp.zeros, channels, jnp.float32)
        average_var = self.variable("batch_stats", "var", jnp.ones, channels, jnp.float32)
        scale = self.param("scale", nn.initializers.ones_init(), (channels,), self.param_dtype)
        bias = self.param("bias", nn.initializers.zeros_init(), (channels,), self.param_dtype)
        x = x.astype(jnp.float32)
        if self.use_running_average:
            mean, var = average_mean.value, average_var.value
        else:
            mean, var = self._batch_statistics(x)
            if not self.is_initializing():
                average_mean.value = self.momentum * average_mean.value + (1 - self.momentum) * mean
                average_var.value = self.momentum * average_var.value + (1 - self.momentum) * var
        # Not (x - mean) * factor: the backward pass would hold x - mean besides x.
        factor = scale * jax.lax.rsqrt(var + self.epsilon)
        x = x * factor + (bias - mean * factor)
        return (nn.relu(x) if self.relu else x).astype(self.dtype)

    def _batch_statistics(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Mean and biased variance of each channel, over all devices of `axis_name`."""
        axes = tuple(range(x.ndim - 1))
        # Both means in one pass over the activations.
        means = jnp.stack([jnp.mean(x, axes), jnp.mean(jnp.square(x), axes)])
        if self.axis_name is not None:
            means = jax.lax.pmean(means, self.axis_name)
        mean, mean_of_squares = checkpoint_name(means, STATISTICS)
        return mean, jnp.maximum(0.0, mean_of_squares - jnp.square(mean))
