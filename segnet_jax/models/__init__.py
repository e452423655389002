"""Creates the networks by name."""

from __future__ import annotations

import dataclasses
from typing import Any

from segnet_jax.errors import InputError
from segnet_jax.models.base import SegmentationModel
from segnet_jax.models.decoder_variants import (
    BilinearInterpolation,
    FCNBasic,
    FCNBasicNoAddition,
    FCNBasicNoAdditionNoDimReduction,
    FCNBasicNoDimReduction,
    SegNetBasicEncoderAddition,
    SegNetBasicSingleChannelDecoder,
)
from segnet_jax.models.deconvnet import DeconvNet
from segnet_jax.models.deeplab import DeepLabLargeFOV
from segnet_jax.models.fcn import FCN8s, FCN16s, FCN32s
from segnet_jax.models.segnet import SegNet, SegNetBasic
from segnet_jax.models.segnet_flat import SegNetFlat

MODELS: dict[str, type[SegmentationModel]] = {
    "segnet": SegNet,
    "segnet_basic": SegNetBasic,
    "segnet_basic_single_channel_decoder": SegNetBasicSingleChannelDecoder,
    "segnet_basic_encoder_addition": SegNetBasicEncoderAddition,
    "fcn_basic": FCNBasic,
    "fcn_basic_no_addition": FCNBasicNoAddition,
    "fcn_basic_no_dim_reduction": FCNBasicNoDimReduction,
    "fcn_basic_no_addition_no_dim_reduction": FCNBasicNoAdditionNoDimReduction,
    "bilinear_interpolation": BilinearInterpolation,
    "fcn32s": FCN32s,
    "fcn16s": FCN16s,
    "fcn8s": FCN8s,
    "deeplab_largefov": DeepLabLargeFOV,
    "deconvnet": DeconvNet,
    "segnet_flat": SegNetFlat,
}


def fields_of(name: str) -> frozenset[str]:
    """Returns the names of the fields of the network `name` that can be set.

    Raises:
      InputError: if there is no such network.
    """
    if name not in MODELS:
        raise InputError(f"There is no model {name!r}; the known ones are {', '.join(sorted(MODELS))}.")
    return frozenset(field.name for field in dataclasses.fields(MODELS[name])) - {"parent", "name", "num_classes"}


def create_model(name: str, num_classes: int, **fields: Any) -> SegmentationModel:
    """Creates a linen module whose `apply(variables, images, train=...)` returns logits [N, H, W, num_classes].

    Args:
      name: a key of `MODELS`.
      num_classes: K, void not counted.
      **fields: fields of the network, see `SegmentationModel` and its own class.

    Raises:
      InputError: if a name or a field is not known, or a value makes no sense.
    """
    known = fields_of(name)
    unknown = sorted(set(fields) - known)
    if unknown:
        raise InputError(f"The model {name!r} has no field {unknown[0]!r}; it has {', '.join(sorted(known))}.")
    model = MODELS[name](num_classes=num_classes, **fields)
    model.check_fields()
    return model


def models_with_vgg16() -> list[str]:
    """Returns the names of the networks whose encoder is VGG16's, and can start from its weights."""
    return [name for name, model in MODELS.items() if model.encoder == SegNet.encoder]
