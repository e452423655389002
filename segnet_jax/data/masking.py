"""Input with missing values, in training and in evaluation (arXiv 1505.07293, section 5).

A missing value is 0 in the network's input, where local contrast normalisation has the local mean, and has no
influence on the normalisation of the others (`preprocessing.Normalize`).
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from segnet_jax.data.preprocessing import Normalize
from segnet_jax.errors import InputError


@dataclass(frozen=True)
class Masking:
    """Draws at random which values of training images are missing.

    Attributes:
      pixels: smallest and greatest share of the pixels that are missing, in all modalities; the share is drawn evenly
        for each image.
      block: pixels are missing in squares of this side.
      modality: the probability that one of the modalities is missing from the whole image, each as likely as another.
      num_modalities: that the images have.

    Raises:
      InputError: for a value out of range, or if the only modality were to be missing.
    """

    pixels: tuple[float, float] = (0.0, 0.0)
    block: int = 1
    modality: float = 0.0
    num_modalities: int = 1

    def __post_init__(self) -> None:
        """Checks the values, which come from a user's config."""
        if len(self.pixels) != 2 or not 0 <= self.pixels[0] <= self.pixels[1] <= 1:
            raise InputError(f"masking.pixels={self.pixels} must be (smallest, greatest) share, from 0 to 1.")
        if self.block < 1:
            raise InputError(f"masking.block={self.block} must be a side in pixels, at least 1.")
        if not 0 <= self.modality <= 1:
            raise InputError(f"masking.modality={self.modality} must be a probability from 0 to 1.")
        if self.modality and self.num_modalities < 2:
            raise InputError(
                f"masking.modality={self.modality} would take away the only modality of the images; set it to 0."
            )

    def __bool__(self) -> bool:
        """Returns whether anything can be missing."""
        return self.pixels[1] > 0 or self.modality > 0

    def __call__(self, key: jax.Array, images: jax.Array) -> jax.Array:
        """Returns a mask of the valid values of images [N, H, W, C]: bool [N, H, W, num_modalities]."""
        count, height, width, _ = images.shape

        def draw(key: jax.Array) -> jax.Array:
            share_key, pixel_key, drop_key, choice_key = jax.random.split(key, 4)
            share = jax.random.uniform(share_key, minval=self.pixels[0], maxval=self.pixels[1])
            valid = valid_pixels(pixel_key, (height, width), share, self.block)
            dropped = jax.random.uniform(drop_key) < self.modality
            chosen = jnp.arange(self.num_modalities) == jax.random.randint(choice_key, (), 0, self.num_modalities)
            return valid[..., None] & ~(dropped & chosen)

        return jax.vmap(draw)(jax.random.split(key, count))


def valid_pixels(key: jax.Array, size: tuple[int, int], share: jax.typing.ArrayLike, block: int = 1) -> jax.Array:
    """Draws a mask of valid pixels; each square of side `block` is missing with the probability `share`.

    With the same key, what is missing at one share is missing at every greater one.

    Returns:
      bool [H, W].
    """
    height, width = size
    squares = jax.random.uniform(key, (-(-height // block), -(-width // block))) >= share
    return jnp.repeat(jnp.repeat(squares, block, axis=0), block, axis=1)[:height, :width]


@dataclass(frozen=True)
class Missing:
    """A normalisation of images with missing values, for evaluation.

    Which values are missing is a function of the image alone, so that scores do not depend on batches or devices.

    Attributes:
      normalize: the normalisation.
      share: the share of missing pixels, 0 to 1.
      block: as in `Masking`.
      modality: the number of the modality, from 0, that is missing from all images; None: no modality is.
      num_modalities: that the images have.
    """

    normalize: Normalize
    share: float = 0.0
    block: int = 1
    modality: int | None = None
    num_modalities: int = 1

    def __call__(self, images: jax.Array, valid_mask: jax.Array | None = None) -> jax.Array:
        """Returns the network's input, as `Normalize` does; values that `valid_mask` leaves out are missing, too."""
        valid = self.valid_mask(images)
        return self.normalize(images, valid if valid_mask is None else valid & valid_mask)

    def valid_mask(self, images: jax.Array) -> jax.Array:
        """Returns a mask of the valid values of images [N, H, W, C]: bool [N, H, W, num_modalities]."""
        size = (images.shape[1], images.shape[2])

        def draw(image: jax.Array) -> jax.Array:
            # Floating-point numbers by their bits, for NaN has no sum.
            numbers = image if image.dtype == jnp.uint8 else jax.lax.bitcast_convert_type(image, jnp.uint32)
            key = jax.random.fold_in(jax.random.key(0), jnp.sum(numbers, dtype=jnp.uint32))
            return valid_pixels(key, size, self.share, self.block)

        valid = jnp.repeat(jax.vmap(draw)(images)[..., None], self.num_modalities, axis=-1)
        if self.modality is not None:
            valid = valid & (jnp.arange(self.num_modalities) != self.modality)
        return valid
