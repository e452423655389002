"""Input normalisation, on the device: uint8 images travel there, a quarter of the bytes of float ones."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from segnet_jax.errors import InputError

# Of the ImageNet training images, RGB in 0..1: what VGG16's published weights were trained with.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Normalize = Callable[[jax.Array], jax.Array]

_LCN_WINDOW = 9
_LCN_SIGMA = 1.591


def imagenet(images: jax.Array) -> jax.Array:
    """Subtracts ImageNet's mean and divides by its standard deviation: uint8 RGB to float32 [N, H, W, 3]."""
    mean = 255.0 * np.asarray(IMAGENET_MEAN, np.float32)
    scale = 1.0 / (255.0 * np.asarray(IMAGENET_STD, np.float32))
    return (images.astype(jnp.float32) - mean) * scale


def none(images: jax.Array) -> jax.Array:
    """No normalisation, as in the authors' full SegNet: uint8 RGB to float32 BGR, 0 to 255."""
    return images[..., ::-1].astype(jnp.float32)


def lrn(images: jax.Array) -> jax.Array:
    """Caffe's local response normalisation across channels, as in the authors' SegNet-Basic prototxt.

    `x / (1 + 1e-4 / 5 * sum of squares over 5 channels) ** 0.75` of raw BGR values; of three channels the window
    always holds all. uint8 RGB to float32 BGR [N, H, W, 3].
    """
    x = none(images)
    return x / (1.0 + 1e-4 / 5 * jnp.sum(x * x, axis=-1, keepdims=True)) ** 0.75


def lcn(images: jax.Array) -> jax.Array:
    """Local contrast normalisation (Jarrett et al. 2009), the papers' preprocessing, over all channels jointly.

    Subtractive: minus the Gaussian-weighted mean of the 9x9 neighbourhood in all channels. Divisive: over its
    weighted standard deviation, but at least over the image's mean deviation, so that flat regions stay flat. At the
    border the window is cut and its weights are renormalised. uint8 to float32 [N, H, W, C].
    """
    x = images.astype(jnp.float32) / 255.0
    centred = x - _gaussian_mean(jnp.mean(x, axis=-1, keepdims=True))
    variance = _gaussian_mean(jnp.mean(centred * centred, axis=-1, keepdims=True))
    deviation = jnp.sqrt(jnp.maximum(variance, 0.0))
    floor = jnp.mean(deviation, axis=(-3, -2), keepdims=True)
    # A grey image of one value has no contrast anywhere: zero over one.
    divisor = jnp.maximum(deviation, floor)
    return centred / jnp.where(divisor > 1e-6, divisor, 1.0)


def _gaussian_mean(x: jax.Array) -> jax.Array:
    """Gaussian-weighted mean over a 9x9 window, cut at the border: [N, H, W, 1]."""
    offsets = np.arange(_LCN_WINDOW) - _LCN_WINDOW // 2
    weights = np.exp(-(offsets**2) / (2 * _LCN_SIGMA**2)).astype(np.float32)

    def blur(values: jax.Array) -> jax.Array:
        for shape in ((_LCN_WINDOW, 1, 1, 1), (1, _LCN_WINDOW, 1, 1)):
            values = jax.lax.conv_general_dilated(
                values, jnp.asarray(weights.reshape(shape)), (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
        return values

    return blur(x) / blur(jnp.ones_like(x))


NORMALIZATIONS: dict[str, Normalize] = {
    "imagenet": imagenet,
    "lcn": lcn,
    "lrn": lrn,
    "none": none,
}


@functools.cache
def create_normalization(name: str) -> Normalize:
    """The function of that name, from uint8 [N, H, W, 3] RGB to a network's float32 input.

    Raises:
      InputError: for a name that is not known.
    """
    if name not in NORMALIZATIONS:
        raise InputError(f"preprocessing={name!r} is not known; choose one of {', '.join(NORMALIZATIONS)}.")
    return NORMALIZATIONS[name]
