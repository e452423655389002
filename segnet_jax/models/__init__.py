"""The networks, by name."""

from __future__ import annotations

import dataclasses
from typing import Any

from segnet_jax.errors import InputError
from segnet_jax.models.flat import SegNetFlat
from segnet_jax.models.layers import SegmentationModel
from segnet_jax.models.segnet import SegNet, SegNetBasic

MODELS: dict[str, type[SegmentationModel]] = {
    "segnet": SegNet,
    "segnet_basic": SegNetBasic,
    "segnet_flat": SegNetFlat,
}


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
      **fields: fields of the network, see `SegmentationModel`.

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
    model = MODELS[name](num_classes=num_classes, **fields)
    for stage in model.remat_stages:
        if stage not in range(1, model.num_stages + 1):
            raise InputError(
                f"remat_stages has {stage!r}; {name} has the stages 1 to {model.num_stages}, as in '(1, 2)'."
            )
    return model
