"""The base class of all networks: the fields they share, and the units they are built of."""

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

# The convolutions of a stage in the order of computation: name, and features at full width.
Stage = tuple[tuple[str, int], ...]

# The name under which a rematerialisation policy finds the result of a convolution.
_CONVOLUTION = "convolution"

# What each policy keeps, by the names of SegmentationModel.remat.
_REMAT_POLICIES: dict[str, Any] = {
    "none": jax.checkpoint_policies.everything_saveable,
    "activations": jax.checkpoint_policies.save_only_these_names(_CONVOLUTION, STATISTICS),
    "stages": jax.checkpoint_policies.nothing_saveable,
}

_Output = TypeVar("_Output")


def pool_with_indices(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Pools like `max_pool_argmax`, with indices that are needed much later, in the decoder."""
    # Otherwise XLA may put off the indices until then too, and hold x in their place.
    return jax.lax.optimization_barrier(max_pool_argmax(x))


class SegmentationModel(nn.Module):
    """A fully convolutional network that maps images to logits of the same height and width.

    It takes normalised images, float [N, H, W, channels], for any H, W >= 1, and returns logits [N, H, W, num_classes]
    of the type `dtype`. Its variables are `params` and `batch_stats`.

    Attributes:
      num_classes: K, void not counted.
      width_multiplier: scales the number of features of every layer but the classifier.
      dropout_rate: at the places of the authors' dropout ("Bayesian") variant; 0 leaves dropout out.
      batch_norm_momentum: `average = momentum * average + (1 - momentum) * batch` for the running statistics.
      axis_name: the mapped axis whose devices share batch statistics (cross-replica BatchNorm); None: each its own.
      dtype: of activations and logits (float32, bfloat16, float16); statistics are always float32.
      param_dtype: of parameters.
      remat: what the backward pass computes anew instead of keeping it: "none"; "activations", all but the results
        of convolutions and the statistics of batches; "stages", all but what passes from stage to stage.
      remat_stages: the stages that `remat` is for, 1 being the one at full resolution; () means all.
      stochastic: whether dropout is on outside of training too, while BatchNorm keeps to its running averages.
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

    # The convolutions of each encoder stage, the finest stage first.
    encoder: ClassVar[tuple[Stage, ...]] = ()

    @property
    def size(self) -> dict[str, Any]:
        """The fields that training may change, by which this network differs from the configured one: none here."""
        return {}

    @property
    def last_layer(self) -> str:
        """The layer whose bias adds to the logits as it is; "" if there is none."""
        return ""

    @property
    def num_stages(self) -> int:
        """The number of stages that can be rematerialised: as many as encoders."""
        return len(self.encoder)

    @nn.nowrap
    def check_fields(self) -> None:
        """Refuses values that make no sense.

        Raises:
          InputError: names the field.
        """
        if not 0 <= self.dropout_rate < 1:
            raise InputError(f"dropout_rate={self.dropout_rate} must lie from 0 to below 1.")
        if not self.width_multiplier > 0:
            raise InputError(f"width_multiplier={self.width_multiplier} must be above 0.")
        if self.remat not in _REMAT_POLICIES:
            raise InputError(f"remat={self.remat!r} is not known; choose none, activations or stages.")
        for stage in self.remat_stages:
            if stage not in range(1, self.num_stages + 1):
                raise InputError(
                    f"remat_stages has {stage!r}; this network has the stages 1 to {self.num_stages}, as in '(1, 2)'."
                )

    def conv(
        self,
        features: int,
        kernel_size: int,
        *,
        name: str | None = None,
        padding: int | str = "SAME",
        dilation: int = 1,
        use_bias: bool = False,
        kernel_init: nn.initializers.Initializer = he_init,
    ) -> nn.Conv:
        """Makes the layer of every convolution here: [N, H, W, C] to [N, H', W', features].

        Args:
          features: of the result, whatever the width multiplier.
          kernel_size: side of the square kernel.
          name: of the layer; None in `setup`, where the attribute names it.
          padding: zeros on every side, in pixels, or "SAME".
          dilation: distance of the kernel's taps, in pixels.
          use_bias: whether a bias is added.
          kernel_init: initialises the kernel, [k, k, C, features].
        """
        return nn.Conv(
            features,
            (kernel_size, kernel_size),
            padding=padding,
            kernel_dilation=dilation,
            use_bias=use_bias,
            kernel_init=kernel_init,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            conv_general_dilated=conv_general_dilated,
            name=name,
        )

    def convolution(self, x: jax.Array, features: int, name: str, *, kernel_size: int, **options: Any) -> jax.Array:
        """Applies the convolution `name`, and keeps its result for the backward pass: [N, H, W, C] to [N, H', W', F].

        F is `features` times the width multiplier; `options` are those of `conv`.
        """
        return self.kept(self.conv(self.scaled(features), kernel_size, name=name, **options)(x))

    def conv_bn(
        self, x: jax.Array, features: int, name: str, train: bool, *, kernel_size: int = 3, relu: bool = True
    ) -> jax.Array:
        """Applies convolution `name` without bias, BatchNorm `name`_bn, ReLU: [N, H, W, C] to [N, H, W, F].

        F is `features` times the width multiplier. The paper (section 3.1) has no biases where a BatchNorm follows: it
        subtracts every constant.
        """
        x = self.convolution(x, features, name, kernel_size=kernel_size)
        return self.batch_normalization(x, f"{name}_bn", train, relu=relu)

    def classifier(self, x: jax.Array, name: str, *, kernel_size: int) -> jax.Array:
        """Applies a convolution that scores classes, with a bias: [N, H, W, C] to logits [N, H, W, num_classes]."""
        return self.conv(self.num_classes, kernel_size, name=name, use_bias=True)(x)

    def batch_normalization(self, x: jax.Array, name: str, train: bool, *, relu: bool = False) -> jax.Array:
        """Applies BatchNorm `name`, and ReLU if asked: [N, H, W, C] to the same shape."""
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
        """Applies dropout in training, or if `stochastic`, unless `dropout_rate` is 0; needs the rng `dropout`."""
        if self.dropout_rate == 0:
            return x
        return nn.Dropout(self.dropout_rate, deterministic=not (train or self.stochastic))(x)

    def stage(self, number: int, body: Callable[..., _Output], *inputs: jax.Array) -> _Output:
        """Runs `body(model, *inputs)`, rematerialised as `remat` says."""
        if self.remat == "none" or (self.remat_stages and number not in self.remat_stages):
            return body(self, *inputs)
        return nn.remat(body, policy=_REMAT_POLICIES[self.remat])(self, *inputs)

    def kept(self, x: jax.Array) -> jax.Array:
        """Marks `x` as a result that the remat policy "activations" keeps for the backward pass."""
        return checkpoint_name(x, _CONVOLUTION)

    def scaled(self, features: int) -> int:
        """Returns the number of features that is `features` at full width: at least 1."""
        return max(1, round(features * self.width_multiplier))

    def checked(self, images: jax.Array, first_layer: str = "") -> jax.Array:
        """Returns the images as `dtype`.

        Args:
          images: float [N, H, W, channels].
          first_layer: the layer that takes them; by default the encoder's first.

        Raises:
          InputError: if they lack an axis, or have another number of channels than the network was made for.
        """
        if images.ndim != 4:
            raise InputError(
                f"The images have the shape {images.shape}, but this network takes [N, H, W, channels]; give it a "
                "batch, one image as image[None]."
            )
        if not self.is_initializing():
            channels = self.variables["params"][first_layer or self.encoder[0][0][0]]["kernel"].shape[2]
            if images.shape[-1] != channels:
                raise InputError(
                    f"The images have {images.shape[-1]} channels, but this network takes {channels}; give it images "
                    "as it was trained with."
                )
        return images.astype(self.dtype)
