"""SegNet and SegNet-Basic (arXiv 1511.00561, sections 3 and 3.1, figures 2 and 3)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ClassVar, TypeVar

import jax
from flax import linen as nn

from segnet_jax.errors import InputError
from segnet_jax.models.bands import stage_in_bands
from segnet_jax.models.base import SegmentationModel, Stage, pool_with_indices
from segnet_jax.ops.pooling import max_unpool

_Pooled = TypeVar("_Pooled")


class SegNet(SegmentationModel):
    """SegNet: the 13 convolutions of VGG16, and a decoder that mirrors them (the authors' `segnet` prototxt).

    Every 3x3 convolution but the classifier, conv1_1_D, is followed by BatchNorm and ReLU. Each decoder stage begins
    with unpooling by the indices of the encoder stage that it mirrors. With a dropout rate this is the authors'
    `bayesian_segnet`: dropout after pool3, pool4, pool5, conv5_1_D, conv4_1_D and conv3_1_D.

    Attributes:
      separate_classifier: whether conv1_1_D has 64 features, BatchNorm and ReLU too, and another 3x3 convolution,
        conv_classifier, scores classes: the authors' `bayesian_segnet_camvid`. Not for the networks derived from this.
    """

    separate_classifier: bool = False

    encoder: ClassVar[tuple[Stage, ...]] = (
        (("conv1_1", 64), ("conv1_2", 64)),
        (("conv2_1", 128), ("conv2_2", 128)),
        (("conv3_1", 256), ("conv3_2", 256), ("conv3_3", 256)),
        (("conv4_1", 512), ("conv4_2", 512), ("conv4_3", 512)),
        (("conv5_1", 512), ("conv5_2", 512), ("conv5_3", 512)),
    )
    decoder: ClassVar[tuple[Stage, ...]] = (
        (("conv1_2_D", 64),),
        (("conv2_2_D", 128), ("conv2_1_D", 64)),
        (("conv3_3_D", 256), ("conv3_2_D", 256), ("conv3_1_D", 128)),
        (("conv4_3_D", 512), ("conv4_2_D", 512), ("conv4_1_D", 256)),
        (("conv5_3_D", 512), ("conv5_2_D", 512), ("conv5_1_D", 512)),
    )
    kernel_size: ClassVar[int] = 3
    decoder_relu: ClassVar[bool] = True
    classifier_layer: ClassVar[tuple[str, int]] = ("conv1_1_D", 3)
    # Where the authors' variant with dropout has it: from this stage inwards, on both sides.
    first_dropout_stage: ClassVar[int] = 3
    # Whether the encoder's pooled map of the same resolution is added to a decoder's output.
    adds_encoder: ClassVar[bool] = False

    @property
    def last_layer(self) -> str:
        """The classifier, as in `SegmentationModel`."""
        return "conv_classifier" if self.separate_classifier else self.classifier_layer[0]

    @property
    def classifier_reach(self) -> int:
        """Returns how many rows of the last decoder's maps a score depends on, above and below its own."""
        return self.classifier_layer[1] // 2 + self.separate_classifier * (self.kernel_size // 2)

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Returns logits [N, H, W, num_classes] of normalised images, float [N, H, W, channels]."""
        x = self.checked(x)
        pooled_from, maps = [], []
        for number in range(1, len(self.encoder) + 1):
            size = x.shape[1], x.shape[2]
            x, indices = self.encode_stage(number, x, train, pool_with_indices)
            pooled_from.append((indices, size))
            self.sow("intermediates", f"pool{number}", x)
            x = self.deep_dropout(number, x, train)
            maps.append(x)

        for number in range(len(self.decoder), 0, -1):
            indices, size = pooled_from.pop()
            decode = functools.partial(_decode, number=number, width=size[1], train=train)
            reach = len(self.decoder[number - 1]) * (self.kernel_size // 2)
            if number == 1:
                reach += self.classifier_reach
            x = stage_in_bands(
                self, number, decode, x, indices, size=size, features=x.shape[-1], reach=reach, train=train
            )
            if self.adds_encoder and number > 1:
                x = x + maps[number - 2]
            x = self.deep_dropout(number, x, train)
        return self.classify(x, train) if train else x

    @nn.nowrap
    def check_fields(self) -> None:
        """Refuses values that make no sense, as in `SegmentationModel`."""
        if self.separate_classifier and type(self) is not SegNet:
            raise InputError("separate_classifier is for the network segnet alone; leave it out.")
        super().check_fields()

    def encode_stage(self, number: int, x: jax.Array, train: bool, pool: Callable[[jax.Array], _Pooled]) -> _Pooled:
        """Applies the convolutions of encoder stage `number` to [N, H, W, C], then `pool`."""
        layers = self.encoder[number - 1]

        def body(model: SegNet, x: jax.Array, rows: int) -> _Pooled:
            del rows
            for name, features in layers:
                x = model.conv_bn(x, features, name, train, kernel_size=model.kernel_size)
            return pool(x)

        size, features = (x.shape[1], x.shape[2]), self.scaled(layers[-1][1])
        reach = len(layers) * (self.kernel_size // 2)
        return stage_in_bands(self, number, body, x, size=size, features=features, reach=reach, train=train)

    def deep_dropout(self, number: int, x: jax.Array, train: bool) -> jax.Array:
        """Applies dropout after encoder or decoder `number`, if it is one of the deeper ones."""
        return self.dropout(x, train) if number >= self.first_dropout_stage else x

    def decoder_unit(self, x: jax.Array, features: int, name: str, train: bool) -> jax.Array:
        """Applies a decoder's convolution `name` with its BatchNorm, and ReLU if the network has it there."""
        return self.conv_bn(x, features, name, train, kernel_size=self.kernel_size, relu=self.decoder_relu)

    def classify(self, x: jax.Array, train: bool) -> jax.Array:
        """Returns logits [N, H, W, num_classes] of the last decoder's maps, [N, H, W, C]."""
        name, kernel_size = self.classifier_layer
        if self.separate_classifier:
            x = self.decoder_unit(x, self.encoder[0][0][1], name, train)
        return self.classifier(x, self.last_layer, kernel_size=kernel_size)


def _decode(
    model: SegNet, x: jax.Array, indices: jax.Array, *, number: int, width: int, train: bool, rows: int
) -> jax.Array:
    """Unpools to a height of `rows` and convolves; the last stage also classifies outside of training, band by band."""
    x = max_unpool(x, indices, (rows, width))
    for name, features in model.decoder[number - 1]:
        x = model.decoder_unit(x, features, name, train)
    return model.classify(x, train) if number == 1 and not train else x


class SegNetBasic(SegNet):
    """SegNet-Basic: four encoders and four decoders of one 7x7 convolution with 64 features each (section 3.1).

    The decoders have no ReLU, and a 1x1 convolution classifies. The receptive field at pool4 is 106x106 pixels. With
    a dropout rate this is the authors' `bayesian_segnet_basic`: dropout after pool3, pool4, conv_decode4 and
    conv_decode3.
    """

    encoder: ClassVar[tuple[Stage, ...]] = tuple(((f"conv{i}", 64),) for i in range(1, 5))
    decoder: ClassVar[tuple[Stage, ...]] = tuple(((f"conv_decode{i}", 64),) for i in range(1, 5))
    kernel_size: ClassVar[int] = 7
    decoder_relu: ClassVar[bool] = False
    classifier_layer: ClassVar[tuple[str, int]] = ("conv_classifier", 1)
