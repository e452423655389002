"""DeconvNet in PyTorch."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from benchmarks.pytorch.layers import fully_connected, scaled, stages
from segnet_jax.models.deconvnet import DeconvNet

# Side of fc6's kernel.
_FC6_SIZE = 7


class TorchDeconvNet(nn.Module):
    """`deconvnet`: images float [N, 3, H, W] to logits [N, K, H, W].

    Its deconvolutions of stride 1 that keep the size are convolutions, which is the same and not slower.
    """

    def __init__(self, architecture: type[DeconvNet], num_classes: int, width_multiplier: float = 1.0) -> None:
        super().__init__()
        channels = scaled(architecture.encoder[-1][-1][1], width_multiplier)
        self.encoder = stages(3, architecture.encoder, width_multiplier)
        self.pool = nn.MaxPool2d(2, 2, ceil_mode=True, return_indices=True)
        self.unpool = nn.MaxUnpool2d(2, 2)
        self.fully_connected = fully_connected(architecture, channels, width_multiplier, _FC6_SIZE, padding=0)
        fc_features = scaled(architecture.fc_features, width_multiplier)
        self.fc6_deconv = nn.ConvTranspose2d(fc_features, channels, _FC6_SIZE, bias=False)
        self.fc6_deconv_bn = nn.BatchNorm2d(channels)
        self.decoder = stages(channels, reversed(architecture.decoder), width_multiplier)
        self.classifier = nn.Conv2d(scaled(architecture.decoder[0][-1][1], width_multiplier), num_classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Returns logits [N, K, H, W]."""
        pooled_from = []
        for stage in self.encoder:
            x = stage(x)
            size = x.shape[-2:]
            x, indices = self.pool(x)
            pooled_from.append((indices, size))
        height, width = x.shape[-2:]
        # A pool5 that is smaller than fc6's kernel gets zeros around it.
        rows, columns = (max(0, _FC6_SIZE - length) for length in (height, width))
        top, left = rows // 2, columns // 2
        if rows or columns:
            x = functional.pad(x, (left, columns - left, top, rows - top))
        x = self.fc6_deconv(self.fully_connected(x))
        x = x[..., top : top + height, left : left + width]
        x = functional.relu(self.fc6_deconv_bn(x), inplace=True)
        for stage in self.decoder:
            indices, size = pooled_from.pop()
            x = stage(self.unpool(x, indices, output_size=size))
        return self.classifier(x)
