"""Measures how fast the input pipeline reads, augments and batches images from PNG files and from records."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from segnet_jax.data import pipeline
from segnet_jax.data.augment import Augmentation
from segnet_jax.data.dataset import Dataset
from segnet_jax.data.datasets.folder import Folder
from segnet_jax.data.datasets.synthetic import SyntheticScenes
from segnet_jax.data.records.reader import Records
from segnet_jax.data.records.writer import prepare_records

SOURCES = ("PNG files", "records", "records, uncompressed")

_IMAGES = 48
_WARM_UP_BATCHES = 4


def images_per_second(
    image_size: tuple[int, int],
    batch_size: int,
    workers: Sequence[int],
    seconds: float = 4.0,
    say: Callable[[str], None] = lambda what: None,
) -> dict[str, dict[int, float]]:
    """Measures the training images per second that the pipeline delivers, by source and by worker processes.

    The images are drawn scenes of `image_size`, written to a temporary folder; the pipeline reads, mirrors and batches
    them as in training. They are read again and again, so they lie in the system's cache.

    Each of the numbers of worker processes, of which 0 reads in threads, gets so many seconds. Returns the rate by
    number of workers, for each of `SOURCES`. `say` is told what is measured now.
    """
    rates: dict[str, dict[int, float]] = {source: {} for source in SOURCES}
    with tempfile.TemporaryDirectory() as folder:
        files = _write_images(Path(folder) / "files", image_size)
        datasets: list[Dataset] = [files]
        for compression in ("zstd", "none"):
            root = f"{folder}/{compression}"
            prepare_records([files], root, examples_per_shard=_IMAGES // 4, compression=compression)
            datasets.append(Records(root, "train"))
        # In turns, so that a machine that slows down does so for all of them alike.
        for number, (source, dataset) in itertools.product(workers, zip(SOURCES, datasets, strict=True)):
            say(f"{source}, worker processes: {number}")
            rates[source][number] = _rate(dataset, batch_size, number, seconds)
    return rates


def _rate(dataset: Dataset, batch_size: int, workers: int, seconds: float) -> float:
    batches: Any = pipeline.train_batches(
        dataset, batch_size=batch_size, seed=0, augmentation=Augmentation(flip=True), num_workers=workers
    )
    with contextlib.closing(batches):
        # Each worker fills its own queue first.
        for _ in itertools.islice(batches, _WARM_UP_BATCHES * max(1, workers)):
            pass
        start, count = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - start) < seconds:
            next(batches)
            count += batch_size
    return count / elapsed


def _write_images(root: Path, size: tuple[int, int]) -> Folder:
    scenes = SyntheticScenes("train", size, _IMAGES)
    for kind in ("images", "masks"):
        (root / kind).mkdir(parents=True)
    for scene in (scenes[index] for index in range(len(scenes))):
        Image.fromarray(scene["image"]).save(root / "images" / f"{scene['name']}.png")
        Image.fromarray(scene["label"]).save(root / "masks" / f"{scene['name']}.png")
    return Folder(root, "train", scenes.class_table, val_fraction=0.0)
