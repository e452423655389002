"""The networks of the decoder study that do not unpool in PyTorch, see `segnet_jax.models.decoder_variants`."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from benchmarks.pytorch.layers import crop, deconvolution, scaled, stages
from segnet_jax.models.decoder_variants import BilinearInterpolation, FCNBasic


class TorchFCNBasic(nn.Module):
    """FCN-Basic, with or without additions and compression: images float [N, 3, H, W] to logits [N, K, H, W]."""

    def __init__(self, architecture: type[FCNBasic], num_classes: int, width_multiplier: float = 1.0) -> None:
        super().__init__()
        self.encoder = stages(3, architecture.encoder, width_multiplier, architecture.kernel_size)
        self.pool = nn.MaxPool2d(2, 2, ceil_mode=True)
        features = scaled(architecture.encoder[-1][-1][1], width_multiplier)
        depth = len(architecture.encoder)
        self.adds_encoder = architecture.adds_encoder
        self.reductions = nn.ModuleDict()
        self.classifier = None
        if architecture.reduces_dimension:
            for number in range(depth, 0 if self.adds_encoder else depth - 1, -1):
                self.reductions[f"conv_reduce{number}"] = nn.Conv2d(features, num_classes, 1)
        else:
            self.classifier = nn.Conv2d(features, num_classes, 1)
        channels = num_classes if architecture.reduces_dimension else features
        self.upsamplings = nn.ModuleDict(
            {f"deconv{number}": deconvolution(channels, 8, 2) for number in range(depth, 0, -1)}
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Returns logits [N, K, H, W]."""
        depth = len(self.encoder)
        sizes, maps = {}, {}
        for number, encoder in enumerate(self.encoder, start=1):
            x = encoder(x)
            sizes[number] = x.shape[-2:]
            x = self.pool(x)
            if self.adds_encoder and number < depth:
                maps[number] = self._reduced(x, number)
        x = self._reduced(x, depth)
        for number in range(depth, 0, -1):
            x = crop(self.upsamplings[f"deconv{number}"](x), sizes[number])
            if number - 1 in maps:
                x = x + maps.pop(number - 1)
        return x if self.classifier is None else self.classifier(x)

    def _reduced(self, x: torch.Tensor, number: int) -> torch.Tensor:
        name = f"conv_reduce{number}"
        return self.reductions[name](x) if name in self.reductions else x


class TorchBilinearInterpolation(nn.Module):
    """Scores of pool4, interpolated to the size of the image: images float [N, 3, H, W] to logits [N, K, H, W]."""

    def __init__(
        self, architecture: type[BilinearInterpolation], num_classes: int, width_multiplier: float = 1.0
    ) -> None:
        super().__init__()
        self.encoder = stages(3, architecture.encoder, width_multiplier, architecture.kernel_size)
        self.pool = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.classifier = nn.Conv2d(scaled(architecture.encoder[-1][-1][1], width_multiplier), num_classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Returns logits [N, K, H, W]."""
        size = x.shape[-2:]
        for encoder in self.encoder:
            x = self.pool(encoder(x))
        x = functional.interpolate(self.classifier(x), scale_factor=2 ** len(self.encoder), mode="bilinear")
        return crop(x, size)
