"""Creates the networks in PyTorch by name, written as a PyTorch user would.

They have the layers of `segnet_jax.models`, by the same names and with the same numbers of parameters, so that the
benchmark compares the same computation, and a test can copy the weights from one to the other.
"""

from __future__ import annotations

from torch import nn

from benchmarks.pytorch.decoder_variants import TorchBilinearInterpolation, TorchFCNBasic, TorchUnpoolingVariant
from benchmarks.pytorch.deconvnet import TorchDeconvNet
from benchmarks.pytorch.deeplab import TorchDeepLabLargeFOV
from benchmarks.pytorch.fcn import TorchFCN
from benchmarks.pytorch.segnet import TorchSegNet
from benchmarks.pytorch.segnet_flat import TorchSegNetFlat
from segnet_jax.models import MODELS

# Each takes the geometry of its layers from the class of that name in `segnet_jax.models`.
TORCH_MODELS: dict[str, type[nn.Module]] = {
    "segnet": TorchSegNet,
    "segnet_basic": TorchSegNet,
    "segnet_basic_single_channel_decoder": TorchUnpoolingVariant,
    "segnet_basic_encoder_addition": TorchUnpoolingVariant,
    "fcn_basic": TorchFCNBasic,
    "fcn_basic_no_addition": TorchFCNBasic,
    "fcn_basic_no_dim_reduction": TorchFCNBasic,
    "fcn_basic_no_addition_no_dim_reduction": TorchFCNBasic,
    "bilinear_interpolation": TorchBilinearInterpolation,
    "fcn32s": TorchFCN,
    "fcn16s": TorchFCN,
    "fcn8s": TorchFCN,
    "deeplab_largefov": TorchDeepLabLargeFOV,
    "deconvnet": TorchDeconvNet,
    "segnet_flat": TorchSegNetFlat,
}


def create_torch_model(name: str, num_classes: int, width_multiplier: float = 1.0) -> nn.Module:
    """Creates the PyTorch network of that name: images float [N, 3, H, W] to logits [N, num_classes, H, W].

    Its dropout is that of the network's default `dropout_rate`.
    """
    return TORCH_MODELS[name](MODELS[name], num_classes, width_multiplier)
