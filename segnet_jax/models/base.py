"""What every network here shares: its fields, and the convolution + BatchNorm + ReLU unit it is built of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name

from segnet_jax.errors import InputError
from segnet_jax.models.modules import STATISTICS, BatchNorm, he_init
from segnet_jax.ops.convolution import conv_general_dilated
from segnet_jax.ops.pooling import max_pool_argmax

# The name under which a rematerialisation policy finds the result of a convolution.
_CONVOLUTION = "convolution"

# What each policy keeps, by the names of SegmentationModel.remat.
REMAT_POLICIES: dict[str, Any] = {
    "none": jax.checkpoint_policies.everything_saveable,
    "activations": jax.checkpoint_policies.save_only_these_names(_CONVOLUTION, STATISTICS),
    "stages": jax.checkpoint_policies.nothing_saveable,
}

_Output = TypeVar("_Output")


def pool_with_indices(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`max_pool_argmax(x)`, for indices that are needed much later, in the decoder."""
    # Otherwise XLA may put off the indices until then too, and hold x in their place.
    return jax.lax.optimization_barrier(max_pool_argmax(x))


class SegmentationModel(nn.Module):
    """The fields that all networks share, and their building blocks.

    A network maps normalised images, float [N, H, W, channels], to logits [N, H, W, num_classes] of the type `dtype`,
    for any H, W >= 1. Its variables are `params` and `batch_stats`.

    Attributes:
      num_classes: K, void not counted.
      width_multiplier: scales the number of features of every layer but the classifier.
      dropout_rate: at the places of the authors' dropout ("Bayesian") variant; 0 leaves dropout out.
      stochastic: whether dropout is on outside of training too, while BatchNorm keeps to its running averages.
      batch_norm_momentum: `average = momentum * average + (1 - momentum) * batch` for the running statistics.
      axis_name: the mapped axis whose devices share batch statistics (cross-replica BatchNorm); None: each its own.
      dtype: of activations and logits (float32, bfloat16, float16); statistics are always float32.
      param_dtype: of parameters.
      remat: what the backward pass computes anew instead of keeping it: "none"; "activations", all but the results
        of convolutions and the statistics of batches; "stages", all but what passes from stage to stage.
      remat_stages: the stages that `remat` is for, 1 being the one at full resolution; () means all.
    """

    num_classes: int
    width_multiplier: float = 1.0
    dropout_rate: float = 0.0
    batch_norm_momentum: float = 0.9
    axis_name: str | None = None
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32
    remat: str = "none"
    remat_stages: Sequence[int] = ()
    stochastic: bool = False

    # The convolutions of each encoder stage in the order of computation: name, and features at full width.
    encoder: ClassVar[tuple[tuple[tuple[str, int], ...], ...]] = ()

    @property
    def size(self) -> dict[str, Any]:
        """The fields that training may change, by which this network differs from the configured one: none here."""
        return {}

    @property
    def num_stages(self) -> int:
        """How many stages there are to rematerialise: as many as encoders."""
        return len(self.encoder)

    def conv_bn(
        self, x: jax.Array, features: int, name: str, train: bool, *, kernel_size: int = 3, relu: bool = True
    ) -> jax.Array:
        """Convolution `name` without bias, BatchNorm `name`_bn, ReLU: [N, H, W, C] to [N, H, W, F].

        F is `features` times the width multiplier. The paper (section 3.1) has no biases where a BatchNorm follows: it
        subtracts every constant.
        """
        x = self.convolution(x, features, name, kernel_size=kernel_size)
        return self.batch_normalization(x, f"{name}_bn", train, relu=relu)

    def convolution(
        self,
        x: jax.Array,
        features: int,
        name: str,
        *,
        kernel_size: int,
        padding: int | str = "SAME",
        dilation: int = 1,
        use_bias: bool = False,
    ) -> jax.Array:
        """The convolution `name`, its result kept for the backward pass: [N, H, W, C] to [N, H', W', F].

        Args:
          x: of the type `dtype`.
          features: F at full width.
          name: of the layer.
          kernel_size: side of the square kernel.
          padding: zeros on every side, in pixels, or "SAME".
          dilation: distance of the kernel's taps, in pixels.
          use_bias: whether a bias is added.

        Raises:
          InputError: in the first layer, if the images have another number of channels than it was made for.
        """
        if self.encoder and name == self.encoder[0][0][0]:
            self.check_channels(x, name)
        x = nn.Conv(
            self.scaled(features),
            (kernel_size, kernel_size),
            padding=padding,
            kernel_dilation=dilation,
            use_bias=use_bias,
            kernel_init=he_init,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            conv_general_dilated=conv_general_dilated,
            name=name,
        )(x)
        return self.kept(x)

    def check_channels(self, images: jax.Array, first_layer: str) -> None:
        """Raises InputError if `images` have another number of channels than the layer that takes them."""
        if self.is_initializing():
            return
        channels = self.variables["params"][first_layer]["kernel"].shape[2]
        if images.shape[-1] != channels:
            raise InputError(
                f"The images have {images.shape[-1]} channels, but this network takes {channels}; give it images as it "
                "was trained with."
            )

    def check_axes(self, images: jax.Array, *, batch: bool = True) -> None:
        """Raises InputError unless `images` are [N, H, W, channels]; without `batch`, [H, W, channels] do as well."""
        if images.ndim != 4 if batch else images.ndim < 3:
            raise InputError(
                f"The images have the shape {images.shape}, but this network takes [N, H, W, channels]; give it a "
                "batch, one image as image[None]."
            )

    def kept(self, x: jax.Array) -> jax.Array:
        """`x`, which the remat policy "activations" keeps for the backward pass."""
        return checkpoint_name(x, _CONVOLUTION)

    def conv(self, features: int, kernel_size: int, kernel_init: nn.initializers.Initializer = he_init) -> nn.Conv:
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
            kernel_init=he_init,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            conv_general_dilated=conv_general_dilated,
            name=name,
        )(x)

    def scaled(self, features: int) -> int:
        """So many `features` at full width are how many at this one: at least 1."""
        return max(1, round(features * self.width_multiplier))

    def batch_normalization(self, x: jax.Array, name: str, train: bool, *, relu: bool = False) -> jax.Array:
        """BatchNorm `name`, and ReLU if asked: [N, H, W, C] to the same shape."""
        return BatchNorm(
            use_running_average=not train,
            momentum=self.batch_norm_momentum,
            relu=relu,
            # Outside a mapped axis, initialisation and evaluation, there are no replicas to average over.
            axis_name=self.axis_name if train and not self.is_initializing() else None,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            name=name,
        )(x)

    def dropout(self, x: jax.Array, train: bool) -> jax.Array:
        """Dropout in training, or if `stochastic`, where `dropout_rate` asks for it; needs the rng `dropout`."""
        if self.dropout_rate == 0:
            return x
        return nn.Dropout(self.dropout_rate, deterministic=not (train or self.stochastic))(x)

    def stage(self, number: int, body: Callable[..., _Output], *inputs: jax.Array) -> _Output:
        """Runs `body(model, *inputs)`, rematerialised as `remat` says."""
        if self.remat == "none" or (self.remat_stages and number not in self.remat_stages):
            return body(self, *inputs)
        return nn.remat(body, policy=REMAT_POLICIES[self.remat])(self, *inputs)
