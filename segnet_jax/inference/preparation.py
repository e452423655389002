"""Prepares images: what becomes of one before the network sees it, as in training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from segnet_jax.data.preprocessing import Normalize
from segnet_jax.data.resize import resize


@dataclass(frozen=True)
class Preparation:
    """Size and normalisation of a network's images.

    Attributes:
      image_size: (height, width) that training images were resized to; () means they kept their own.
      method: how they were resized, see `resize.resize`.
      read: reads an image from a file, [H, W, channels], as training did.
      normalize: from images to the network's input, on the device.
      seed: of stochastic passes.
    """

    image_size: tuple[int, ...]
    method: str
    read: Callable[[str], np.ndarray]
    normalize: Normalize
    seed: int

    def network_size(self, height: int, width: int) -> tuple[int, int]:
        """Returns the size at which the network sees an image of (height, width).

        Where training kept the ratio of height and width and padded or cut, the image is scaled alike, but whole and
        without padding; where training cut and did not scale, it keeps its size.
        """
        if not self.image_size or self.method == "center":
            return height, width
        wanted_height, wanted_width = self.image_size
        if self.method == "stretch":
            return wanted_height, wanted_width
        choose = max if self.method == "fit" else min
        unit = choose(height / wanted_height, width / wanted_width)
        return max(1, round(height / unit)), max(1, round(width / unit))


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes an image, uint8 or float32 [H, W, channels], to (height, width) as training does."""
    return resize({"image": image, "label": image[..., 0]}, size)["image"]
