"""What every network here shares: its fields, and the convolution + BatchNorm + ReLU unit it is built of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from segnet_jax.models.convolution import conv_general_dilated

# He et al. 2015 (arXiv 1502.01852), by which the paper initialises encoder and decoder (arXiv 1511.00561,
# section 3.2): a zero-mean normal distribution of variance 2 / fan_in.
_he_init = nn.initializers.variance_scaling(2.0, "fan_in", "normal")

_Output = TypeVar("_Output")


class SegmentationModel(nn.Module):
    """The fields that all networks share, and their building blocks.

    A network maps normalised images, float [N, H, W, channels], to logits [N, H, W, num_classes] of the type `dtype`,
    for any H, W >= 1. Its variables are `params` and `batch_stats`.

    Attributes:
      num_classes: K, void not counted.
      width_multiplier: scales the number of features of every layer but the classifier.
      dropout_rate: at the places of the authors' dropout ("Bayesian") variant; 0 leaves dropout out.
      batch_norm_momentum: `average = momentum * average + (1 - momentum) * batch` for the running statistics.
      axis_name: the mapped axis whose devices share batch statistics (cross-replica BatchNorm); None: each its own.
      dtype: of activations and logits (float32, bfloat16, float16); statistics are always float32.
      param_dtype: of parameters.
      remat_stages: stages, 1 being the one at full resolution, whose activations the backward pass computes anew
        instead of keeping them.
    """

    num_classes: int
    width_multiplier: float = 1.0
    dropout_rate: float = 0.0
    batch_norm_momentum: float = 0.9
    axis_name: str | None = None
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32
    remat_stages: Sequence[int] = ()

    @property
    def num_stages(self) -> int:
        """How many stages there are to rematerialise."""
        raise NotImplementedError

    def conv_bn(
        self, x: jax.Array, features: int, name: str, train: bool, *, kernel_size: int = 3, relu: bool = True
    ) -> jax.Array:
        """Convolution `name` without bias, BatchNorm `name`_bn, ReLU: [N, H, W, C] to [N, H, W, F].

        F is `features` times the width multiplier. The paper (section 3.1) has no biases where a BatchNorm follows: it
        subtracts every constant.
        """
        x = nn.Conv(
            max(1, round(features * self.width_multiplier)),
            (kernel_size, kernel_size),
            use_bias=False,
            kernel_init=_he_init,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            conv_general_dilated=conv_general_dilated,
            name=name,
        )(x)
        x = nn.BatchNorm(
            use_running_average=not train,
            momentum=self.batch_norm_momentum,
            # Outside a mapped axis, initialisation and evaluation, there are no replicas to average over.
            axis_name=self.axis_name if train and not self.is_initializing() else None,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            name=f"{name}_bn",
        )(x)
        return nn.relu(x) if relu else x

    def conv(self, features: int, kernel_size: int, kernel_init: nn.initializers.Initializer = _he_init) -> nn.Conv:
        """A convolution without bias and nothing after it, for `setup`: [N, H, W, C] to [N, H, W, features]."""
        return nn.Conv(
            features,
            (kernel_size, kernel_size),
            use_bias=False,
            kernel_init=kernel_init,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            conv_general_dilated=conv_general_dilated,
        )

    def classifier(self, x: jax.Array, name: str, *, kernel_size: int) -> jax.Array:
        """The last convolution, the only one with a bias: [N, H, W, C] to logits [N, H, W, num_classes]."""
        return nn.Conv(
            self.num_classes,
            (kernel_size, kernel_size),
            kernel_init=_he_init,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            name=name,
        )(x)

    def dropout(self, x: jax.Array, train: bool) -> jax.Array:
        """Dropout in training, where `dropout_rate` asks for it; needs the rng `dropout`."""
        if self.dropout_rate == 0:
            return x
        return nn.Dropout(self.dropout_rate, deterministic=not train)(x)

    def stage(self, number: int, body: Callable[..., _Output], *inputs: jax.Array) -> _Output:
        """Runs `body(model, *inputs)`, rematerialised if `number` is among `remat_stages`."""
        if number in self.remat_stages:
            return nn.remat(body)(self, *inputs)
        return body(self, *inputs)
