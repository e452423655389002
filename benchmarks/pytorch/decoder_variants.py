"""The networks of the decoder study in PyTorch, see `segnet_jax.models.decoder_variants`."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from benchmarks.pytorch.layers import bilinear_conv_transpose, crop, he_init, scaled, stage, stages
from segnet_jax.models.decoder_variants import BilinearInterpolation, FCNBasic, UnpoolingVariant


class TorchUnpoolingVariant(nn.Module):
    """SegNet-Basic with single-channel decoders, or with the encoder's maps added to those of the decoders.

    Images float [N, 3, H, W] to logits [N, K, H, W].
    """

    def __init__(self, architecture: type[UnpoolingVariant], num_classes: int, width_multiplier: float = 1.0) -> None:
        super().__init__()
        kernel_size = architecture.kernel_size
        self.encoder = stages(3, architecture.encoder, width_multiplier, kernel_size)
        features = architecture.encoder[-1][-1][1]
        channels = scaled(features, width_multiplier)
        self.decoder = nn.ModuleList(
            stage(
                channels,
                ((f"conv_decode{number}", features),),
                width_multiplier,
                kernel_size,
                groups=channels if architecture.single_channel else 1,
                relu=False,
            )
            for number in range(len(architecture.encoder), 0, -1)
        )
        self.pool = nn.MaxPool2d(2, 2, ceil_mode=True, return_indices=True)
        self.unpool = nn.MaxUnpool2d(2, 2)
        self.classifier = nn.Conv2d(channels, num_classes, 1)
        self.adds_encoder = architecture.adds_encoder
        he_init(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Returns logits [N, K, H, W]."""
        depth = len(self.encoder)
        pooled_from, maps = [], {}
        for number, encoder in enumerate(self.encoder, start=1):
            x = encoder(x)
            size = x.shape[-2:]
            x, indices = self.pool(x)
            pooled_from.append((indices, size))
            if self.adds_encoder and number < depth:
                maps[number] = x
        for number, decoder in zip(range(depth, 0, -1), self.decoder, strict=True):
            indices, size = pooled_from.pop()
            x = decoder(self.unpool(x, indices, output_size=size))
            if number - 1 in maps:
                x = x + maps.pop(number - 1)
        return self.classifier(x)


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
        he_init(self)
        self.upsamplings = nn.ModuleDict(
            {f"deconv{number}": bilinear_conv_transpose(channels, 8, 2) for number in range(depth, 0, -1)}
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
        he_init(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Returns logits [N, K, H, W]."""
        size = x.shape[-2:]
        for encoder in self.encoder:
            x = self.pool(encoder(x))
        x = functional.interpolate(self.classifier(x), scale_factor=2 ** len(self.encoder), mode="bilinear")
        return crop(x, size)
