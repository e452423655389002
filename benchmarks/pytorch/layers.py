"""Builds the layers of the networks in PyTorch, by the names that they have in `segnet_jax.models`."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from segnet_jax.models.base import Stage
from segnet_jax.models.vgg import VGGModel


def scaled(features: int, width_multiplier: float) -> int:
    """Returns the number of features that is `features` at full width: at least 1."""
    return max(1, round(features * width_multiplier))


def stage(
    channels: int,
    layers: Stage,
    width_multiplier: float,
    kernel_size: int = 3,
    *,
    padding: int | None = None,
    dilation: int = 1,
    groups: int = 1,
    relu: bool = True,
) -> nn.Sequential:
    """Builds convolutions without bias, each with BatchNorm and, if asked, ReLU after it.

    Args:
      channels: of the input.
      layers: name and features at full width of each convolution.
      width_multiplier: of the features.
      kernel_size: side of the square kernels.
      padding: zeros on every side; None keeps the size.
      dilation: distance of a kernel's taps, in pixels.
      groups: of channels that are convolved by themselves.
      relu: whether ReLU follows each BatchNorm.
    """
    if padding is None:
        padding = dilation * (kernel_size // 2)
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    for name, features in layers:
        features = scaled(features, width_multiplier)
        modules[name] = nn.Conv2d(
            channels, features, kernel_size, padding=padding, dilation=dilation, groups=groups, bias=False
        )
        # Its epsilon of 1e-5 and its momentum of 0.1 are those of `segnet_jax`.
        modules[f"{name}_bn"] = nn.BatchNorm2d(features)
        if relu:
            modules[f"{name}_relu"] = nn.ReLU(inplace=True)
        channels = features
    return nn.Sequential(modules)


def stages(
    channels: int, layers: Iterable[Stage], width_multiplier: float, kernel_size: int = 3, **options: Any
) -> nn.ModuleList:
    """Builds a `stage` for each of `layers`, one after the other; `channels` are those of the first one's input."""
    modules = nn.ModuleList()
    for layers_of_stage in layers:
        modules.append(stage(channels, layers_of_stage, width_multiplier, kernel_size, **options))
        channels = scaled(layers_of_stage[-1][1], width_multiplier)
    return modules


def fully_connected(
    architecture: type[VGGModel], channels: int, width_multiplier: float, kernel_size: int, **options: Any
) -> nn.Sequential:
    """Builds VGG16's fully connected layers as convolutions with dropout; `options` are those of fc6, see `stage`."""
    features = architecture.fc_features
    fc6 = stage(channels, (("fc6", features),), width_multiplier, kernel_size, **options)
    fc7 = stage(scaled(features, width_multiplier), (("fc7", features),), width_multiplier, kernel_size=1)
    return nn.Sequential(fc6, nn.Dropout(architecture.dropout_rate), fc7, nn.Dropout(architecture.dropout_rate))


def deconvolution(channels: int, kernel_size: int, stride: int) -> nn.ConvTranspose2d:
    """Builds a learnt deconvolution from n to stride * n pixels."""
    padding = (kernel_size - stride) // 2
    return nn.ConvTranspose2d(channels, channels, kernel_size, stride, padding, bias=False)


def crop(x: torch.Tensor, size: torch.Size) -> torch.Tensor:
    """Returns a view of the first rows and columns: [N, C, h, w] to [N, C, *size]."""
    return x[..., : size[0], : size[1]]
