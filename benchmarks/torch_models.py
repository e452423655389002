"""PyTorch implementations of the networks, as a PyTorch user would write them.

They have the layers of `segnet_jax.models` in the same order and with the same numbers of parameters, so that the
benchmark compares the same computation, and a test can copy the weights from one to the other.
"""

from __future__ import annotations

import torch
from torch import nn

from segnet_jax.models.segnet import SegNet, SegNetBasic

_BATCH_NORM_EPSILON = 1e-5


class TorchSegNet(nn.Module):
    """`segnet` or `segnet_basic`: images float [N, 3, H, W] to logits [N, K, H, W]."""

    def __init__(self, architecture: type[SegNet], num_classes: int, width_multiplier: float = 1.0) -> None:
        super().__init__()
        kernel_size = architecture.kernel_size
        channels = 3

        def convolutions(stage, relu):
            nonlocal channels
            layers: list[nn.Module] = []
            for _, features in stage:
                features = max(1, round(features * width_multiplier))
                layers.append(nn.Conv2d(channels, features, kernel_size, padding=kernel_size // 2, bias=False))
                layers.append(nn.BatchNorm2d(features, eps=_BATCH_NORM_EPSILON, momentum=0.1))
                if relu:
                    layers.append(nn.ReLU(inplace=True))
                channels = features
            return nn.Sequential(*layers)

        self.encoder = nn.ModuleList(convolutions(stage, relu=True) for stage in architecture.encoder)
        self.decoder = nn.ModuleList(
            convolutions(stage, relu=architecture.decoder_relu) for stage in reversed(architecture.decoder)
        )
        self.pool = nn.MaxPool2d(2, 2, ceil_mode=True, return_indices=True)
        self.unpool = nn.MaxUnpool2d(2, 2)
        kernel_size = architecture.classifier_layer[1]
        self.classifier = nn.Conv2d(channels, num_classes, kernel_size, padding=kernel_size // 2)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [N, K, H, W]."""
        pooled_from = []
        for stage in self.encoder:
            x = stage(x)
            size = x.shape[-2:]
            x, indices = self.pool(x)
            pooled_from.append((indices, size))
        for stage in self.decoder:
            indices, size = pooled_from.pop()
            x = stage(self.unpool(x, indices, output_size=size))
        return self.classifier(x)


_ARCHITECTURES: dict[str, type[SegNet]] = {"segnet": SegNet, "segnet_basic": SegNetBasic}


def create_torch_model(name: str, num_classes: int, width_multiplier: float = 1.0) -> nn.Module:
    """The PyTorch network of that name.

    Raises:
      KeyError: if there is none here.
    """
    return TorchSegNet(_ARCHITECTURES[name], num_classes, width_multiplier)


TORCH_MODELS = tuple(_ARCHITECTURES)
