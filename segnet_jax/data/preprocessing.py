"""Input normalisation, on the device: uint8 images travel there, a quarter of the bytes of float ones.

Images that hold other values than 0 to 255, or lack some, are float32, with NaN where a value is missing.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

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
        """Normalises images, uint8 or float32 [N, H, W, C] to float32 of that shape.

        A missing value becomes 0, and has no influence on the rest. What is NaN is missing: from its channel, if each
        channel is normalised by itself, else with all channels of its modality.

        Args:
          images: the channels of the modalities, one modality after the other.
          valid_mask: bool [N, H, W, modalities], False where a value is missing. None: what is not NaN is there.
        """


@dataclass(frozen=True)
class ChannelStatistics:
    """Mean and standard deviation of each channel of the training images, over the values that are not missing."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def to_dict(self) -> dict[str, list[float]]:
        """Returns the numbers as JSON values; `from_dict` inverts it."""
        return {"mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ChannelStatistics:
        """Returns the statistics that `to_dict` gave."""
        return cls(tuple(values["mean"]), tuple(values["std"]))


_LCN_WINDOW = 9
_LCN_SIGMA = 1.591


def imagenet(images: jax.Array, valid_mask: jax.Array | None = None) -> jax.Array:
    """Subtracts ImageNet's mean and divides by its standard deviation: uint8 RGB to float32 [N, H, W, 3]."""
    images, valid_mask = _present(images, valid_mask, RGB)
    mean = 255.0 * np.asarray(IMAGENET_MEAN, np.float32)
    scale = 1.0 / (255.0 * np.asarray(IMAGENET_STD, np.float32))
    return _mask((images.astype(jnp.float32) - mean) * scale, valid_mask)


def none(images: jax.Array, valid_mask: jax.Array | None = None) -> jax.Array:
    """Leaves the values as they are, as in the authors' full SegNet: uint8 RGB to float32 BGR, 0 to 255."""
    images, valid_mask = _present(images, valid_mask, RGB)
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
    section 3). uint8 or float32, of any range, to float32 [N, H, W, C].

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
    is_float = jnp.issubdtype(images.dtype, jnp.floating)
    images, valid_mask = _present(images, valid_mask, modalities)
    starts = np.cumsum((0, *modalities))
    parts = []
    for i in range(len(modalities)):
        x = images[..., starts[i] : starts[i + 1]].astype(jnp.float32)
        valid = None if valid_mask is None else valid_mask[..., i : i + 1].astype(jnp.float32)
        # The result does not depend on the scale, but what counts as flat does.
        parts.append(_local_contrast(x / (_greatest(x) if is_float else 255.0), valid))
    return jnp.concatenate(parts, axis=-1)


def _greatest(x: jax.Array) -> jax.Array:
    """Returns the greatest absolute value of each image, [N, 1, 1, 1]; 1 where that is 0."""
    found = jnp.max(jnp.max(jnp.abs(x), axis=-1), axis=(1, 2))[:, None, None, None]
    return jnp.where(found > 0, found, 1.0)


def standardize(
    images: jax.Array,
    valid_mask: jax.Array | None = None,
    *,
    modalities: Sequence[int],
    statistics: ChannelStatistics,
) -> jax.Array:
    """Subtracts from each channel its mean and divides by its standard deviation: float32 [N, H, W, C].

    Args:
      images: as for every normalisation.
      valid_mask: with as many channels as there are modalities.
      modalities: the number of channels of each.
      statistics: of as many channels.
    """
    mean, std = np.asarray(statistics.mean, np.float32), np.asarray(statistics.std, np.float32)
    normalized = (images.astype(jnp.float32) - mean) * (1.0 / std)
    if valid_mask is not None:
        normalized = jnp.where(valid_mask[..., np.repeat(np.arange(len(modalities)), modalities)], normalized, 0.0)
    if jnp.issubdtype(images.dtype, jnp.floating):
        normalized = jnp.where(jnp.isnan(images), 0.0, normalized)
    return normalized


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


