"""The networks, by name."""

from __future__ import annotations

import dataclasses
from typing import Any

from segnet_jax.errors import InputError
from segnet_jax.models.layers import SegmentationModel
from segnet_jax.models.segnet import SegNet, SegNetBasic

MODELS: dict[str, type[SegmentationModel]] = {
    "segnet": SegNet,
    "segnet_basic": SegNetBasic,
}


def create_model(name: str, num_classes: int, **fields: Any) -> SegmentationModel:
    """A linen module whose `apply(variables, images, train=...)` gives logits [N, H, W, num_classes].

    Args:
      name: a key of `MODELS`.
      num_classes: K, void not counted.
      **fields: fields of `SegmentationModel` or of the network.

    Raises:
      InputError: for a name or a field that is not known.
    """
    if name not in MODELS:
        raise InputError(f"There is no model {name!r}; the known ones are {', '.join(sorted(MODELS))}.")
    known = {field.name for field in dataclasses.fields(MODELS[name])} - {"parent", "name", "num_classes"}
    unknown = sorted(set(fields) - known)
    if unknown:
        raise InputError(f"The model {name!r} has no field {unknown[0]!r}; it has {', '.join(sorted(known))}.")
    return MODELS[name](num_classes=num_classes, **fields)
