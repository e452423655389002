"""Class-weighted softmax cross-entropy over labelled pixels (arXiv 1511.00561, section 3.2)."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def cross_entropy(logits: jax.Array, labels: jax.Array, class_weights: jax.Array) -> jax.Array:
    """Sums class weight times negative log-likelihood over labelled pixels.

    The sum is float32 whatever the type of the logits. A pixel is labelled if its label is a class; void (255), or
    any other value, adds nothing to the sum or to the gradient of finite logits. The true class's logit is picked by
    comparison, so neither a one-hot copy of the labels nor a gather appears.

    Args:
      logits: float [..., K].
      labels: uint8 or int [...].
      class_weights: float32 [K].

    Returns:
      float32 [], to be divided by the `normalizer` of the whole batch.
    """
    classes = jnp.arange(logits.shape[-1], dtype=labels.dtype)
    is_true = labels[..., None] == classes
    logits = logits.astype(jnp.float32)
    true_logit = jnp.sum(jnp.where(is_true, logits, 0.0), axis=-1)
    nll = jax.nn.logsumexp(logits, axis=-1) - true_logit
    return jnp.sum(pixel_weights(labels, class_weights) * nll)


def pixel_weights(labels: jax.Array, class_weights: jax.Array) -> jax.Array:
    """Returns the class weight of each pixel, zero where it is unlabelled: float32, the shape of `labels`."""
    classes = jnp.arange(class_weights.shape[0], dtype=labels.dtype)
    return jnp.sum(jnp.where(labels[..., None] == classes, class_weights, 0.0), axis=-1)


def normalizer(labels: jax.Array, class_weights: jax.Array, by: str) -> jax.Array:
    """Returns the divisor of a batch's summed cross-entropy; add it up over devices before dividing.

    Args:
      labels: uint8 or int [...].
      class_weights: float32 [K].
      by: "pixels", the number of labelled pixels, as in the authors' Caffe code, so that rare classes raise the
        loss of a batch; or "weights", the sum of their class weights, which makes the loss a weighted mean.

    Returns:
      float32 [].
    """
    if by == "pixels":
        return jnp.sum((labels >= 0) & (labels < class_weights.shape[0]), dtype=jnp.float32)
    return jnp.sum(pixel_weights(labels, class_weights))