def _present(
    images: jax.Array, valid_mask: jax.Array | None, modalities: Sequence[int]
) -> tuple[jax.Array, jax.Array | None]:
    """Returns images with 0 in place of NaN, and a mask of what is valid of each modality; None: all is."""
    if not jnp.issubdtype(images.dtype, jnp.floating):
        return images, valid_mask
    is_missing = jnp.isnan(images)
    starts = np.cumsum((0, *modalities))
    counts = [
        jnp.sum(is_missing[..., start:end].astype(jnp.float32), axis=-1)[..., None]
        for start, end in zip(starts[:-1], starts[1:], strict=True)
    ]
    valid = jnp.concatenate(counts, axis=-1) == 0
    return jnp.where(is_missing, 0.0, images), valid if valid_mask is None else valid & valid_mask


def _mask(x: jax.Array, valid_mask: jax.Array | None) -> jax.Array:
    """Returns `x` [N, H, W, C] of one modality, zero where it is missing."""
    return x if valid_mask is None else jnp.where(valid_mask, x, 0.0)


NORMALIZATIONS: dict[str, Normalize] = {
    "imagenet": imagenet,
    "lcn": lcn,
    "lrn": lrn,
    "none": none,
}


def needs_statistics(name: str, modalities: tuple[int, ...] = RGB, names: tuple[str, ...] = ("rgb",)) -> bool:
    """Tells whether a normalisation of such images needs the statistics of their channels.

    Args:
      name: a key of `NORMALIZATIONS`, or "standardize".
      modalities: the number of channels of each, `RGB` or such as `RGBD`.
      names: what the modalities are.

    Raises:
      InputError: for a name that is not known, or one that is for other images.
    """
    if name not in (*NORMALIZATIONS, "standardize"):
        raise InputError(
            f"preprocessing={name!r} is not known; choose one of {', '.join([*NORMALIZATIONS, 'standardize'])}."
        )
    if name in ("standardize", "lcn") or (modalities, names) == (RGB, ("rgb",)):
        return name == "standardize"
    if name != "imagenet" or "rgb" not in names:
        images = "RGB images" if name != "imagenet" else "images with RGB"
        channels = " and ".join(f"{name} ({count})" for name, count in zip(names, modalities, strict=True))
        raise InputError(
            f"preprocessing={name!r} is for {images}, and the channels of these are {channels}; choose "
            "preprocessing='standardize' or 'lcn'."
        )
    return True


@functools.cache
def create_normalization(
    name: str,
    modalities: tuple[int, ...] = RGB,
    names: tuple[str, ...] = ("rgb",),
    statistics: ChannelStatistics | None = None,
) -> Normalize:
    """Returns the normalisation of that name, for images of these modalities.

    "standardize" normalises each channel by its own statistics. "imagenet" does so with all but RGB.

    Args:
      name: a key of `NORMALIZATIONS`, or "standardize".
      modalities: the number of channels of each, `RGB` or such as `RGBD`.
      names: what the modalities are.
      statistics: of the channels, if `needs_statistics` says so.

    Raises:
      InputError: as `needs_statistics`.
    """
    if not needs_statistics(name, modalities, names):
        if modalities == RGB:
            return NORMALIZATIONS[name]
        return functools.partial(lcn, modalities=modalities)
    assert statistics is not None, "this normalisation needs the statistics of the channels"
    if name == "imagenet":
        start = sum(modalities[: names.index("rgb")])
        mean, std = list(statistics.mean), list(statistics.std)
        mean[start : start + 3] = (255.0 * value for value in IMAGENET_MEAN)
        std[start : start + 3] = (255.0 * value for value in IMAGENET_STD)
        statistics = ChannelStatistics(tuple(mean), tuple(std))
    return functools.partial(standardize, modalities=modalities, statistics=statistics)
