"""Examples to resize and to change."""

import numpy as np

from segnet_jax.data.class_table import VOID

_SPACING = 15


def example_of(image, label=None):
    image = np.asarray(image, np.uint8)
    label = np.zeros(image.shape[:2], np.uint8) if label is None else np.asarray(label, np.uint8)
    return {"image": image, "label": label, "name": "a"}


def floats_of(image, label=None):
    return {**example_of(np.zeros(np.shape(image)), label), "image": np.asarray(image, np.float32)}


def noise(height, width, seed=0):
    rng = np.random.default_rng(seed)
    return example_of(rng.integers(0, 256, (height, width, 3)), rng.integers(0, 250, (height, width)))


def map_of(height, width):
    """An example whose every pixel tells its own row and column, in the image and in the label."""
    rows, columns = np.indices((height, width))
    image = np.stack([rows * _SPACING, columns * _SPACING, np.full_like(rows, 200)], axis=-1)
    return example_of(image, rows * width + columns)


def places_by_label(example, width):
    """Of the labelled pixels: [N, 2], the rows and columns that the label tells."""
    return np.stack(np.divmod(example["label"][example["label"] != VOID].astype(int), width), axis=-1)


def places_by_image(example):
    return example["image"][example["label"] != VOID][:, :2] / _SPACING
