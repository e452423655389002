"""Builds the network from a configuration: the only reader of a ConfigDict in this package."""

from __future__ import annotations

import jax.numpy as jnp
import ml_collections

from segnet_jax.errors import InputError
from segnet_jax.models import create_model
from segnet_jax.models.base import SegmentationModel
from segnet_jax.runtime.sharding import AXIS

_DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def build_model(config: ml_collections.ConfigDict, num_classes: int) -> SegmentationModel:
    """Builds the network that `config.model` describes, for `num_classes` classes.

    Raises:
      InputError: if a name, a field or a value is not known or makes no sense.
    """
    fields = {key: value for key, value in config.model.to_dict().items() if value is not None}
    shared = fields.pop("cross_replica_batch_norm")
    for key in ("dtype", "param_dtype"):
        if fields[key] not in _DTYPES:
            raise InputError(f"model.{key}={fields[key]!r} is not known; choose one of {', '.join(_DTYPES)}.")
        fields[key] = _DTYPES[fields[key]]
    return create_model(fields.pop("name"), num_classes, axis_name=AXIS if shared else None, **fields)
