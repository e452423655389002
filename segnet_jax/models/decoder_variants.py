"""The decoder study (arXiv 1511.00561, section 3.1 and Table 1): one encoder, SegNet-Basic's, and eight decoders.

`segnet_basic` itself is in `segnet.py`; the other seven are here. The authors released none of them, and the paper
leaves open what is marked as inferred below. The numbers of parameters are within 3 % of Table 1's.

The paper trained them without dropout. A dropout rate puts it where SegNet-Basic has it: after pool3 and pool4, and
after the decoders 4 and 3 where these have filters.
"""

from __future__ import annotations

import functools
from typing import ClassVar, NamedTuple

import jax
from flax import linen as nn

from segnet_jax.models.base import SegmentationModel, pool_with_indices
from segnet_jax.models.modules import ConvTranspose, DepthwiseConv
from segnet_jax.models.segnet import SegNetBasic
from segnet_jax.ops.pooling import max_pool_argmax, max_unpool
from segnet_jax.ops.upsampling import bilinear_resize


class _Pooled(NamedTuple):
    """An encoder's output: the pooled map, the index of each value, and the size (H, W) that was pooled."""

    values: jax.Array
    indices: jax.Array
    size: tuple[int, int]


class BasicVariant(SegmentationModel):
    """A network with SegNet-Basic's encoders: four 7x7 convolutions with BatchNorm, ReLU and 2x2 max pooling each."""

    encoder: ClassVar = SegNetBasic.encoder
    kernel_size: ClassVar[int] = SegNetBasic.kernel_size
    first_dropout_stage: ClassVar[int] = SegNetBasic.first_dropout_stage
    unpools: ClassVar[bool] = False

    def encode(self, x: jax.Array, train: bool) -> list[_Pooled]:
        """Returns the outputs of the four encoders, the finest first."""
        self.check_axes(x)
        x = x.astype(self.dtype)
        encoded = []
        for number in range(1, len(self.encoder) + 1):
            height, width = x.shape[1:3]
            x, indices = self.stage(number, functools.partial(_encode, number=number, train=train), x)
            self.sow("intermediates", f"pool{number}", x)
            x = self.deep_dropout(number, x, train)
            encoded.append(_Pooled(x, indices, (height, width)))
        return encoded

    def deep_dropout(self, number: int, x: jax.Array, train: bool) -> jax.Array:
        """Applies dropout after encoder or decoder `number`, if it is one of the deeper ones."""
        return self.dropout(x, train) if number >= self.first_dropout_stage else x


def _encode(model: BasicVariant, x: jax.Array, *, number: int, train: bool) -> tuple[jax.Array, jax.Array]:
    for name, features in model.encoder[number - 1]:
        x = model.conv_bn(x, features, name, train, kernel_size=model.kernel_size)
    return pool_with_indices(x) if model.unpools else max_pool_argmax(x)


