"""Draws label maps: in colours, as overlays, as errors, and as PNG files with a palette."""

from __future__ import annotations

import os

import numpy as np
from PIL import Image

from segnet_jax.data.class_table import VOID, ClassTable
from segnet_jax.visualize.picture_file import save_picture

WRONG_COLOR = (214, 0, 78)
_ROWS = 64
# From little to much: each colour is lighter than the one before, so that it reads in gray too.
_HEAT = np.array([(0, 0, 12), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)])


def rgb_of(image: np.ndarray) -> np.ndarray:
    """Returns the first three channels of an image [H, W, channels]; of fewer the first, three times."""
    return image[..., :3] if image.shape[-1] >= 3 else np.repeat(image[..., :1], 3, axis=-1)


def colorize(label: np.ndarray, class_table: ClassTable) -> np.ndarray:
    """Paints a label map in its classes' colours.

    Args:
      label: integers [H, W]; whatever is outside 0..K-1, VOID among it, gets the void colour.
      class_table: the classes.

    Returns:
      uint8 [H, W, 3] RGB.
    """
    colors = np.vstack([class_table.colors, np.array([class_table.void_color], np.uint8)])
    return colors[np.where(is_class(label, class_table), label, class_table.num_classes)]


def overlay(image: np.ndarray, label: np.ndarray, class_table: ClassTable, alpha: float = 0.5) -> np.ndarray:
    """Blends a label map's colours into the image; void pixels show the image alone.

    Args:
      image: uint8 [H, W, 3] RGB.
      label: integers [H, W], as in `colorize`.
      class_table: the classes.
      alpha: share of the class colour, 0..1.

    Returns:
      uint8 [H, W, 3] RGB.

    Raises:
      ValueError: if the sizes differ.
    """
    check_sizes(image, label)
    result = np.array(image)
    # Some rows at a time: the sum of a large image would take many times its memory.
    for top in range(0, len(label), _ROWS):
        rows = slice(top, top + _ROWS)
        blend = (1 - alpha) * image[rows] + alpha * colorize(label[rows], class_table)
        painted = is_class(label[rows], class_table)[..., None]
        result[rows] = np.where(painted, np.rint(blend), image[rows])
    return result


def mark_errors(image: np.ndarray, label: np.ndarray, prediction: np.ndarray, class_table: ClassTable) -> np.ndarray:
    """Paints the wrong pixels into a pale gray image, and those without a label, which are not judged, as void.

    Args:
      image: uint8 [H, W, 3] RGB.
      label: integers [H, W], ground truth; whatever is outside 0..K-1, VOID among it, has no label.
      prediction: integers [H, W].
      class_table: the classes.

    Returns:
      uint8 [H, W, 3] RGB: `WRONG_COLOR` where a labelled pixel's prediction is another class, the void colour where
      there is no label.

    Raises:
      ValueError: if the sizes differ.
    """
    check_sizes(image, label, prediction)
    # Pale, so that the marks stand out in gray too.
    gray = np.minimum(128 + image.mean(axis=-1, keepdims=True) / 2, 255)
    labelled = is_class(label, class_table)[..., None]
    marked = np.where((label != prediction)[..., None], WRONG_COLOR, np.rint(gray))
    return np.where(labelled, marked, class_table.void_color).astype(np.uint8)


def heat_map(values: np.ndarray, greatest: float) -> np.ndarray:
    """Paints numbers from black (0) over purple, red and orange to light yellow (`greatest` and above).

    Args:
      values: numbers [H, W].
      greatest: the value at the upper end; where it is 0, everything is black.

    Returns:
      uint8 [H, W, 3] RGB.
    """
    share = np.clip(values / greatest, 0, 1) if greatest > 0 else np.zeros(values.shape)
    places = np.linspace(0, 1, len(_HEAT))
    channels = [np.interp(share, places, _HEAT[:, channel]) for channel in range(3)]
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)


def save_label_png(label: np.ndarray, path: str | os.PathLike[str], class_table: ClassTable) -> None:
    """Writes a label map as a PNG of labels that viewers show in the class colours; the file appears when it is whole.

    Args:
      label: integers [H, W], 0..K-1 or VOID.
      path: the file to write, in an existing folder.
      class_table: the classes, whose colours become the palette (mode P); VOID and unused entries get the void colour.

    Raises:
      ValueError: if the label holds another value.
      InputError: if the file cannot be written.
    """
    stray = label[~is_class(label, class_table) & (label != VOID)]
    if stray.size:
        raise ValueError(f"label value {stray.flat[0]} is neither VOID nor one of {class_table.num_classes} classes.")
    palette = np.full((256, 3), class_table.void_color, np.uint8)
    palette[: class_table.num_classes] = class_table.colors
    picture = Image.fromarray(label.astype(np.uint8))
    picture.putpalette(palette.tobytes())
    save_picture(picture, path)


def is_class(label: np.ndarray, class_table: ClassTable) -> np.ndarray:
    """Tells which pixels hold a class, bool of the shape of `label`."""
    return (label >= 0) & (label < class_table.num_classes)


def check_sizes(image: np.ndarray, *labels: np.ndarray) -> None:
    """Raises ValueError unless each of `labels`, [H, W], is of the size of `image`, [H, W, 3]."""
    for label in labels:
        if image.shape != (*label.shape, 3):
            raise ValueError(f"the image is {image.shape}, its label or prediction {label.shape}.")
