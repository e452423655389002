"""Predictions as the mean over mirrored and scaled copies of the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from segnet_jax.models.base import SegmentationModel


def augmented_probabilities(
    model: SegmentationModel, variables: Any, images: jax.Array, *, scales: Sequence[float], flip: bool
) -> jax.Array:
    """Returns the mean of the softmax over copies of the images.

    Args:
      model: the network.
      variables: `params` and `batch_stats`.
      images: normalised, float [N, H, W, channels].
      scales: factors of their size; a copy's probabilities are scaled back bilinearly.
      flip: whether each copy is seen as it is and mirrored, left and right.

    Returns:
      float32 [N, H, W, K].
    """
    size = images.shape[1:3]
    total: jax.Array = jnp.zeros((*images.shape[:-1], model.num_classes))
    for scale in scales:
        height, width = (max(1, round(length * scale)) for length in size)
        scaled = _resized(images, (height, width))
        for copy in (scaled, scaled[:, :, ::-1]) if flip else (scaled,):
            logits: jax.Array = model.apply(variables, copy, train=False)  # type: ignore[assignment]
            probabilities = jax.nn.softmax(logits.astype(jnp.float32))
            if copy is not scaled:
                probabilities = probabilities[:, :, ::-1]
            total += _resized(probabilities, size)
    return total / (len(scales) * (1 + flip))


def _resized(x: jax.Array, size: tuple[int, ...]) -> jax.Array:
    return x if x.shape[1:3] == size else jax.image.resize(x, (x.shape[0], *size, x.shape[-1]), "bilinear")
