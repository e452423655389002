"""The layers that Flax lacks or has otherwise, and their initialisers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from jax.ad_checkpoint import checkpoint_name

from segnet_jax.ops.depthwise import depthwise_conv
from segnet_jax.ops.upsampling import bilinear_kernel, conv_transpose

# The name under which a rematerialisation policy finds the statistics of a batch.
STATISTICS = "batch_statistics"

# He et al. 2015 (arXiv 1502.01852), by which the paper initialises encoder and decoder (arXiv 1511.00561,
# section 3.2): a zero-mean normal distribution of variance 2 / fan_in.
he_init = nn.initializers.variance_scaling(2.0, "fan_in", "normal")


def bilinear_init(stride: int) -> Callable[..., jax.Array]:
    """Returns an initialiser of kernels [k, k, C, C] that interpolates each channel, see `bilinear_kernel`."""

    def init(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
        del key
        return jnp.asarray(bilinear_kernel(shape[0], stride)[:, :, None, None] * np.eye(shape[2]), dtype)

    return init


class BatchNorm(nn.Module):
    """Normalises each channel of [N, H, W, C], scales and shifts it, and applies ReLU if asked.

    The variables are those of `flax.linen.BatchNorm`: `params` scale and bias, `batch_stats` mean and var, float32.
    Unlike it, this module names the statistics of a batch, so that rematerialisation can keep them, a few numbers, and
    compute the normalised activations anew.

    Attributes:
      use_running_average: normalise by the running averages instead of the batch's statistics.
      momentum: `average = momentum * average + (1 - momentum) * batch`.
      relu: whether ReLU follows.
      epsilon: added to the variance.
      axis_name: the mapped axis whose devices share batch statistics.
      dtype: of the result; the statistics are float32, computed in the type of float64 activations if these are such.
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
        """Returns the normalised activations, `dtype` [N, H, W, C]."""
        channels = x.shape[-1]
        average_mean = self.variable("batch_stats", "mean", jnp.zeros, channels, jnp.float32)
        average_var = self.variable("batch_stats", "var", jnp.ones, channels, jnp.float32)
        scale = self.param("scale", nn.initializers.ones_init(), (channels,), self.param_dtype)
        bias = self.param("bias", nn.initializers.zeros_init(), (channels,), self.param_dtype)
        x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
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
        """Returns mean and biased variance of each channel, [C] each, over all devices of `axis_name`."""
        axes = tuple(range(x.ndim - 1))
        # Both means in one pass over the activations.
        means = jnp.stack([jnp.mean(x, axes), jnp.mean(jnp.square(x), axes)])
        if self.axis_name is not None:
            means = jax.lax.pmean(means, self.axis_name)
        mean, mean_of_squares = checkpoint_name(means, STATISTICS)
        return mean, jnp.maximum(0.0, mean_of_squares - jnp.square(mean))


class DepthwiseConv(nn.Module):
    """A same-size depthwise convolution without a bias; the parameter is `kernel`, [k, k, 1, C].

    Attributes:
      kernel_size: k, odd.
      dtype: of the result.
      param_dtype: of the parameter.
    """

    kernel_size: int
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Convolves every channel by itself: [N, H, W, C] to the same shape."""
        shape = (self.kernel_size, self.kernel_size, 1, x.shape[-1])
        kernel = self.param("kernel", he_init, shape, self.param_dtype)
        x, kernel = promote_dtype(x, kernel, dtype=self.dtype)
        return depthwise_conv(x, kernel)


class ConvTranspose(nn.Module):
    """A transposed convolution with a learnt kernel, see `conv_transpose`.

    Attributes:
      features: F.
      kernel_size: k, side of the square kernel.
      stride: in pixels of the output.
      padding: pixels cropped from the top and the left.
      use_bias: whether a bias, [F], is added.
      kernel_init: of the parameter `kernel`, [k, k, C, F]; None: bilinear, which needs C = F.
      dtype: of the result.
      param_dtype: of the parameters.
    """

    features: int
    kernel_size: int
    stride: int
    padding: int = 0
    use_bias: bool = False
    kernel_init: Callable[..., jax.Array] | None = None
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, output_size: tuple[int, int]) -> jax.Array:
        """Upsamples [N, H, W, C] to [N, H', W', F], where (H', W') is `output_size`."""
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init or bilinear_init(self.stride), shape, self.param_dtype)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), self.param_dtype) if self.use_bias else None
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        y = conv_transpose(x, kernel, self.stride, output_size, self.padding)
        return y if bias is None else y + bias
