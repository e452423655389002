"""Exact statistics of BatchNorm: the paper's pass over the training set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import jax
import numpy as np

from segnet_jax.data.preprocessing import Normalize
from segnet_jax.models.base import SegmentationModel
from segnet_jax.runtime.sharding import AXIS, map_over_devices


def exact_batch_stats(
    model: SegmentationModel,
    normalize: Normalize,
    variables: Any,
    batches: Iterable[dict[str, jax.Array]],
    devices: Sequence[jax.Device],
) -> Any:
    """Averages BatchNorm's statistics over `batches`: the paper's pass over the training set before each evaluation.

    As in the authors' compute_bn_statistics.py, dropout is off, each batch is normalised by its own statistics on the
    way, and means and variances are averaged over batches.

    Args:
      model: the network; the axis that it shares statistics over must be `AXIS` or None.
      normalize: from images to the network's input.
      variables: `params` and `batch_stats`; the latter only give the form, and without any there is nothing to do.
      batches: `image` uint8 or float32 [devices, b, H, W, channels].
      devices: to map over.

    Returns:
      A tree like `batch_stats`, float32.
    """
    if not variables["batch_stats"]:
        return {}
    # With a momentum of zero, the running averages are the last batch's statistics.
    model = model.clone(batch_norm_momentum=0.0, dropout_rate=0.0)

    def statistics(variables: Any, images: jax.Array) -> Any:
        _, updates = model.apply(
            variables,
            normalize(images),
            train=True,
            mutable=["batch_stats"],
        )
        return jax.lax.pmean(updates.get("batch_stats", {}), AXIS)

    mapped = map_over_devices(statistics, devices)
    total, count = None, 0
    for batch in batches:
        current = jax.device_get(mapped(variables, batch["image"]))
        current = jax.tree.map(lambda x: x.astype(np.float64), current)
        total = current if total is None else jax.tree.map(np.add, total, current)
        count += 1
    return jax.tree.map(lambda x: (x / count).astype(np.float32), total)
