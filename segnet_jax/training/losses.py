"""Losses that are sums over labelled pixels: class-weighted cross-entropy (arXiv 1511.00561, section 3.2) and others.

Optax's would need a one-hot copy of the labels; it has no focal loss of a softmax.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp


def cross_entropy(
    logits: jax.Array, labels: jax.Array, class_weights: jax.Array, label_smoothing: float = 0.0
) -> jax.Array:
    """Sums class weight times negative log-likelihood over labelled pixels.

    The sum is float32 whatever the type of the logits. A pixel is labelled if its label is a class; void (255), or
    any other value, adds nothing to the sum or to the gradient of finite logits. The true class's logit is picked by
    comparison, so neither a one-hot copy of the labels nor a gather appears.

    Args:
      logits: float [..., K].
      labels: uint8 or int [...].
      class_weights: float32 [K].
      label_smoothing: the share of each label, 0 to below 1, that is spread evenly over all K classes. The weight of a
        pixel stays that of its own class.

    Returns:
      float32 [], to be divided by the `normalizer` of the whole batch.
    """
    logits = logits.astype(jnp.float32)
    target_logit = _true_logit(logits, labels)
    if label_smoothing:
        target_logit = (1 - label_smoothing) * target_logit + label_smoothing * jnp.mean(logits, axis=-1)
    nll = jax.nn.logsumexp(logits, axis=-1) - target_logit
    return jnp.sum(pixel_weights(labels, class_weights) * nll)


def focal(logits: jax.Array, labels: jax.Array, class_weights: jax.Array, gamma: float) -> jax.Array:
    """Sums class weight times (1 - p) ** gamma times -log p over labelled pixels (Lin et al. 2017, with a softmax).

    p is the probability of the pixel's own class. Void adds nothing, as in `cross_entropy`, which gamma=0 gives.

    Args:
      logits: float [..., K].
      labels: uint8 or int [...].
      class_weights: float32 [K].
      gamma: at least 0; the greater it is, the less do pixels count that are classified well.

    Returns:
      float32 [], to be divided by the `normalizer` of the whole batch.
    """
    logits = logits.astype(jnp.float32)
    nll = jax.nn.logsumexp(logits, axis=-1) - _true_logit(logits, labels)
    # What void pixels have here is no likelihood, and its powers may overflow.
    nll = jnp.where(is_labelled(labels, logits.shape[-1]), nll, 0.0)
    # The bound is for p = 1, where the slope of a power below 1 is infinite.
    others = jnp.maximum(-jnp.expm1(-nll), 1e-12)
    return jnp.sum(pixel_weights(labels, class_weights) * others**gamma * nll)


def distillation(logits: jax.Array, labels: jax.Array, class_weights: jax.Array, probabilities: jax.Array) -> jax.Array:
    """Sums class weight times the Kullback-Leibler divergence from a teacher's probabilities over labelled pixels.

    It is zero where the network has the teacher's probabilities (Hinton et al. 2015, at temperature 1). Void adds
    nothing, as in `cross_entropy`, and the weight of a pixel is that of its label.

    Args:
      logits: float [..., K].
      labels: uint8 or int [...].
      class_weights: float32 [K].
      probabilities: float32 [..., K] of the teacher, whose sum is 1.

    Returns:
      float32 [], to be divided by the `normalizer` of the whole batch.
    """
    log_ratio = jnp.log(jnp.maximum(probabilities, 1e-30)) - jax.nn.log_softmax(logits.astype(jnp.float32))
    return jnp.sum(pixel_weights(labels, class_weights) * jnp.sum(probabilities * log_ratio, axis=-1))


def is_labelled(labels: jax.Array, num_classes: int) -> jax.Array:
    """Tells which labels are classes, and not void or any other value: bool, the shape of `labels`."""
    return (labels >= 0) & (labels < num_classes)


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
        return jnp.sum(is_labelled(labels, class_weights.shape[0]), dtype=jnp.float32)
    return jnp.sum(pixel_weights(labels, class_weights))


def _true_logit(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Picks the logit of each pixel's own class, 0 for void."""
    classes = jnp.arange(logits.shape[-1], dtype=labels.dtype)
    return jnp.sum(jnp.where(labels[..., None] == classes, logits, 0.0), axis=-1)
