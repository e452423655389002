"""The base class of the networks around VGG16 (arXiv 1409.1556): fully connected layers are convolutions here.

As the SegNet paper trained them for its comparison (arXiv 1511.00561, section 4): BatchNorm after every convolution
but those that score classes, and dropout of 0.5 "at the end of deeper convolutional layers".
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import jax
from flax import linen as nn

from segnet_jax.errors import InputError
from segnet_jax.models.base import SegmentationModel, Stage
from segnet_jax.models.segnet import SegNet

_Pooled = TypeVar("_Pooled")


class VGGModel(SegmentationModel):
    """A network with the convolutions of VGG16 as its encoder.

    The paper does not say which layers its dropout follows; inferred: fc6 and fc7, where FCN and DeepLab have it.

    Attributes:
      dropout_rate: after fc6 and fc7.
      batch_norm: True: BatchNorm after every convolution but the scoring ones, and no bias before it. False: biases
        instead, as in the original FCN and DeepLab.
      fc_features: of fc6 and fc7 at full width.
    """

    dropout_rate: float = 0.5
    batch_norm: bool = True
    fc_features: int = 4096

    # SegNet's encoder is VGG16's.
    encoder: ClassVar = SegNet.encoder

    @nn.nowrap
    def check_fields(self) -> None:
        """Refuses values that make no sense, as in `SegmentationModel`."""
        super().check_fields()
        if not self.fc_features > 0:
            raise InputError(f"fc_features={self.fc_features} must be at least 1.")

    def unit(
        self, x: jax.Array, features: int, name: str, train: bool, *, kernel_size: int = 3, **options: Any
    ) -> jax.Array:
        """Applies convolution `name`, BatchNorm `name`_bn or a bias, and ReLU: [N, H, W, C] to [N, H', W', F].

        Args:
          x: of the type `dtype`.
          features: F at full width.
          name: of the convolution.
          train: whether BatchNorm uses the batch's statistics.
          kernel_size: side of the square kernel.
          **options: padding and dilation, as of `conv`.
        """
        x = self.convolution(x, features, name, kernel_size=kernel_size, use_bias=not self.batch_norm, **options)
        return self.batch_normalization(x, f"{name}_bn", train, relu=True) if self.batch_norm else nn.relu(x)

    def encode(
        self,
        number: int,
        x: jax.Array,
        train: bool,
        pool: Callable[[jax.Array], _Pooled],
        *,
        padding: int | str = "SAME",
        dilation: int = 1,
    ) -> _Pooled:
        """Applies the convolutions of encoder stage `number`, then `pool`.

        Args:
          number: 1 is the stage at full resolution.
          x: of the type `dtype`.
          train: whether BatchNorm uses the batch's statistics.
          pool: from the last convolution's output to the result.
          padding: of the first convolution, in pixels or "SAME"; that of the others is "SAME".
          dilation: of all of them, in pixels.
        """
        body = functools.partial(
            _encode, layers=self.encoder[number - 1], train=train, pool=pool, padding=padding, dilation=dilation
        )
        return self.stage(number, body, x)


def _encode(
    model: VGGModel,
    x: jax.Array,
    *,
    layers: Stage,
    train: bool,
    pool: Callable[[jax.Array], _Pooled],
    padding: int | str,
    dilation: int,
) -> _Pooled:
    for name, features in layers:
        x = model.unit(x, features, name, train, padding=padding, dilation=dilation)
        padding = "SAME"
    return pool(x)
