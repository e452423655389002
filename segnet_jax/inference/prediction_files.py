"""The files that segmented images leave in a folder."""

from __future__ import annotations

import glob
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from segnet_jax import visualize
from segnet_jax.data.image_files import IMAGE_SUFFIXES
from segnet_jax.errors import InputError
from segnet_jax.inference.segmenter import Segmentation
from segnet_jax.runtime.files import write_errors


def find_images(where: str) -> dict[str, Path]:
    """Finds the images of a file, a folder with all its subfolders, or a glob.

    Returns:
      The path of each by the name that its results have, without suffix: its path below the folder, with the suffix of
      the image where two would have the same name.

    Raises:
      InputError: if there is none.
    """
    path = Path(where).expanduser()
    if path.is_dir():
        root, found = path, [file for file in path.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES]
    elif path.exists():
        root, found = path.parent, [path]
    else:
        found = [Path(file) for file in glob.glob(os.path.expanduser(where), recursive=True)]
        found = [file for file in found if file.suffix.lower() in IMAGE_SUFFIXES]
        root = Path(os.path.commonpath([file.parent for file in found])) if found else path
    if not found:
        suffixes = ", ".join(sorted(IMAGE_SUFFIXES))
        raise InputError(f"--input={where} holds no image ({suffixes}); give an image, a folder, a glob or a video.")
    stems = {file: file.relative_to(root).with_suffix("").as_posix() for file in sorted(found)}
    times = Counter(stems.values())
    return {stem if times[stem] == 1 else file.relative_to(root).as_posix(): file for file, stem in stems.items()}


@dataclass(frozen=True)
class PredictionFiles:
    """The results of images, in one folder.

    `NAME.png` holds the labels, `NAME_overlay.png` the image with the classes' colours and a legend,
    `NAME_uncertainty.png` a heat map, and `NAME.npz` the numbers behind: `probabilities`, float16 [H, W, K], and
    `uncertainty`, float32 [H, W].

    Attributes:
      folder: where they lie.
      overlays: whether overlays are drawn.
      alpha: share of the class colours in them, 0 to 1.
    """

    folder: Path
    overlays: bool = True
    alpha: float = 0.5

    def labels(self, name: str) -> Path:
        """Returns the path of the labels of the image `name`, which is there once all its results are."""
        return self.folder / f"{name}.png"

    def write(self, name: str, found: Segmentation) -> None:
        """Writes the results of the image `name`.

        Raises:
          InputError: if they cannot be written.
        """
        path = self.labels(name)
        with write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            arrays: dict[str, Any] = {}
            if found.probabilities is not None:
                arrays["probabilities"] = found.probabilities.astype(np.float16)
            if found.uncertainty is not None:
                arrays["uncertainty"] = found.uncertainty
                heat = visualize.heat_map(found.uncertainty, float(found.uncertainty.max()))
                visualize.save_picture(Image.fromarray(heat), self.folder / f"{name}_uncertainty.png")
            if arrays:
                np.savez_compressed(self.folder / f"{name}.npz", **arrays)
        if self.overlays:
            picture = visualize.overlay_with_legend(found.picture, found.labels, found.class_table, self.alpha)
            visualize.save_picture(picture, self.folder / f"{name}_overlay.png")
        found.save(path)
