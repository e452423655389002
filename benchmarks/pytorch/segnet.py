"""SegNet, SegNet-Basic and its variants that unpool in PyTorch."""

from __future__ import annotations

import torch
from torch import nn

from benchmarks.pytorch.layers import scaled, stages
from segnet_jax.models.decoder_variants import SegNetBasicSingleChannelDecoder
from segnet_jax.models.segnet import SegNet


class TorchSegNet(nn.Module):
    """A network that unpools: images float [N, 3, H, W] to logits [N, K, H, W]."""

    def __init__(self, architecture: type[SegNet], num_classes: int, width_multiplier: float = 1.0) -> None:
        super().__init__()
        kernel_size = architecture.kernel_size
        self.encoder = stages(3, architecture.encoder, width_multiplier, kernel_size)
        channels = scaled(architecture.encoder[-1][-1][1], width_multiplier)
        self.decoder = stages(
            channels,
            reversed(architecture.decoder),
            width_multiplier,
            kernel_size,
            groups=channels if architecture is SegNetBasicSingleChannelDecoder else 1,
            relu=architecture.decoder_relu,
        )
        self.adds_encoder = architecture.adds_encoder
        self.pool = nn.MaxPool2d(2, 2, ceil_mode=True, return_indices=True)
        self.unpool = nn.MaxUnpool2d(2, 2)
        channels = scaled(architecture.decoder[0][-1][1], width_multiplier)
        kernel_size = architecture.classifier_layer[1]
        self.classifier = nn.Conv2d(channels, num_classes, kernel_size, padding=kernel_size // 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Returns logits [N, K, H, W]."""
        pooled_from, maps = [], []
        for stage in self.encoder:
            x = stage(x)
            size = x.shape[-2:]
            x, indices = self.pool(x)
            pooled_from.append((indices, size))
            if self.adds_encoder:
                maps.append(x)
        for stage in self.decoder:
            indices, size = pooled_from.pop()
            x = stage(self.unpool(x, indices, output_size=size))
            del maps[-1:]
            x = x + maps[-1] if maps else x
        return self.classifier(x)
