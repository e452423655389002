"""The flat SegNet of 2015 in PyTorch."""

from __future__ import annotations

import torch
from torch import nn

from benchmarks.pytorch.layers import scaled
from segnet_jax.models.segnet_flat import SegNetFlat, pair_layers


class TorchSegNetFlat(nn.Module):
    """`segnet_flat`: images float [N, 3, H, W] to logits [N, K, H, W]."""

    def __init__(self, architecture: type[SegNetFlat], num_classes: int, width_multiplier: float = 1.0) -> None:
        super().__init__()
        features = scaled(architecture.features, width_multiplier)
        names = [pair_layers(number) for number in range(1, architecture.pairs + 1)]
        self.encoder = nn.ModuleDict(
            {
                name: nn.Conv2d(features if number else 3, features, 7, padding=3, bias=False)
                for number, (name, _) in enumerate(names)
            }
        )
        # In the order of computation.
        self.decoder = nn.ModuleDict(
            {name: nn.Conv2d(features, features, 7, padding=3, bias=False) for _, name in reversed(names)}
        )
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool2d(2, 2, ceil_mode=True, return_indices=True)
        self.unpool = nn.MaxUnpool2d(2, 2)
        self.classifier = nn.Conv2d(features, num_classes, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Returns logits [N, K, H, W]."""
        pooled_from = []
        for encoder in self.encoder.values():
            x = self.relu(encoder(x))
            size = x.shape[-2:]
            x, indices = self.pool(x)
            pooled_from.append((indices, size))
        for decoder in self.decoder.values():
            indices, size = pooled_from.pop()
            x = decoder(self.unpool(x, indices, output_size=size))
        return self.classifier(x)
