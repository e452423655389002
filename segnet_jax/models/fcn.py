"""FCN-32s, FCN-16s and FCN-8s (arXiv 1411.4038), as the SegNet paper compares with them (arXiv 1511.00561, section 4).

The paper does not say which stride it used. The 539 MB of its Table 6 are those of 4096 features in fc6 and fc7:
FCN-32s has 539 MB, FCN-16s and FCN-8s 538 MB.

It also says that upsampling by the indices of pooling "can be incorporated into any encoder-decoder architecture such
as [2]", this one (section 1), and leaves the rest open; `upsampling="unpool"` is our answer.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from segnet_jax.errors import InputError
from segnet_jax.models.base import pool_with_indices
from segnet_jax.models.modules import ConvTranspose
from segnet_jax.models.vgg import VGGModel
from segnet_jax.ops.pooling import max_pool_argmax, max_unpool
from segnet_jax.ops.upsampling import bilinear_conv_transpose


class FCN(VGGModel):
    """VGG16 made convolutional, whose scores at stride 32 are upsampled, added to those of finer pools, and upsampled.

    Attributes:
      upsampling: "learnt": deconvolutions over all classes, which start as bilinear interpolation. "fixed": bilinear
        interpolation, without parameters, as in FCN's own code. Table 3 has both. "unpool": every doubling, down to the
        full resolution, is SegNet's. Indices belong to the C features of an encoder, so a 1x1 convolution spreads the K
        scores over them (`unpoolN_spread`, no bias), they go where the maxima of pool N were, and a 3x3 convolution
        scores what is there (`unpoolN_score`). Scores are fused as before. This takes 10 C K + K parameters for each of
        the five pools: 161,975 for K = 11, where the deconvolutions of FCN-8s have 34,848 and FCN-32s's has 495,616.
      reference_padding: False: every convolution keeps the size of its input. True: the padding of FCN's own code, 100
        pixels of zeros around the image and none around the input of fc6, at 2.2 times the cost for 360x480.
    """

    upsampling: str = "learnt"
    reference_padding: bool = False

    # The finer pools that are scored, in this order, each with the name of the upsampling that leads to it.
    skips: ClassVar[tuple[tuple[int, str], ...]] = ()
    last_upsampling: ClassVar[str] = "upscore"

    @nn.nowrap
    def check_fields(self) -> None:
        """Refuses values that make no sense, as in `SegmentationModel`."""
        super().check_fields()
        if self.upsampling not in ("learnt", "fixed", "unpool"):
            raise InputError(f"upsampling={self.upsampling!r} is not known; choose learnt, fixed or unpool.")

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Returns logits [N, H, W, num_classes] of normalised images, float [N, H, W, channels]."""
        x = self.checked(x)
        size = x.shape[1], x.shape[2]
        pools: dict[int, jax.Array] = {}
        indices: dict[int, Any] = {}
        for number in range(1, len(self.encoder) + 1):
            padding = 100 if number == 1 and self.reference_padding else "SAME"
            pool = pool_with_indices if self.upsampling == "unpool" else _max_pool
            x, indices[number] = self.encode(number, x, train, pool, padding=padding)
            self.sow("intermediates", f"pool{number}", x)
            pools[number] = x
        x = self.fully_connected(x, train, kernel_size=7, padding=0 if self.reference_padding else "SAME")
        x = self.classifier(x, "score_fr", kernel_size=1)
        if self.upsampling == "unpool":
            return self._unpooled(x, pools, indices, size)
        return self._deconvolved(x, pools, size)

    def _deconvolved(self, x: jax.Array, pools: Mapping[int, jax.Array], size: tuple[int, int]) -> jax.Array:
        """Upsamples the scores of fc7 by deconvolutions, and adds those of the pools on the way, by number."""
        # The place of the first score on the grid of the pool that has its resolution: fc6 without padding loses 3.
        start = 3 if self.reference_padding else 0
        for number, name in self.skips:
            skip = self.classifier(pools[number], f"score_pool{number}", kernel_size=1)
            # A kernel of 4 with stride 2 begins one pixel before the first score, and makes 2 n + 2 pixels of n.
            begin = 2 * start - 1
            start = max(begin, 0)
            rows, columns = (min(2 * x.shape[i] + 2 - (start - begin), skip.shape[i] - start) for i in (1, 2))
            x = self._upsample(x, name, 2, (rows, columns), start - begin)
            x = x + skip[:, start : start + rows, start : start + columns]
        stride = 2 ** (len(self.encoder) - len(self.skips))
        # A kernel of twice the stride begins half a stride before the first score. Of conv1_1's output, 99 pixels lie
        # before the image if the border is 100.
        padding = stride // 2 - stride * start + (99 if self.reference_padding else 0)
        return self._upsample(x, self.last_upsampling, stride, size, padding)

    def _unpooled(
        self,
        x: jax.Array,
        pools: Mapping[int, jax.Array],
        indices: Mapping[int, jax.Array],
        size: tuple[int, int],
    ) -> jax.Array:
        """Upsamples the scores of fc7 by unpooling, and adds those of the pools on the way, by number."""
        # fc6 without padding loses 3 on every side of pool5, beyond the image; conv1_1 has 99 pixels around the image.
        lost, border = (3, 99) if self.reference_padding else (0, 0)
        x = jnp.pad(x, ((0, 0), (lost, lost), (lost, lost), (0, 0)))
        scored = [number for number, _ in self.skips]
        for number in range(len(self.encoder), 0, -1):
            if number in scored:
                x = x + self.classifier(pools[number], f"score_pool{number}", kernel_size=1)
            height, width = pools[number - 1].shape[1:3] if number > 1 else (size[0] + 2 * border, size[1] + 2 * border)
            body = functools.partial(_unpool, number=number, size=(height, width))
            x = self.stage(number, body, x, indices[number])
        return x[:, border : border + size[0], border : border + size[1]]

    def _upsample(self, x: jax.Array, name: str, stride: int, size: tuple[int, int], padding: int) -> jax.Array:
        """Applies the deconvolution `name`, whose kernel is twice the stride, and crops it to `size` at `padding`."""
        if self.upsampling == "fixed":
            return bilinear_conv_transpose(x, 2 * stride, stride, size, padding)
        return ConvTranspose(
            features=self.num_classes,
            kernel_size=2 * stride,
            stride=stride,
            padding=padding,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            name=name,
        )(x, size)


def _max_pool(x: jax.Array) -> tuple[jax.Array, None]:
    return max_pool_argmax(x)[0], None


def _unpool(model: FCN, x: jax.Array, indices: jax.Array, *, number: int, size: tuple[int, int]) -> jax.Array:
    x = model.conv(indices.shape[-1], 1, name=f"unpool{number}_spread")(x)
    return model.classifier(max_unpool(x, indices, size), f"unpool{number}_score", kernel_size=3)


class FCN32s(FCN):
    """FCN whose scores are those of fc7 alone, upsampled by 32."""


class FCN16s(FCN):
    """FCN whose scores are those of fc7 and pool4, upsampled by 16."""

    skips = ((4, "upscore2"),)
    last_upsampling = "upscore16"


class FCN8s(FCN):
    """FCN whose scores are those of fc7, pool4 and pool3, upsampled by 8."""

    skips = ((4, "upscore2"), (3, "upscore_pool4"))
    last_upsampling = "upscore8"
