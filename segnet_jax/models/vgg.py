"""The base class of the networks around VGG16 (arXiv 1409.1556): fully connected layers are convolutions here.

As the SegNet paper trained them for its comparison (arXiv 1511.00561, section 4): BatchNorm after every convolution
but those that score classes, and dropout of 0.5 "at the end of deeper convolutional layers".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import jax
from flax import linen as nn

from segnet_jax.errors import InputError
from segnet_jax.models.base import SegmentationModel
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

        F is `features` times the width multiplier; `options` are padding and dilation, as of `conv`.
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

        def body(model: VGGModel, x: jax.Array) -> _Pooled:
            before = padding
            for name, features in self.encoder[number - 1]:
                x = model.unit(x, features, name, train, padding=before, dilation=dilation)
                before = "SAME"
            return pool(x)

        return self.stage(number, body, x)

    def fully_connected(self, x: jax.Array, train: bool, **options: Any) -> jax.Array:
        """Applies fc6 and fc7 with their dropout; `options` are those of `unit` for fc6."""
        x = self.dropout(self.unit(x, self.fc_features, "fc6", train, **options), train)
        return self.dropout(self.unit(x, self.fc_features, "fc7", train, kernel_size=1), train)
