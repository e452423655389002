"""DeconvNet (arXiv 1505.04366), as the SegNet paper compares with it (arXiv 1511.00561, section 4)."""

from __future__ import annotations

import functools
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from segnet_jax.models.base import Stage, pool_with_indices
from segnet_jax.models.modules import ConvTranspose, he_init
from segnet_jax.models.vgg import VGGModel
from segnet_jax.ops.pooling import max_unpool

# Side of fc6's kernel: VGG16's pool5 of a 224x224 image.
_FC6_SIZE = 7


class DeconvNet(VGGModel):
    """VGG16 with its fully connected layers, and the mirrored network, which unpools by the indices of the encoder.

    The SegNet paper restricts fc6 and fc7 from 4096 features to 1024. Neither width gives the 877 MB of its Table 6.

    The original has BatchNorm and no dropout, `dropout_rate` 0. Its same-size deconvolutions are convolutions with
    mirrored kernels, and are stored as such; only fc6-deconv, which gives back the rows that fc6 loses, is transposed.
    fc6 has no padding, as in the original: over a pool5 of more than 7x7 (images above 224x224) it slides, and a
    smaller pool5 gets zeros around it.
    """

    fc_features: int = 1024

    decoder: ClassVar[tuple[Stage, ...]] = (
        (("deconv1_1", 64), ("deconv1_2", 64)),
        (("deconv2_1", 128), ("deconv2_2", 64)),
        (("deconv3_1", 256), ("deconv3_2", 256), ("deconv3_3", 128)),
        (("deconv4_1", 512), ("deconv4_2", 512), ("deconv4_3", 256)),
        (("deconv5_1", 512), ("deconv5_2", 512), ("deconv5_3", 512)),
    )

    @property
    def last_layer(self) -> str:
        """The classifier, as in `SegmentationModel`."""
        return "seg-score"

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Returns logits [N, H, W, num_classes] of normalised images, float [N, H, W, channels]."""
        x = self.checked(x)
        pooled_from = []
        for number in range(1, len(self.encoder) + 1):
            height, width = x.shape[1:3]
            x, indices = self.encode(number, x, train, pool_with_indices)
            pooled_from.append((indices, (height, width)))
            self.sow("intermediates", f"pool{number}", x)
        x = self._around_fc7(x, train)
        for number in range(len(self.decoder), 0, -1):
            indices, size = pooled_from.pop()
            body = functools.partial(_decode, layers=self.decoder[number - 1], size=size, train=train)
            x = self.stage(number, body, x, indices)
        return self.classifier(x, "seg-score", kernel_size=1)

    def _around_fc7(self, x: jax.Array, train: bool) -> jax.Array:
        """Applies fc6, fc7 and fc6-deconv: [N, h, w, C] to [N, h, w, F]."""
        missing = [max(0, _FC6_SIZE - length) for length in x.shape[1:3]]
        before = [length // 2 for length in missing]
        height, width = x.shape[1:3]
        x = jnp.pad(x, ((0, 0), *((b, m - b) for b, m in zip(before, missing, strict=True)), (0, 0)))
        size = x.shape[1], x.shape[2]
        x = self.fully_connected(x, train, kernel_size=_FC6_SIZE, padding=0)
        x = ConvTranspose(
            features=self.scaled(512),
            kernel_size=_FC6_SIZE,
            stride=1,
            use_bias=not self.batch_norm,
            kernel_init=he_init,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            name="fc6-deconv",
        )(x, size)
        x = x[:, before[0] : before[0] + height, before[1] : before[1] + width]
        return self.batch_normalization(x, "fc6-deconv_bn", train, relu=True) if self.batch_norm else nn.relu(x)


def _decode(
    model: DeconvNet, x: jax.Array, indices: jax.Array, *, layers: Stage, size: tuple[int, int], train: bool
) -> jax.Array:
    x = max_unpool(x, indices, size)
    for name, features in layers:
        x = model.unit(x, features, name, train)
    return x
