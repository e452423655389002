"""Mean and standard deviation of each channel of the training images, computed once."""

from __future__ import annotations

import hashlib
import json
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from segnet_jax.data.class_table import UnknownLabelError
from segnet_jax.data.dataset import Dataset, modalities_of, modality_names_of
from segnet_jax.data.first_reading import check_examples
from segnet_jax.data.preprocessing import ChannelStatistics
from segnet_jax.errors import InputError
from segnet_jax.runtime.files import write_atomically

_log = logging.getLogger("segnet_jax")


def channel_statistics(dataset: Dataset) -> ChannelStatistics:
    """Computes the statistics of a split, reading each image once, over the values that are not missing.

    They do not depend on the number of threads: the images' moments are joined in their order, in float64. A channel
    of one value has a standard deviation of 1, with a warning.

    Raises:
      InputError: an example cannot be read, or a channel has no value in any image.
    """
    total: tuple[np.ndarray, ...] | None = None
    with ThreadPoolExecutor() as pool:
        try:
            moments = pool.map(lambda index: _moments(dataset[index]["image"]), range(len(dataset)))
            for found in tqdm(moments, total=len(dataset), unit=" images", leave=False, disable=None):
                total = found if total is None else _joined(total, found)
        except UnknownLabelError:
            check_examples(dataset)  # which says what all masks lack
            raise
    assert total is not None
    count, mean, squares = total
    channels = channel_names(dataset)
    if not count.all():
        raise InputError(
            f"No image of {dataset.name} ({dataset.split}) has a value in {channels[int(np.argmin(count))]}, all of "
            "which is missing; correct the files or what they mark as missing, or leave it out of data.modalities."
        )
    std = np.sqrt(squares / count)
    # Not quite 0, for the mean is rounded.
    is_flat = std <= 1e-9 * np.abs(mean)
    for index in np.flatnonzero(is_flat):
        _log.warning("All values in %s of %s are the same, which tells nothing.", channels[index], dataset.name)
    return ChannelStatistics(tuple(mean.tolist()), tuple(np.where(is_flat, 1.0, std).tolist()))


def cached_channel_statistics(dataset: Dataset, cache_dir: Path) -> ChannelStatistics:
    """Returns `channel_statistics`, from a file in `cache_dir` if they were computed before; logs them.

    The file's name tells apart what may have other statistics: the data set's files and three of its images as they
    come.
    """
    path = cache_dir / f"{_cache_key(dataset)}.json"
    statistics = _read_cache(path)
    if statistics is None:
        _log.info("Computing mean and deviation of the channels of %d images, once.", len(dataset))
        statistics = channel_statistics(dataset)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, json.dumps(statistics.to_dict()))
        except OSError as error:
            _log.warning("The statistics of the channels cannot be kept in %s: %s.", path, error)
    for name, mean, std in zip(channel_names(dataset), statistics.mean, statistics.std, strict=True):
        _log.info("%s has the mean %.6g and the standard deviation %.6g.", name, mean, std)
    return statistics


def channel_names(dataset: Dataset) -> list[str]:
    """Returns what to call each channel, such as "depth" and "band 2 of bands", counted from 1."""
    return [
        name if count == 1 else f"band {number} of {name}"
        for name, count in zip(modality_names_of(dataset), modalities_of(dataset), strict=True)
        for number in range(1, count + 1)
    ]


def _moments(image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns number, mean and squared deviations of the values of each channel, float64 [channels] each."""
    moments = np.zeros((3, image.shape[-1]))
    for channel, (count, mean, squares) in enumerate(moments.T):
        values = image[..., channel].astype(np.float64)
        values = values[~np.isnan(values)]
        if count := values.size:
            mean = values.mean()
            squares = np.square(values - mean).sum()
        moments[:, channel] = count, mean, squares
    return moments[0], moments[1], moments[2]


def _joined(a: tuple[np.ndarray, ...], b: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    """Returns the moments of two sets of values together (Chan et al. 1979)."""
    count = a[0] + b[0]
    share = b[0] / np.maximum(count, 1)
    difference = b[1] - a[1]
    return count, a[1] + difference * share, a[2] + b[2] + difference**2 * a[0] * share


def _cache_key(dataset: Dataset) -> str:
    length = len(dataset)
    examples = [dataset[index]["image"] for index in sorted({0, length // 2, length - 1})]
    digests = [hashlib.sha256(image.tobytes()).hexdigest() for image in examples]
    fingerprint = dataset.fingerprint() if hasattr(dataset, "fingerprint") else ""
    identity = [dataset.name, dataset.split, length, channel_names(dataset), fingerprint, digests]
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()


def _read_cache(path: Path) -> ChannelStatistics | None:
    """Reads the statistics from a file; returns None if it is absent or damaged."""
    try:
        return ChannelStatistics.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        return None
