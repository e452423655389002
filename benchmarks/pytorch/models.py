"""Creates the networks in PyTorch by name, written as a PyTorch user would.

They have the layers of `segnet_jax.models`, by the same names and with the same numbers of parameters, so that the
benchmark compares the same computation, and a test can copy the weights from one to the other. Their own weights are
PyTorch's defaults, for the values change no time.
"""

from __future__ import annotations

from torch import nn

from benchmarks.pytorch.decoder_variants import TorchBilinearInterpolation, TorchFCNBasic
from benchmarks.pytorch.deconvnet import TorchDeconvNet
from benchmarks.pytorch.deeplab import TorchDeepLabLargeFOV
from benchmarks.pytorch.fcn import TorchFCN
from benchmarks.pytorch.segnet import TorchSegNet
from benchmarks.pytorch.segnet_flat import TorchSegNetFlat
from segnet_jax.models import MODELS
from segnet_jax.models.base import SegmentationModel
from segnet_jax.models.decoder_variants import BilinearInterpolation, FCNBasic
from segnet_jax.models.deconvnet import DeconvNet
from segnet_jax.models.deeplab import DeepLabLargeFOV
from segnet_jax.models.fcn import FCN
from segnet_jax.models.segnet import SegNet
from segnet_jax.models.segnet_flat import SegNetFlat

# Of each class and its subclasses, which give the geometry of the layers; subclasses first.
_COUNTERPARTS: dict[type[SegmentationModel], type[nn.Module]] = {
    FCNBasic: TorchFCNBasic,
    BilinearInterpolation: TorchBilinearInterpolation,
    SegNet: TorchSegNet,
    FCN: TorchFCN,
    DeepLabLargeFOV: TorchDeepLabLargeFOV,
    DeconvNet: TorchDeconvNet,
    SegNetFlat: TorchSegNetFlat,
}


def create_torch_model(name: str, num_classes: int, width_multiplier: float = 1.0) -> nn.Module:
    """Creates the PyTorch network of that name: images float [N, 3, H, W] to logits [N, num_classes, H, W].

    Its dropout is that of the network's default `dropout_rate`.
    """
    architecture = MODELS[name]
    counterpart = next(theirs for ours, theirs in _COUNTERPARTS.items() if issubclass(architecture, ours))
    return counterpart(architecture, num_classes, width_multiplier)
