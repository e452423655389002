"""DeepLab-LargeFOV in PyTorch."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from benchmarks.pytorch.layers import crop, fully_connected, scaled, stage, stages
from segnet_jax.models.deeplab import DeepLabLargeFOV


class TorchDeepLabLargeFOV(nn.Module):
    """`deeplab_largefov`: images float [N, 3, H, W] to logits [N, K, H, W]."""

    def __init__(self, architecture: type[DeepLabLargeFOV], num_classes: int, width_multiplier: float = 1.0) -> None:
        super().__init__()
        *encoder, last = architecture.encoder
        channels = scaled(encoder[-1][-1][1], width_multiplier)
        self.encoder = stages(3, encoder, width_multiplier)
        self.encoder.append(stage(channels, last, width_multiplier, dilation=2))
        self.pools = nn.ModuleList(
            nn.MaxPool2d(3, stride=2 if number <= 3 else 1, padding=1, ceil_mode=True)
            for number in range(1, len(self.encoder) + 1)
        )
        self.pool5a = nn.AvgPool2d(3, stride=1, padding=1)
        channels = scaled(last[-1][1], width_multiplier)
        self.fully_connected = fully_connected(architecture, channels, width_multiplier, kernel_size=3, dilation=12)
        self.fc8 = nn.Conv2d(scaled(architecture.fc_features, width_multiplier), num_classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Returns logits [N, K, H, W]."""
        size = x.shape[-2:]
        for encoder, pool in zip(self.encoder, self.pools, strict=True):
            x = pool(encoder(x))
        x = self.fc8(self.fully_connected(self.pool5a(x)))
        # Score i lies at pixel 8 i.
        grown = [8 * (length - 1) + 1 for length in x.shape[-2:]]
        return crop(functional.interpolate(x, size=grown, mode="bilinear", align_corners=True), size)
