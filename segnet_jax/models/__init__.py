"""The networks, by name."""

from __future__ import annotations

import dataclasses
from typing import Any

from segnet_jax.errors import InputError
from segnet_jax.models.base import REMAT_POLICIES, SegmentationModel
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

_CHOICES = {"upsampling": ("learnt", "fixed")}


def fields_of(name: str) -> frozenset[str]:
    """The fields of the network `name` that can be set.

    Raises:
      InputError: if there is no such network.
    """
    if name not in MODELS:
        raise InputError(f"There is no model {name!r}; the known ones are {', '.join(sorted(MODELS))}.")
    return frozenset(field.name for field in dataclasses.fields(MODELS[name])) - {"parent", "name", "num_classes"}


def create_model(name: str, num_classes: int, **fields: Any) -> SegmentationModel:
    """A linen module whose `apply(variables, images, train=...)` gives logits [N, H, W, num_classes].

    Args:
      name: a key of `MODELS`.
      num_classes: K, void not counted.
      **fields: fields of the network, see `SegmentationModel` and its own class.

    Raises:
      InputError: for a name or a field that is not known, or a value that makes no sense.
    """
    known = fields_of(name)
    unknown = sorted(set(fields) - known)
    if unknown:
        raise InputError(f"The model {name!r} has no field {unknown[0]!r}; it has {', '.join(sorted(known))}.")
    if name == "segnet_flat" and fields.get("dropout_rate", 0):
        raise InputError(f"segnet_flat has no dropout; leave dropout_rate={fields['dropout_rate']} at 0.")
    if not fields.get("pairs", 1) >= 1:
        raise InputError(f"pairs={fields['pairs']} must be 1 or more.")
    if not fields.get("hidden_features", 0) >= 0:
        raise InputError(f"hidden_features={fields['hidden_features']} must be 0 or more.")
    if not 0 <= fields.get("dropout_rate", 0) < 1:
        raise InputError(f"dropout_rate={fields['dropout_rate']} must lie from 0 to below 1.")
    if not fields.get("width_multiplier", 1) > 0:
        raise InputError(f"width_multiplier={fields['width_multiplier']} must be above 0.")
    if not fields.get("fc_features", 1) > 0:
        raise InputError(f"fc_features={fields['fc_features']} must be at least 1.")
    for field, choices in _CHOICES.items():
        if field in fields and fields[field] not in choices:
            raise InputError(f"{field}={fields[field]!r} is not known; choose {' or '.join(choices)}.")
    if fields.get("remat", "none") not in REMAT_POLICIES:
        raise InputError(f"remat={fields['remat']!r} is not known; choose none, activations or stages.")
    model = MODELS[name](num_classes=num_classes, **fields)
    for stage in model.remat_stages:
        if stage not in range(1, model.num_stages + 1):
            raise InputError(
                f"remat_stages has {stage!r}; {name} has the stages 1 to {model.num_stages}, as in '(1, 2)'."
            )
    return model


def models_with_vgg16() -> list[str]:
    """The names of the networks whose encoder is VGG16's, and can start from its weights."""
    return [name for name, model in MODELS.items() if model.encoder == SegNet.encoder]
