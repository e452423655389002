"""Reads a whole data set once, before training."""

from __future__ import annotations

import collections
import logging
from concurrent.futures import ThreadPoolExecutor

from segnet_jax.data.dataset import Dataset

_log = logging.getLogger("segnet_jax")


def check_examples(dataset: Dataset) -> None:
    """Reads every example of a data set that lies in files, so that a bad file shows before training, not during it.

    Such data sets have a method `fingerprint`.

    Raises:
      InputError: the first file that is damaged, or label that the class table lacks, by file, value and pixel.
    """
    if not hasattr(dataset, "fingerprint"):
        return
    _log.info("Reading the %d images and labels of %s (%s) once.", len(dataset), dataset.name, dataset.split)

    def read(index: int) -> None:
        dataset[index]

    with ThreadPoolExecutor() as pool:
        collections.deque(pool.map(read, range(len(dataset))), maxlen=0)
