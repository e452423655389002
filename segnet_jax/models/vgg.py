"""What the networks around VGG16 (arXiv 1409.1556) share: its convolutions, and fully connected layers as convolutions.

As the SegNet paper trained them for its comparison (arXiv 1511.00561, section 4): BatchNorm after every convolution
but those that score classes, and dropout of 0.5 "at the end of deeper convolutional layers".
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ClassVar, TypeVar

import jax
from flax import linen as nn

from segnet_jax.models.base import SegmentationModel
from segnet_jax.models.segnet import SegNet

_Pooled = TypeVar("_Pooled")


class VGGModel(SegmentationModel):
    """The fields and building blocks of the networks around VGG16.

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

    def unit(
        self,
        x: jax.Array,
        features: int,
        name: str,
        train: bool,
        *,
        kernel_size: int = 3,
        padding: int | str = "SAME",
        dilation: int = 1,
    ) -> jax.Array:
        """Convolution, BatchNorm `name`_bn or a bias, ReLU: [N, H, W, C] to [N, H', W', F], F scaled by the width.

        Args:
          x: of the type `dtype`.
          features: at full width.
          name: of the convolution.
          train: whether BatchNorm uses the batch's statistics.
          kernel_size: side of the square kernel.
          padding: zeros on every side, in pixels, or "SAME".
          dilation: distance of the kernel's taps, in pixels.
        """
        x = self.convolution(
            x,
            features,
            name,
            kernel_size=kernel_size,
            padding=padding,
            dilation=dilation,
            use_bias=not self.batch_norm,
        )
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
        """`pool` of the convolutions of encoder stage `number`, all of one dilation; `padding` is the first one's."""
        body = functools.partial(
            _encode, layers=self.encoder[number - 1], train=train, pool=pool, padding=padding, dilation=dilation
        )
        return self.stage(number, body, x)


def _encode(
    model: VGGModel,
    x: jax.Array,
    *,
    layers: tuple[tuple[str, int], ...],
    train: bool,
    pool: Callable[[jax.Array], _Pooled],
    padding: int | str,
    dilation: int,
) -> _Pooled:
    for name, features in layers:
        x = model.unit(x, features, name, train, padding=padding, dilation=dilation)
        padding = "SAME"
    return pool(x)
