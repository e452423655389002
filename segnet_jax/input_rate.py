"""How fast the input pipeline reads, augments and batches images from files."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from segnet_jax.data import pipeline
from segnet_jax.data.augment import Augmentation
from segnet_jax.data.folder import Folder
from segnet_jax.data.synthetic import SyntheticScenes

_IMAGES = 48
_WARM_UP_BATCHES = 4


def images_per_second(
    image_size: tuple[int, int], batch_size: int, workers: Sequence[int] = (0, 1, 2), seconds: float = 4.0
) -> dict[int, float]:
    """Training images per second that come out of PNG files, by the number of worker processes.

    The files are drawn scenes of `image_size`, written to a temporary folder; the pipeline decodes, mirrors and
    batches them as in training. They are read again and again, so they lie in the system's cache.

    Args:
      image_size: (height, width) in pixels.
      batch_size: images of a batch.
      workers: numbers of processes to try; 0 reads in threads.
      seconds: how long to read with each.
    """
    rates = {}
    with tempfile.TemporaryDirectory() as folder:
        dataset = _write_images(Path(folder), image_size)
        for number in workers:
            batches: Any = pipeline.train_batches(
                dataset, batch_size=batch_size, seed=0, augmentation=Augmentation(flip=True), num_workers=number
            )
            with contextlib.closing(batches):
                for _ in itertools.islice(batches, _WARM_UP_BATCHES):
                    pass
                start, count = time.perf_counter(), 0
                while (elapsed := time.perf_counter() - start) < seconds:
                    next(batches)
                    count += batch_size
                rates[number] = count / elapsed
    return rates


def _write_images(root: Path, size: tuple[int, int]) -> Folder:
    scenes = SyntheticScenes("train", size, _IMAGES)
    for kind in ("images", "masks"):
        (root / kind).mkdir()
    for scene in (scenes[index] for index in range(len(scenes))):
        Image.fromarray(scene["image"]).save(root / "images" / f"{scene['name']}.png")
        Image.fromarray(scene["label"]).save(root / "masks" / f"{scene['name']}.png")
    return Folder(root, "train", scenes.class_table, val_fraction=0.0)
