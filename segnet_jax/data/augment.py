"""Random changes of a training example: image and label together, on the host."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from segnet_jax.data.class_table import VOID
from segnet_jax.data.color_changes import ColorChanges
from segnet_jax.data.resize import Example, pad, sample
from segnet_jax.errors import InputError


@dataclass(frozen=True)
class Augmentation:
    """Changes a training example at random.

    Attributes:
      scale: (smallest, greatest) factor of size, drawn log-uniformly.
      crop_size: (height, width) of the random crop after scaling; () keeps the size of the image. Where the scaled
        image is smaller, the rest is void, and black or, of float32 images, missing (NaN).
      flip: whether to mirror left and right, in every second example.
      class_crops: the probability that the crop has its middle, as far as the image's border allows, on a pixel of a
        class that is drawn from those in the image, each alike, so that rare classes are seen more often.
      colors: the changes of colours, of "rgb" alone (0 to 255).
      modalities: what the channels of the image are: a name and the number of channels for each. Of "normals", the
        first channel (the direction to the side; none is 127.5 in uint8 images, 0 in float32 ones) turns its sign with
        the mirror.

    Raises:
      InputError: for a value out of range.
    """

    scale: tuple[float, float] = (1.0, 1.0)
    crop_size: tuple[int, ...] = ()
    flip: bool = False
    class_crops: float = 0.0
    colors: ColorChanges = ColorChanges()
    modalities: tuple[tuple[str, int], ...] = (("rgb", 3),)

    def __post_init__(self) -> None:
        """Checks the values, which come from a user's config."""
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1]:
            raise InputError(f"augment.scale={self.scale} must be (smallest, greatest), both above 0.")
        if not 0 <= self.class_crops <= 1:
            raise InputError(f"augment.class_crops={self.class_crops} must be a probability from 0 to 1.")

    def __call__(self, example: Example, rng: np.random.Generator) -> Example:
        """Returns a changed copy: image, of its type, [H, W, channels] and label uint8 [H, W]."""
        size = example["label"].shape
        crop = tuple(self.crop_size) or size
        image, label, (top, left) = example["image"], example["label"], (0, 0)
        if self.scale != (1.0, 1.0) or crop != size:
            factor = np.exp(rng.uniform(*np.log(self.scale)))
            middle = None
            if self.class_crops and rng.random() < self.class_crops:
                middle = _pixel_of_a_class(label, rng)
            box, (top, left), taken = _random_crop(size, factor, crop, rng, middle)
            sampled = sample(example, taken, box)
            image, label = sampled["image"], sampled["label"]
        parts = self._parts(image)
        image = np.concatenate([self.colors(part, rng) if n == "rgb" else part for n, part in parts], axis=-1)
        if label.shape != crop:
            padded = pad({"image": image, "label": label}, crop, (top, left))
            image, label = padded["image"], padded["label"]
        if self.flip and rng.random() < 0.5:
            image, label = image[:, ::-1].copy(), label[:, ::-1]
            for name, part in self._parts(image):
                if name == "normals":
                    part[..., 0] = (255 if image.dtype == np.uint8 else 0) - part[..., 0]
        return {**example, "image": image, "label": label}

    def _parts(self, image: np.ndarray) -> list[tuple[str, np.ndarray]]:
        """Returns views of the modalities of an image by name, and of what is beyond them."""
        ends = np.cumsum([channels for _, channels in self.modalities])
        return list(zip([*(name for name, _ in self.modalities), ""], np.split(image, ends, axis=-1), strict=True))


def _random_crop(
    size: tuple[int, int],
    factor: float,
    crop: tuple[int, ...],
    rng: np.random.Generator,
    middle: tuple[int, int] | None = None,
) -> tuple[tuple[float, float, float, float], tuple[int, int], tuple[int, int]]:
    """Draws the position of a crop of an image that is scaled by `factor`, or puts its middle at a pixel of the image.

    Returns:
      The box (left, upper, right, lower) of the crop in the image; the place (top, left) of that part in the crop,
      above 0 along an axis where the scaled image is smaller; and its size (height, width) there.
    """
    ranges, place, taken = [], [], []
    for axis, (length, wanted) in enumerate(zip(size, crop, strict=True)):
        scaled = max(1, round(length * factor))
        is_larger = scaled > wanted
        if middle is not None and is_larger:
            start = min(max(round((middle[axis] + 0.5) * scaled / length - wanted / 2), 0), scaled - wanted)
        else:
            start = int(rng.integers(abs(scaled - wanted) + 1))
        unit = length / scaled
        ranges.append((start * unit, (start + wanted) * unit) if is_larger else (0.0, float(length)))
        place.append(0 if is_larger else start)
        taken.append(min(scaled, wanted))
    (upper, lower), (left, right) = ranges
    return (left, upper, right, lower), (place[0], place[1]), (taken[0], taken[1])


def _pixel_of_a_class(label: np.ndarray, rng: np.random.Generator) -> tuple[int, int] | None:
    """Draws a pixel (row, column) of a class that is drawn from those in `label`; None if all is void."""
    classes = np.unique(label[label != VOID])
    if not classes.size:
        return None
    places = np.flatnonzero(label == rng.choice(classes))
    row, column = divmod(int(rng.choice(places)), label.shape[1])
    return row, column
