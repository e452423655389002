"""FCN-32s, FCN-16s and FCN-8s in PyTorch."""

from __future__ import annotations

import torch
from torch import nn

from benchmarks.pytorch.layers import crop, deconvolution, fully_connected, scaled, stages
from segnet_jax.models.fcn import FCN


class TorchFCN(nn.Module):
    """`fcn32s`, `fcn16s` or `fcn8s` with learnt upsampling: images float [N, 3, H, W] to logits [N, K, H, W]."""

    def __init__(self, architecture: type[FCN], num_classes: int, width_multiplier: float = 1.0) -> None:
        super().__init__()
        features = [scaled(layers[-1][1], width_multiplier) for layers in architecture.encoder]
        self.encoder = stages(3, architecture.encoder, width_multiplier)
        self.pool = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.fully_connected = fully_connected(architecture, features[-1], width_multiplier, kernel_size=7)
        self.score_fr = nn.Conv2d(scaled(architecture.fc_features, width_multiplier), num_classes, 1)
        self.skips = architecture.skips
        self.scores = nn.ModuleDict(
            {f"score_pool{number}": nn.Conv2d(features[number - 1], num_classes, 1) for number, _ in self.skips}
        )
        self.upsamplings = nn.ModuleDict({name: deconvolution(num_classes, 4, 2) for _, name in self.skips})
        stride = 2 ** (len(features) - len(self.skips))
        self.last_upsampling = architecture.last_upsampling
        self.upsamplings[self.last_upsampling] = deconvolution(num_classes, 2 * stride, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Returns logits [N, K, H, W]."""
        size = x.shape[-2:]
        scores = {}
        for number, stage in enumerate(self.encoder, start=1):
            x = self.pool(stage(x))
            name = f"score_pool{number}"
            if name in self.scores:
                scores[number] = self.scores[name](x)
        x = self.score_fr(self.fully_connected(x))
        for number, name in self.skips:
            skip = scores.pop(number)
            x = crop(self.upsamplings[name](x), skip.shape[-2:]) + skip
        return crop(self.upsamplings[self.last_upsampling](x), size)
