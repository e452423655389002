"""Losses of how prediction and label overlap, image by image: dice and Lovász.

They are no sums over pixels, so each image has a value of its own: the mean over the classes that its labels hold. The
sum over images is the same however a batch is split among devices and microbatches.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from segnet_jax.training.losses import is_labelled


def dice(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Sums over images the soft dice loss, 1 - 2 |P T| / (|P| + |T|), P being probabilities and T the labels.

    Void pixels count nowhere, which Optax's `dice_loss` does not allow; otherwise it is the same, without smoothing and
    over the classes of the image.

    Args:
      logits: float [B, H, W, K].
      labels: uint8 or int [B, H, W].

    Returns:
      float32 [], from 0 to the number of images, to be divided by `labelled_images` of the whole batch.
    """
    errors, truth = _errors(logits, labels)
    counts = jnp.sum(truth, axis=2, dtype=jnp.float32)
    missed = jnp.sum(jnp.where(truth, errors, 0.0), axis=2)
    wrong = jnp.sum(jnp.where(truth, 0.0, errors), axis=2)
    # |P T| = counts - missed, |P| = |P T| + wrong. A class that the image lacks is left out below.
    values = (missed + wrong) / jnp.maximum(2 * counts - missed + wrong, 1.0)
    return _sum_of_means(values, truth)


def lovasz(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Sums over images the Lovász-softmax loss (Berman et al. 2018), a convex extension of 1 - IoU.

    For each class that the image holds, the errors of its labelled pixels are sorted, and their weighted sum is taken;
    the weight of a pixel is what it takes from the IoU if those of greater error are wrong already. While the order
    stays, so do the weights, and the gradient goes through the errors alone. Images are sorted one after the other; of
    the batch, the weights are kept, float32 [B, K, H * W].

    Args:
      logits: float [B, H, W, K].
      labels: uint8 or int [B, H, W].

    Returns:
      float32 [], from 0 to the number of images, to be divided by `labelled_images` of the whole batch.
    """
    errors, truth = _errors(logits, labels)
    labelled = is_labelled(labels, logits.shape[-1]).reshape(labels.shape[0], 1, -1)
    slopes = jax.lax.map(lambda image: _slopes(*image), jax.lax.stop_gradient((errors, truth, labelled)))
    return _sum_of_means(jnp.sum(slopes * errors, axis=2), truth)


def labelled_images(labels: jax.Array, num_classes: int) -> jax.Array:
    """Counts the images with a labelled pixel, float32 []; add it up over devices before dividing."""
    return jnp.sum(jnp.any(is_labelled(labels, num_classes), axis=(1, 2)), dtype=jnp.float32)


def _errors(logits: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns how far probabilities are from labels, float32 [B, K, N], 0 if void; and the labels, bool [B, K, N]."""
    images, num_classes = logits.shape[0], logits.shape[-1]
    probabilities = jax.nn.softmax(logits.astype(jnp.float32)).reshape(images, -1, num_classes).swapaxes(1, 2)
    labels = labels.reshape(images, 1, -1)
    truth = labels == jnp.arange(num_classes, dtype=labels.dtype)[:, None]
    errors = jnp.where(truth, 1 - probabilities, probabilities)
    return jnp.where(is_labelled(labels, num_classes), errors, 0.0), truth


def _slopes(errors: jax.Array, truth: jax.Array, labelled: jax.Array) -> jax.Array:
    """Returns the weight of each error in the Lovász extension, [K, N]; 0 if void.

    Args:
      errors: float32 [K, N].
      truth: bool [K, N].
      labelled: bool [1, N].
    """
    places = jax.lax.broadcasted_iota(jnp.int32, errors.shape, 1)
    # Void pixels come last, where they change nothing for the others.
    _, order = jax.lax.sort((jnp.where(labelled, -errors, 1.0), places), num_keys=1)
    is_true = jnp.take_along_axis(truth, order, axis=1)
    total = jnp.sum(truth, axis=1, keepdims=True)
    # How many pixels are right, and how many are in the union, if the first so many are wrong.
    right = (total - jnp.cumsum(is_true, axis=1)).astype(jnp.float32)
    union = (total + jnp.cumsum(~is_true, axis=1)).astype(jnp.float32)
    # By how much 1 - right / union grows with each pixel; as a difference of float32 it would be lost.
    slopes = jnp.where(is_true, 1 / union, right / union / jnp.maximum(union - 1, 1.0))
    classes = jax.lax.broadcasted_iota(jnp.int32, errors.shape, 0)
    slopes = jnp.zeros_like(errors).at[classes, order].set(slopes, unique_indices=True)
    return jnp.where(labelled, slopes, 0.0)


def _sum_of_means(values: jax.Array, truth: jax.Array) -> jax.Array:
    """Sums over images the mean of [B, K] over the classes that an image holds; one without a label adds 0."""
    present = jnp.any(truth, axis=2)
    return jnp.sum(jnp.where(present, values, 0.0) / jnp.maximum(jnp.sum(present, axis=1, keepdims=True), 1))
