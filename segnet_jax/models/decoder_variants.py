"""The decoder study (arXiv 1511.00561, section 3.1 and Table 1): one encoder, SegNet-Basic's, and eight decoders.

`segnet_basic` itself is in `segnet.py`; the other seven are here. The authors released none of them, and the paper
leaves open what is marked as inferred below. The numbers of parameters are within 3 % of Table 1's.

The paper trained them without dropout. A dropout rate puts it where SegNet-Basic has it: after pool3 and pool4, and
after the decoders 4 and 3 where these have filters.
"""

from __future__ import annotations

from typing import ClassVar

import jax
from flax import linen as nn

from segnet_jax.models.modules import ConvTranspose, DepthwiseConv
from segnet_jax.models.segnet import SegNetBasic
from segnet_jax.ops.pooling import max_pool_argmax
from segnet_jax.ops.upsampling import bilinear_resize


class SegNetBasicSingleChannelDecoder(SegNetBasic):
    """SegNet-Basic whose decoder filters have one channel and "only convolve their corresponding feature map"."""

    def decoder_unit(self, x: jax.Array, features: int, name: str, train: bool) -> jax.Array:
        """Convolves every feature map by itself, and applies BatchNorm."""
        x = DepthwiseConv(self.kernel_size, dtype=self.dtype, param_dtype=self.param_dtype, name=name)(x)
        return self.batch_normalization(self.kept(x), f"{name}_bn", train)


class SegNetBasicEncoderAddition(SegNetBasic):
    """SegNet-Basic that adds the 64 maps of the encoder to the output of the decoder.

    Inferred: the maps are the pooled ones, added after BatchNorm wherever there are some of that resolution: pool3 to
    decoder 4, pool2 to decoder 3 and pool1 to decoder 2.
    """

    adds_encoder = True


class EncoderOnly(SegNetBasic):
    """SegNet-Basic's encoders alone, for networks that do not unpool."""

    @property
    def last_layer(self) -> str:
        """None, as in `SegmentationModel`: upsampling that is learnt, or sums, follow the scores of most of them."""
        return ""

    def encode(self, x: jax.Array, train: bool) -> tuple[list[jax.Array], list[tuple[int, int]]]:
        """Returns what the encoders store for the decoder, the finest first, and the size (H, W) that each pooled."""
        x = self.checked(x)
        stored, sizes = [], []
        for number in range(1, len(self.encoder) + 1):
            sizes.append((x.shape[1], x.shape[2]))
            x = self.encode_stage(number, x, train, lambda x: max_pool_argmax(x)[0])
            self.sow("intermediates", f"pool{number}", x)
            x = self.deep_dropout(number, x, train)
            stored.append(self.stored(x, number))
        return stored, sizes

    def stored(self, x: jax.Array, number: int) -> jax.Array:
        """Returns what the decoder gets of encoder `number`, whose pooled map is `x`: the map itself."""
        del number
        return x


class FCNBasic(EncoderOnly):
    """SegNet-Basic's encoders and FCN's decoders: an 8x8 deconvolution doubles the map and an encoder's map is added.

    The encoder's maps are compressed to as many channels as classes by a 1x1 convolution. Nothing else in the decoder
    is trained. The kernels start as bilinear interpolation.

    Inferred: the geometry of the deconvolution (padding 3, so that stride 2 doubles a map exactly, and what ceil-mode
    pooling added is cropped); that its result has neither BatchNorm nor bias; that the compressing convolution, whose
    output are class scores, has a bias; and that pool3, pool2 and pool1 are added, to decoders 4, 3 and 2.
    """

    adds_encoder = True
    reduces_dimension: ClassVar[bool] = True

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Returns logits [N, H, W, num_classes] of normalised images, float [N, H, W, channels]."""
        stored, sizes = self.encode(x, train)
        x = stored[-1]
        for number in range(len(stored), 0, -1):
            x = ConvTranspose(
                features=x.shape[-1],
                kernel_size=8,
                stride=2,
                padding=3,
                dtype=self.dtype,
                param_dtype=self.param_dtype,
                name=f"deconv{number}",
            )(x, sizes[number - 1])
            if self.adds_encoder and number > 1:
                x = x + stored[number - 2]
        return x if self.reduces_dimension else self.classifier(x, "conv_classifier", kernel_size=1)

    def stored(self, x: jax.Array, number: int) -> jax.Array:
        """Returns the map of encoder `number`, with as many channels as classes where the variant says so."""
        if self.reduces_dimension and (self.adds_encoder or number == len(self.encoder)):
            # At once: otherwise XLA may put it off until the decoder needs it, and hold x in its place.
            return self.classifier(x, f"conv_reduce{number}", kernel_size=1)
        return x


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


class BilinearInterpolation(EncoderOnly):
    """SegNet-Basic's encoders without a learnt decoder: bilinear interpolation to the size of the image.

    Inferred: pool4 is classified by a 1x1 convolution, and its scores are interpolated by 16 at once.
    """

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Returns logits [N, H, W, num_classes] of normalised images, float [N, H, W, channels]."""
        stored, sizes = self.encode(x, train)
        x = self.classifier(stored[-1], "conv_classifier", kernel_size=1)
        return bilinear_resize(x, 2 ** len(stored), sizes[0])
