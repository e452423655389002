"""Writes a `folder` data set."""

import numpy as np
from PIL import Image

from segnet_jax.data.class_table import ClassTable
from segnet_jax.data.datasets.folder import Folder

TABLE = ClassTable.from_entries(
    "street",
    [
        {"name": "road", "id": 3, "color": (128, 64, 128)},
        {"name": "car", "id": 5, "color": (0, 0, 142)},
        {"name": "void", "id": 255, "ignored": True},
    ],
)


SIZE = (4, 6)


def save(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)


def write(folder, stems, suffix=".png", mask_suffix="", ids=3):
    for index, stem in enumerate(stems):
        save(folder / "images" / f"{stem}{suffix}", np.full((*SIZE, 3), index, np.uint8))
        save(folder / "masks" / f"{stem}{mask_suffix}.png", np.full(SIZE, ids, np.uint8))
    return folder


def open_all(root, **options):
    """A folder whose images are all for training."""
    return Folder(root, "train", TABLE, val_fraction=0.0, **options)
