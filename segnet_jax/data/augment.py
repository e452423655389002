"""Random changes of a training example: image and mask together, on the host, in NumPy and Pillow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from segnet_jax.data.class_table import VOID
from segnet_jax.errors import InputError

# ITU-R BT.601: the grey that saturation fades to, and the axis that hue turns around.
_LUMA = np.asarray((0.299, 0.587, 0.114))

Example = dict[str, Any]


def resize(example: Example, size: tuple[int, ...], method: str = "stretch") -> Example:
    """Resizes an example to `size`, (height, width): the image smoothly, the label by its nearest pixels.

    By a whole factor the image is the mean of each block, rounded once. Where a label's place lies between two pixels,
    it takes the left and the lower one, as the labels of the SegNet tutorial do: of a block of 2x2 the one at the lower
    left.

    Args:
      example: with `image` and `label`.
      size: the wanted one; () leaves the example as it is.
      method: "stretch" changes the ratio of height and width where it must; the others keep it: "fit" shows the whole
        image, centred in black and void, and "crop" the greatest part in its middle. "center" scales nothing: it takes
        so many pixels in the middle, and what a smaller image lacks is black and void.
    """
    if not size or example["label"].shape == tuple(size):
        return example
    height, width = example["label"].shape
    if method == "stretch":
        return {**example, **_sample(example, size, (0.0, 0.0, float(width), float(height)))}
    if method == "crop":
        # The part of the image that has the ratio of `size`.
        unit = min(height / size[0], width / size[1])
        top, left = (height - size[0] * unit) / 2, (width - size[1] * unit) / 2
        # Rounding may lead out of the image by a hair, which Pillow refuses.
        right, lower = min(left + size[1] * unit, float(width)), min(top + size[0] * unit, float(height))
        box = max(left, 0.0), max(top, 0.0), right, lower
        return {**example, **_sample(example, size, box)}
    if method == "center":
        top, left = (height - size[0]) // 2, (width - size[1]) // 2
        rows, columns = (slice(max(start, 0), max(start, 0) + n) for start, n in zip((top, left), size, strict=True))
        middle = {"image": example["image"][rows, columns], "label": example["label"][rows, columns]}
        return {**example, **_pad(middle, size, (max(-top, 0), max(-left, 0)))}
    unit = max(height / size[0], width / size[1])
    inner = max(1, round(height / unit)), max(1, round(width / unit))
    sampled = _sample(example, inner, (0.0, 0.0, float(width), float(height)))
    return {**example, **_pad(sampled, size, ((size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2))}


def _sample(example: Example, size: tuple[int, ...], box: tuple[float, float, float, float]) -> Example:
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
    together = 3 if channels >= 3 else 0
    parts = [example["image"][..., :3]] * (together > 0) + [example["image"][..., i] for i in range(together, channels)]
    image = [np.asarray(smooth(Image.fromarray(part))).reshape(height, width, -1) for part in parts]
    # What lies between two pixels does so by rounding errors too.
    rows = np.floor(box[1] + (np.arange(height) + 0.5) * down + 1e-6).astype(int)
    columns = np.ceil(box[0] + (np.arange(width) + 0.5) * across - 1e-6).astype(int) - 1
    label = example["label"][rows].take(columns, axis=1)
    return {"image": np.concatenate(image, axis=-1), "label": label}


def _pad(example: Example, size: tuple[int, ...], place: tuple[int, int]) -> Example:
    """Puts image and label at `place` (top, left) into a black and void example of `size`."""
    image, label = example["image"], example["label"]
    (top, left), (height, width) = place, label.shape
    padding = ((top, size[0] - top - height), (left, size[1] - left - width))
    return {"image": np.pad(image, (*padding, (0, 0))), "label": np.pad(label, padding, constant_values=VOID)}


@dataclass(frozen=True)
class Augmentation:
    """Changes a training example at random.

    Attributes:
      scale: (smallest, greatest) factor of size, drawn log-uniformly.
      crop_size: (height, width) of the random crop after scaling; () keeps the size of the image. Where the scaled
        image is smaller, the rest is black and void.
      flip: whether to mirror left and right, in every second example.
      brightness, contrast, saturation: the greatest relative change; 0.2 draws factors from 0.8 to 1.2.
      hue: the greatest rotation, as a share of the full circle, 0 to 0.5.
      modalities: what the channels of the image are: a name and the number of channels for each. The last four changes
        are for "rgb" alone; of "normals", the first channel (the direction to the side, 127.5 being none) turns its
        sign with the mirror.

    Raises:
      InputError: for a value out of range.
    """

    scale: tuple[float, float] = (1.0, 1.0)
    crop_size: tuple[int, ...] = ()
    flip: bool = False
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    modalities: tuple[tuple[str, int], ...] = (("rgb", 3),)

    def __post_init__(self) -> None:
        """Checks the values, which come from a user's config."""
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1]:
            raise InputError(f"augment.scale={self.scale} must be (smallest, greatest), both above 0.")
        for name, limit in (("brightness", 1.0), ("contrast", 1.0), ("saturation", 1.0), ("hue", 0.5)):
            if not 0 <= getattr(self, name) <= limit:
                raise InputError(f"augment.{name}={getattr(self, name)} must lie from 0 to {limit}.")

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        """Returns a changed copy: image uint8 [H, W, channels] and label uint8 [H, W]."""
        size = example["label"].shape
        crop = tuple(self.crop_size) or size
        image, label, (top, left) = example["image"], example["label"], (0, 0)
        if self.scale != (1.0, 1.0) or crop != size:
            factor = np.exp(rng.uniform(*np.log(self.scale)))
            box, (top, left), taken = _random_crop(size, factor, crop, rng)
            sampled = _sample(example, taken, box)
            image, label = sampled["image"], sampled["label"]
        parts = self._parts(image)
        image = np.concatenate([self._jitter(part, rng) if n == "rgb" else part for n, part in parts], axis=-1)
        if label.shape != crop:
            padded = _pad({"image": image, "label": label}, crop, (top, left))
            image, label = padded["image"], padded["label"]
        if self.flip and rng.random() < 0.5:
            image, label = image[:, ::-1].copy(), label[:, ::-1]
            for name, part in self._parts(image):
                if name == "normals":
                    part[..., 0] = 255 - part[..., 0]
        return {**example, "image": image, "label": label}

    def _parts(self, image: np.ndarray) -> list[tuple[str, np.ndarray]]:
        """Returns views of the modalities of an image by name, and of what is beyond them."""
        ends = np.cumsum([channels for _, channels in self.modalities])
        return list(zip([*(name for name, _ in self.modalities), ""], np.split(image, ends, axis=-1), strict=True))

    def _jitter(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Changes brightness, contrast, saturation and hue in one affine map of the colours."""
        if not (self.brightness or self.contrast or self.saturation or self.hue):
            return image
        brightness, contrast, saturation = (
            1.0 + amount * rng.uniform(-1.0, 1.0) for amount in (self.brightness, self.contrast, self.saturation)
        )
        grey = np.outer(np.ones(3), _LUMA)
        matrix = _hue_rotation(2 * np.pi * self.hue * rng.uniform(-1.0, 1.0))
        matrix = (saturation * np.eye(3) + (1 - saturation) * grey) @ matrix
        matrix = brightness * contrast * matrix
        # Contrast is around the image's mean grey, which brightness has moved.
        offset = (1 - contrast) * brightness * float(image.reshape(-1, 3).mean(axis=0) @ _LUMA)
        changed = image.astype(np.float32) @ matrix.T.astype(np.float32) + np.float32(offset)
        return np.clip(np.rint(changed), 0, 255).astype(np.uint8)


def _random_crop(
    size: tuple[int, int], factor: float, crop: tuple[int, ...], rng: np.random.Generator
) -> tuple[tuple[float, float, float, float], tuple[int, int], tuple[int, int]]:
    """Draws the position of a crop of an image that is scaled by `factor`.

    Returns:
      The box (left, upper, right, lower) of the crop in the image; the place (top, left) of that part in the crop,
      above 0 along an axis where the scaled image is smaller; and its size (height, width) there.
    """
    ranges, place, taken = [], [], []
    for length, wanted in zip(size, crop, strict=True):
        scaled = max(1, round(length * factor))
        start = int(rng.integers(abs(scaled - wanted) + 1))
        is_larger = scaled > wanted
        unit = length / scaled
        ranges.append((start * unit, (start + wanted) * unit) if is_larger else (0.0, float(length)))
        place.append(0 if is_larger else start)
        taken.append(min(scaled, wanted))
    (upper, lower), (left, right) = ranges
    return (left, upper, right, lower), (place[0], place[1]), (taken[0], taken[1])


def _hue_rotation(angle: float) -> np.ndarray:
    """Returns the matrix [3, 3] that turns RGB colours around the grey axis and leaves their luma as it is."""
    to_yiq = np.asarray((_LUMA, (0.596, -0.274, -0.322), (0.211, -0.523, 0.312)))
    cosine, sine = np.cos(angle), np.sin(angle)
    turn = np.asarray(((1, 0, 0), (0, cosine, -sine), (0, sine, cosine)))
    return np.linalg.inv(to_yiq) @ turn @ to_yiq
