"""Random changes of the colours of a training image, in NumPy and SciPy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from segnet_jax.errors import InputError

# ITU-R BT.601: the grey that saturation fades to, and the axis that hue turns around.
_LUMA = np.asarray((0.299, 0.587, 0.114))


@dataclass(frozen=True)
class ColorChanges:
    """Changes the colours of an RGB image at random, for other light and another camera, in this order.

    Attributes:
      brightness, contrast, saturation: the greatest relative change; 0.2 draws factors from 0.8 to 1.2.
      hue: the greatest rotation, as a share of the full circle, 0 to 0.5.
      gamma: the greatest exponent is 1 + gamma and the smallest its inverse, drawn log-uniformly; values are taken from
        0 to 1.
      blur: the greatest standard deviation of a Gaussian filter, in pixels; images with missing values stay sharp.
      noise: the greatest standard deviation of Gaussian noise, in steps of 255.

    Raises:
      InputError: for a value out of range.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    gamma: float = 0.0
    blur: float = 0.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        """Checks the values, which come from a user's config."""
        limits = {"brightness": 1, "contrast": 1, "saturation": 1, "hue": 0.5, "gamma": 10, "blur": 100, "noise": 255}
        for name, limit in limits.items():
            if not 0 <= getattr(self, name) <= limit:
                raise InputError(f"augment.{name}={getattr(self, name)} must lie from 0 to {limit}.")

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Returns a changed copy of an image [H, W, 3] of 0 to 255, uint8 or float32 (with NaN for what is missing)."""
        changed = image
        if self.brightness or self.contrast or self.saturation or self.hue:
            changed = self._mixed(changed, rng)
        if self.gamma:
            exponent = (1 + self.gamma) ** rng.uniform(-1.0, 1.0)
            changed = 255 * (np.clip(changed, 0, 255).astype(np.float32) / 255) ** np.float32(exponent)
        if self.blur:
            deviation = self.blur * rng.uniform()
            if image.dtype == np.uint8 or not np.isnan(image).any():
                changed = ndimage.gaussian_filter(changed.astype(np.float32), (deviation, deviation, 0), mode="nearest")
        if self.noise:
            deviation = self.noise * rng.uniform()
            changed = changed + deviation * rng.standard_normal(changed.shape, np.float32)
        if changed is image:
            return image
        return np.clip(np.rint(changed) if image.dtype == np.uint8 else changed, 0, 255).astype(image.dtype)

    def _mixed(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Changes brightness, contrast, saturation and hue in one affine map of the colours; float32, not clipped."""
        brightness, contrast, saturation = (
            1.0 + amount * rng.uniform(-1.0, 1.0) for amount in (self.brightness, self.contrast, self.saturation)
        )
        grey = np.outer(np.ones(3), _LUMA)
        matrix = _hue_rotation(2 * np.pi * self.hue * rng.uniform(-1.0, 1.0))
        matrix = (saturation * np.eye(3) + (1 - saturation) * grey) @ matrix
        matrix = brightness * contrast * matrix
        # Contrast is around the image's mean grey, which brightness has moved.
        colors = image.reshape(-1, 3)
        if image.dtype == np.float32:
            colors = colors[~np.isnan(colors).any(axis=-1)]
        offset = (1 - contrast) * brightness * float(colors.sum(axis=0) / max(1, len(colors)) @ _LUMA)
        return image.astype(np.float32) @ matrix.T.astype(np.float32) + np.float32(offset)


def _hue_rotation(angle: float) -> np.ndarray:
    """Returns the matrix [3, 3] that turns RGB colours around the grey axis and leaves their luma as it is."""
    to_yiq = np.asarray((_LUMA, (0.596, -0.274, -0.322), (0.211, -0.523, 0.312)))
    cosine, sine = np.cos(angle), np.sin(angle)
    turn = np.asarray(((1, 0, 0), (0, cosine, -sine), (0, sine, cosine)))
    return np.linalg.inv(to_yiq) @ turn @ to_yiq