class UnpoolingVariant(BasicVariant):
    """SegNet-Basic's encoders, and decoders that unpool by their indices, convolve 7x7 and apply BatchNorm, no ReLU."""

    unpools = True
    # A decoder filter sees its own feature map only, not all of them.
    single_channel: ClassVar[bool] = False
    # The encoder's map of the same resolution is added to a decoder's output.
    adds_encoder: ClassVar[bool] = False

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Returns logits [N, H, W, num_classes] of normalised images, float [N, H, W, channels]."""
        encoded = self.encode(x, train)
        x = encoded[-1].values
        for number in range(len(encoded), 0, -1):
            _, indices, size = encoded[number - 1]
            x = self.stage(number, functools.partial(_decode, number=number, size=size, train=train), x, indices)
            if self.adds_encoder and number > 1:
                x = x + encoded[number - 2].values
            x = self.deep_dropout(number, x, train)
        return self.classifier(x, "conv_classifier", kernel_size=1)


def _decode(
    model: UnpoolingVariant, x: jax.Array, indices: jax.Array, *, number: int, size: tuple[int, int], train: bool
) -> jax.Array:
    x = max_unpool(x, indices, size)
    name = f"conv_decode{number}"
    if not model.single_channel:
        return model.conv_bn(x, 64, name, train, kernel_size=model.kernel_size, relu=False)
    x = DepthwiseConv(model.kernel_size, dtype=model.dtype, param_dtype=model.param_dtype, name=name)(x)
    x = model.kept(x)
    return model.batch_normalization(x, f"{name}_bn", train)


class SegNetBasicSingleChannelDecoder(UnpoolingVariant):
    """SegNet-Basic whose decoder filters have one channel and "only convolve their corresponding feature map"."""

    single_channel = True


class SegNetBasicEncoderAddition(UnpoolingVariant):
    """SegNet-Basic that adds the 64 maps of the encoder to the output of the decoder.

    Inferred: the maps are the pooled ones, added after BatchNorm wherever there are some of that resolution: pool3 to
    decoder 4, pool2 to decoder 3 and pool1 to decoder 2.
    """

    adds_encoder = True


class FCNBasic(BasicVariant):
    """SegNet-Basic's encoders and FCN's decoders: an 8x8 deconvolution doubles the map and an encoder's map is added.

    The encoder's maps are compressed to as many channels as classes by a 1x1 convolution. Nothing else in the decoder
    is trained. The kernels start as bilinear interpolation.

    Inferred: the geometry of the deconvolution (padding 3, so that stride 2 doubles a map exactly, and what ceil-mode
    pooling added is cropped); that its result has neither BatchNorm nor bias; that the compressing convolution, whose
    output are class scores, has a bias; and that pool3, pool2 and pool1 are added, to decoders 4, 3 and 2.
    """

    adds_encoder: ClassVar[bool] = True
    reduces_dimension: ClassVar[bool] = True

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Returns logits [N, H, W, num_classes] of normalised images, float [N, H, W, channels]."""
        encoded = self.encode(x, train)
        x = self._reduced(encoded, len(encoded))
        for number in range(len(encoded), 0, -1):
            x = ConvTranspose(
                features=x.shape[-1],
                kernel_size=8,
                stride=2,
                padding=3,
                dtype=self.dtype,
                param_dtype=self.param_dtype,
                name=f"deconv{number}",
            )(x, encoded[number - 1].size)
            if self.adds_encoder and number > 1:
                x = x + self._reduced(encoded, number - 1)
        return x if self.reduces_dimension else self.classifier(x, "conv_classifier", kernel_size=1)

    def _reduced(self, encoded: list[_Pooled], number: int) -> jax.Array:
        """Returns the map of encoder `number`, with as many channels as classes where the variant says so."""
        x = encoded[number - 1].values
        return self.classifier(x, f"conv_reduce{number}", kernel_size=1) if self.reduces_dimension else x


class FCNBasicNoAddition(FCNBasic):
    """FCN-Basic that adds no map of the encoder, so only pool4 is compressed."""

    adds_encoder = False


class FCNBasicNoDimReduction(FCNBasic):
    """FCN-Basic with all 64 channels up to the size of the image, where a 1x1 convolution classifies (inferred)."""

    reduces_dimension = False


class FCNBasicNoAdditionNoDimReduction(FCNBasic):
    """FCN-Basic with all 64 channels up to the size of the image, without additions.

    Inferred: a 1x1 convolution classifies there.
    """

    adds_encoder = False
    reduces_dimension = False


class BilinearInterpolation(BasicVariant):
    """SegNet-Basic's encoders without a learnt decoder: bilinear interpolation to the size of the image.

    Inferred: pool4 is classified by a 1x1 convolution, and its scores are interpolated by 16 at once.
    """

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Returns logits [N, H, W, num_classes] of normalised images, float [N, H, W, channels]."""
        encoded = self.encode(x, train)
        x = self.classifier(encoded[-1].values, "conv_classifier", kernel_size=1)
        return bilinear_resize(x, 2 ** len(encoded), encoded[0].size)
