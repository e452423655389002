"""Resizing of an example: image and label together, on the host, by Pillow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from segnet_jax.data.class_table import VOID

Example = dict[str, Any]


def resize(example: Example, size: tuple[int, ...], method: str = "stretch") -> Example:
    """Resizes an example to `size`, (height, width): the image smoothly, the label by its nearest pixels.

    By a whole factor the image is the mean of each block, rounded once. Where a label's place lies between two pixels,
    it takes the left and the lower one, as the labels of the SegNet tutorial do: of a block of 2x2 the one at the lower
    left. Of float32 images, each channel is interpolated between the values that it has, and missing (NaN) where they
    have less than half of the weight.

    Args:
      example: with `image` and `label`.
      size: the wanted one; () leaves the example as it is.
      method: "stretch" changes the ratio of height and width where it must; the others keep it: "fit" shows the whole
        image, centred in black (float32: missing) and void, and "crop" the greatest part in its middle. "center" scales
        nothing: it takes so many pixels in the middle, and what a smaller image lacks is black (or missing) and void.
    """
    if not size or example["label"].shape == tuple(size):
        return example
    height, width = example["label"].shape
    if method == "stretch":
        return {**example, **sample(example, size, (0.0, 0.0, float(width), float(height)))}
    if method == "crop":
        # The part of the image that has the ratio of `size`.
        unit = min(height / size[0], width / size[1])
        top, left = (height - size[0] * unit) / 2, (width - size[1] * unit) / 2
        # Rounding may lead out of the image by a hair, which Pillow refuses.
        right, lower = min(left + size[1] * unit, float(width)), min(top + size[0] * unit, float(height))
        box = max(left, 0.0), max(top, 0.0), right, lower
        return {**example, **sample(example, size, box)}
    if method == "center":
        top, left = (height - size[0]) // 2, (width - size[1]) // 2
        rows, columns = (slice(max(start, 0), max(start, 0) + n) for start, n in zip((top, left), size, strict=True))
        middle = {"image": example["image"][rows, columns], "label": example["label"][rows, columns]}
        return {**example, **pad(middle, size, (max(-top, 0), max(-left, 0)))}
    unit = max(height / size[0], width / size[1])
    inner = max(1, round(height / unit)), max(1, round(width / unit))
    sampled = sample(example, inner, (0.0, 0.0, float(width), float(height)))
    return {**example, **pad(sampled, size, ((size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2))}


def sample(example: Example, size: tuple[int, ...], box: tuple[float, float, float, float]) -> Example:
    """Resizes the part in `box` (left, upper, right, lower) of image and label to `size` (height, width)."""
    height, width = size
    across, down = (box[2] - box[0]) / width, (box[3] - box[1]) / height
    is_whole = all(value.is_integer() for value in (*box, across, down))

    def smooth(channels: Image.Image) -> Image.Image:
        if is_whole:
            left, upper, right, lower = map(int, box)
            return channels.reduce((int(across), int(down)), (left, upper, right, lower))
        # Pillow's bilinear filter widens with the reduction, so that shrinking averages and does not alias.
        return channels.resize((width, height), Image.Resampling.BILINEAR, box)

    # Pillow takes a fourth channel for opacity, and weighs the colours by it.
    channels = example["image"].shape[-1]
    together = 3 if channels >= 3 and example["image"].dtype == np.uint8 else 0
    parts = [example["image"][..., :3]] * (together > 0) + [example["image"][..., i] for i in range(together, channels)]
    image = [_smoothed(part, smooth).reshape(height, width, -1) for part in parts]
    # What lies between two pixels does so by rounding errors too.
    rows = np.floor(box[1] + (np.arange(height) + 0.5) * down + 1e-6).astype(int)
    columns = np.ceil(box[0] + (np.arange(width) + 0.5) * across - 1e-6).astype(int) - 1
    label = example["label"][rows].take(columns, axis=1)
    return {"image": np.concatenate(image, axis=-1), "label": label}


def _smoothed(part: np.ndarray, smooth: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    """Applies a linear map of Pillow's to the channels of an image, and to a float32 channel where it has values."""
    is_missing = np.isnan(part) if part.dtype == np.float32 else np.zeros((), bool)
    if not is_missing.any():
        return np.asarray(smooth(Image.fromarray(part)))
    total = np.asarray(smooth(Image.fromarray(np.where(is_missing, np.float32(0), part))))
    weight = np.asarray(smooth(Image.fromarray((~is_missing).astype(np.float32))))
    # By rounding errors, half of the weight may be a little less.
    return np.where(weight < 0.5 - 1e-4, np.nan, total / np.maximum(weight, 0.25)).astype(np.float32)


def pad(example: Example, size: tuple[int, ...], place: tuple[int, int]) -> Example:
    """Puts image and label at `place` (top, left) into an example of `size` that is void, and black or NaN."""
    image, label = example["image"], example["label"]
    (top, left), (height, width) = place, label.shape
    padding = ((top, size[0] - top - height), (left, size[1] - left - width))
    nothing = 0 if image.dtype == np.uint8 else np.nan
    return {
        "image": np.pad(image, (*padding, (0, 0)), constant_values=nothing),
        "label": np.pad(label, padding, constant_values=VOID),
    }
