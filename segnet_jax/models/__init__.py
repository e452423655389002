"""The networks, by name."""

from __future__ import annotations

import dataclasses
from typing import Any

from segnet_jax.errors import InputError
from segnet_jax.models.layers import REMAT_POLICIES
from segnet_jax.models.segnet import SegNet, SegNetBasic

MODELS: dict[str, type[SegNet]] = {
    "segnet": SegNet,
    "segnet_basic": SegNetBasic,
}


def create_model(name: str, num_classes: int, **fields: Any) -> SegNet:
    """A linen module whose `apply(variables, images, train=...)` gives logits [N, H, W, num_classes].

    Args:
      name: a key of `MODELS`.
      num_classes: K, void not counted.
      **fields: fields of the network, see `SegmentationModel`.

    Raises:
      InputError: for a name or a field that is not known, or a value that makes no sense.
    """
    if name not in MODELS:
        raise InputError(f"There is no model {name!r}; the known ones are {', '.join(sorted(MODELS))}.")
    known = {field.name for field in dataclasses.fields(MODELS[name])} - {"parent", "name", "num_classes"}
    unknown = sorted(set(fields) - known)
    if unknown:
        raise InputError(f"The model {name!r} has no field {unknown[0]!r}; it has {', '.join(sorted(known))}.")
    if not 0 <= fields.get("dropout_rate", 0) < 1:
        raise InputError(f"dropout_rate={fields['dropout_rate']} must lie from 0 to below 1.")
    if not fields.get("width_multiplier", 1) > 0:
        raise InputError(f"width_multiplier={fields['width_multiplier']} must be above 0.")
    stages = len(MODELS[name].encoder)
    if fields.get("remat", "none") not in REMAT_POLICIES:
        raise InputError(f"remat={fields['remat']!r} is not known; choose none, activations or stages.")
    for stage in fields.get("remat_stages", ()):
        if stage not in range(1, stages + 1):
            raise InputError(f"remat_stages has {stage!r}; {name} has the stages 1 to {stages}, as in '(1, 2)'.")
    return MODELS[name](num_classes=num_classes, **fields)
