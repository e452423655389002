"""Input normalisation, on the device: uint8 images travel there, a quarter of the bytes of float ones."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from segnet_jax.errors import InputError

# Statistics of the ImageNet training images, RGB in 0..1, that VGG16's published weights were trained with.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# The channels of each modality of an image, in order: RGB, and RGB with depth.
RGB = (3,)
RGBD = (3, 1)


class Normalize(Protocol):
    """A function from images to a network's input."""

    def __call__(self, images: jax.Array, valid_mask: jax.Array | None = None) -> jax.Array:
        """Normalises images, uint8 [N, H, W, C] to float32 of that shape.

        Args:
          images: the channels of the modalities, one modality after the other.
          valid_mask: bool [N, H, W, modalities], False where a value is missing: it becomes 0, and has no influence on
            the rest. None: nothing is missing.
        """


_LCN_WINDOW = 9
_LCN_SIGMA = 1.591


def imagenet(images: jax.Array, valid_mask: jax.Array | None = None) -> jax.Array:
    """Subtracts ImageNet's mean and divides by its standard deviation: uint8 RGB to float32 [N, H, W, 3]."""
    mean = 255.0 * np.asarray(IMAGENET_MEAN, np.float32)
    scale = 1.0 / (255.0 * np.asarray(IMAGENET_STD, np.float32))
    return _mask((images.astype(jnp.float32) - mean) * scale, valid_mask)


def none(images: jax.Array, valid_mask: jax.Array | None = None) -> jax.Array:
    """Leaves the values as they are, as in the authors' full SegNet: uint8 RGB to float32 BGR, 0 to 255."""
    return _mask(images[..., ::-1].astype(jnp.float32), valid_mask)


def lrn(images: jax.Array, valid_mask: jax.Array | None = None) -> jax.Array:
    """Applies Caffe's local response normalisation across channels, as in the authors' SegNet-Basic prototxt.

    `x / (1 + 1e-4 / 5 * sum of squares over 5 channels) ** 0.75` of raw BGR values; of three channels the window
    always holds all. uint8 RGB to float32 BGR [N, H, W, 3].
    """
    x = none(images, valid_mask)
    return x / (1.0 + 1e-4 / 5 * jnp.sum(x * x, axis=-1, keepdims=True)) ** 0.75


def lcn(images: jax.Array, valid_mask: jax.Array | None = None, modalities: Sequence[int] = ()) -> jax.Array:
    """Applies local contrast normalisation (Jarrett et al. 2009), the papers' preprocessing.

    Subtractive: minus the Gaussian-weighted mean of the 9x9 neighbourhood in all channels. Divisive: over its
    weighted standard deviation, but at least over the image's mean deviation, so that flat regions stay flat. At the
    border the window is cut and its weights are renormalised, and so they are around missing values. Each modality is
    normalised by itself, all its channels jointly, so that the edges of one do not show in another (arXiv 1505.07293,
    section 3). uint8 to float32 [N, H, W, C].

    Args:
      images: as for every normalisation.
      valid_mask: with as many channels as there are modalities.
      modalities: the number of channels of each; () takes all channels as one modality.

    Raises:
      InputError: if the images have another number of channels.
    """
    modalities = tuple(modalities) or images.shape[-1:]
    if sum(modalities) != images.shape[-1]:
        raise InputError(
            f"The images have {images.shape[-1]} channels, but modalities of {' and '.join(map(str, modalities))} "
            f"channels are to be normalised; give images of {sum(modalities)} channels."
        )
    x = images.astype(jnp.float32) / 255.0
    starts = np.cumsum((0, *modalities))
    parts = []
    for i in range(len(modalities)):
        valid = None if valid_mask is None else valid_mask[..., i : i + 1].astype(jnp.float32)
        parts.append(_local_contrast(x[..., starts[i] : starts[i + 1]], valid))
    return jnp.concatenate(parts, axis=-1)


def _local_contrast(x: jax.Array, valid: jax.Array | None) -> jax.Array:
    """Normalises one modality [N, H, W, C], with `valid` 1 or 0 [N, H, W, 1]."""
    valid = jnp.ones_like(x[..., :1]) if valid is None else valid
    centred = (x - _gaussian_mean(jnp.mean(x, axis=-1, keepdims=True), valid)) * valid
    variance = _gaussian_mean(jnp.mean(centred * centred, axis=-1, keepdims=True), valid)
    deviation = jnp.sqrt(jnp.maximum(variance, 0.0))
    total = jnp.maximum(jnp.sum(valid, axis=(-3, -2), keepdims=True), 1.0)
    floor = jnp.sum(deviation * valid, axis=(-3, -2), keepdims=True) / total
    # A grey image of one value has no contrast anywhere: zero over one.
    divisor = jnp.maximum(deviation, floor)
    return centred / jnp.where(divisor > 1e-6, divisor, 1.0)


def _gaussian_mean(x: jax.Array, valid: jax.Array) -> jax.Array:
    """Returns the Gaussian-weighted mean of the valid values of a 9x9 window, cut at the border: [N, H, W, 1]."""
    offsets = np.arange(_LCN_WINDOW) - _LCN_WINDOW // 2
    weights = np.exp(-(offsets**2) / (2 * _LCN_SIGMA**2)).astype(np.float32)

    def blur(values: jax.Array) -> jax.Array:
        for shape in ((_LCN_WINDOW, 1, 1, 1), (1, _LCN_WINDOW, 1, 1)):
            values = jax.lax.conv_general_dilated(
                values, jnp.asarray(weights.reshape(shape)), (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
        return values

    total = blur(valid)
    # Where no value of the whole window is valid, nothing is weighed either: zero over one.
    return blur(x * valid) / jnp.where(total > 0, total, 1.0)


def _mask(x: jax.Array, valid_mask: jax.Array | None) -> jax.Array:
    """Returns `x` [N, H, W, C] of one modality, zero where it is missing."""
    return x if valid_mask is None else jnp.where(valid_mask, x, 0.0)


NORMALIZATIONS: dict[str, Normalize] = {
    "imagenet": imagenet,
    "lcn": lcn,
    "lrn": lrn,
    "none": none,
}


@functools.cache
def create_normalization(name: str, modalities: tuple[int, ...] = RGB) -> Normalize:
    """Returns the normalisation of that name, for images of these modalities.

    Args:
      name: a key of `NORMALIZATIONS`.
      modalities: the number of channels of each, `RGB` or such as `RGBD`.

    Raises:
      InputError: for a name that is not known, or one that is for RGB images alone.
    """
    if name not in NORMALIZATIONS:
        raise InputError(f"preprocessing={name!r} is not known; choose one of {', '.join(NORMALIZATIONS)}.")
    if modalities == RGB:
        return NORMALIZATIONS[name]
    if name != "lcn":
        raise InputError(
            f"preprocessing={name!r} is for RGB images, and these have modalities of "
            f"{' and '.join(map(str, modalities))} channels; choose preprocessing='lcn'."
        )
    return functools.partial(lcn, modalities=modalities)
