"""DeepLab-LargeFOV (arXiv 1412.7062), as the SegNet paper compares with it (arXiv 1511.00561, section 4)."""

from __future__ import annotations

import functools

import jax
from flax import linen as nn

from segnet_jax.models.vgg import VGGModel
from segnet_jax.ops.overlapping_pool import overlapping_max_pool
from segnet_jax.ops.upsampling import bilinear_resize


class DeepLabLargeFOV(VGGModel):
    """VGG16 with an output stride of 8: pool4 and pool5 have stride 1, and the layers behind them are dilated.

    The layers are those of the authors' `train.prototxt`, without the dense CRF. The first three pools make n // 2 + 1
    rows of n, so the scores of a 360x480 image are 46x61; the SegNet paper reports 45x60. They are interpolated by 8,
    score i lying at pixel 8 i, and cropped to the image. In training too, where the authors shrink the labels instead.
    """

    fc_features: int = 1024

    @property
    def last_layer(self) -> str:
        """The classifier, as in `SegmentationModel`: interpolation leaves its bias as it is."""
        return "fc8"

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Returns logits [N, H, W, num_classes] of normalised images, float [N, H, W, channels]."""
        x = self.checked(x)
        height, width = x.shape[1:3]
        for number in range(1, len(self.encoder) + 1):
            pool = functools.partial(overlapping_max_pool, stride=2 if number <= 3 else 1)
            x = self.encode(number, x, train, pool, dilation=2 if number == 5 else 1)
            self.sow("intermediates", f"pool{number}", x)
        # pool5a. Caffe's average counts the zeros of the padding.
        x = nn.avg_pool(x, (3, 3), strides=(1, 1), padding=((1, 1), (1, 1)))
        x = self.fully_connected(x, train, dilation=12)
        x = self.classifier(x, "fc8", kernel_size=1)
        return bilinear_resize(x, 8, (height, width), align_corners=True)
