"""Weights of the classes in the loss, such as median-frequency balancing, from the labels of the training split."""

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segnet_jax.data.class_table import VOID, ClassTable
from segnet_jax.data.dataset import Dataset, read_label
from segnet_jax.errors import InputError
from segnet_jax.runtime.files import write_atomically

# Those in the authors' files, by class.
_PUBLISHED = {
    # Counted in the tutorial's first labels, which were replaced four weeks later; the weights were not.
    "published_camvid": {
        "Sky": 0.2595,
        "Building": 0.1826,
        "Pole": 4.5640,
        "Road": 0.1417,
        "Pavement": 0.9051,
        "Tree": 0.3826,
        "SignSymbol": 9.6446,
        "Fence": 1.8418,
        "Car": 0.6823,
        "Pedestrian": 6.2478,
        "Bicyclist": 7.3614,
    },
    "published_sunrgbd": {
        "wall": 0.382592,
        "floor": 0.447844,
        "cabinet": 0.634237,
        "bed": 0.375678,
        "chair": 0.582794,
        "sofa": 0.476692,
        "table": 0.776787,
        "door": 0.980661,
        "window": 1.020118,
        "bookshelf": 0.623396,
        "picture": 2.596563,
        "counter": 0.974491,
        "blinds": 0.920240,
        "desk": 0.663878,
        "shelves": 1.173357,
        "curtain": 0.861062,
        "dresser": 0.919955,
        "pillow": 2.147320,
        "mirror": 1.190958,
        "floor mat": 1.164314,
        "clothes": 1.854754,
        "ceiling": 1.446550,
        "books": 2.853078,
        "fridge": 0.768276,
        "tv": 1.651721,
        "paper": 4.456313,
        "towel": 2.205633,
        "shower curtain": 1.116695,
        "box": 2.781543,
        "whiteboard": 0.705917,
        "person": 4.005834,
        "night stand": 2.208329,
        "toilet": 0.967071,
        "sink": 1.475710,
        "lamp": 5.347752,
        "bathtub": 0.745528,
        "bag": 4.017548,
    },
}

METHODS = ("none", "median_frequency", "inverse_frequency", *_PUBLISHED)

_log = logging.getLogger("segnet_jax")


@dataclass(frozen=True, eq=False)
class LabelStatistics:
    """Numbers of pixels of each class in a split.

    Attributes:
      pixels: [K + 1], those of each class; the last entry is void. int64, or float64 for a mixture.
      present: [K + 1], the pixels of all images together in which the class occurs.
    """

    pixels: np.ndarray
    present: np.ndarray


def label_statistics(dataset: Dataset) -> LabelStatistics:
    """Counts the labels of a split, reading each once.

    If the data set has a method `label(index)`, no image is decoded.

    Raises:
      InputError: a label cannot be read, or has a value that the class table does not allow.
    """
    num_classes = dataset.class_table.num_classes

    def count(index: int) -> np.ndarray:
        histogram = np.bincount(read_label(dataset, index).ravel(), minlength=VOID + 1)
        if histogram[num_classes:VOID].any():
            raise InputError(
                f"Label {index} of {dataset.name} ({dataset.split}) holds a value other than "
                f"0 to {num_classes - 1} and {VOID}; correct the data set's class table."
            )
        return np.append(histogram[:num_classes], histogram[VOID])

    pixels, present = np.zeros((2, num_classes + 1), np.int64)
    with ThreadPoolExecutor() as pool:
        for counts in pool.map(count, range(len(dataset))):
            pixels += counts
            present += np.where(counts > 0, counts.sum(), 0)
    return LabelStatistics(pixels, present)


def expected_statistics(
    parts: Sequence[LabelStatistics], lengths: Sequence[int], weights: Sequence[int]
) -> LabelStatistics:
    """Returns the statistics of as many images as several data sets have together, drawn from each by its weight.

    Args:
      parts: the statistics of each data set.
      lengths: the number of images of each.
      weights: of each.
    """
    drawn = [sum(lengths) * weight / sum(weights) / length for length, weight in zip(lengths, weights, strict=True)]
    return LabelStatistics(
        *(np.dot(drawn, [getattr(part, field) for part in parts]) for field in ("pixels", "present"))
    )


def cached_label_statistics(dataset: Dataset, cache_dir: str | os.PathLike[str]) -> LabelStatistics:
    """Returns `label_statistics`, and keeps them in a JSON file until the data set changes.

    The data set's `fingerprint()`, which for files covers names, sizes and times of change, shows a change; without
    that method, three of its labels do. A damaged file is replaced.

    Args:
      dataset: the split to count.
      cache_dir: the file's folder, created if need be. Without the right to write there, the labels are counted each
        time.

    Raises:
      InputError: as `label_statistics`.
    """
    path = Path(cache_dir) / f"{_cache_key(dataset)}.json"
    cached = _read_cache(path)
    if cached is not None:
        return cached
    _log.info("Counting the labels of %d images, once; kept in %s.", len(dataset), path)
    statistics = label_statistics(dataset)
    _write_cache(path, statistics)
    return statistics


def class_weights(
    method: str, statistics: LabelStatistics | None, class_table: ClassTable, power: float = 1.0
) -> np.ndarray:
    """Returns the weight of each class in the loss.

    - "median_frequency" (Eigen & Fergus 2015; section 3.2 of the SegNet paper): median(f) / f_c with f_c the pixels of
      class c over the pixels of all images in which c occurs. As in the authors' weights, void takes part in the median
      and in the images' pixels.
    - "inverse_frequency" (the 2015 paper): 1 / pixels of c, scaled to a mean of 1.
    - "published_camvid", "published_sunrgbd": the weights in the authors' prototxts for these data sets.
    - "none": 1 for all.

    A class that never occurs gets weight 0, with a warning.

    Args:
      method: one of METHODS.
      statistics: of the training labels; only the two frequency methods need them.
      class_table: the classes.
      power: at least 0: tempers the weights to w ** power; 0 makes them equal.

    Returns:
      float32 [K].

    Raises:
      InputError: the method is unknown or not for these classes, or no pixel is labelled.
    """
    if method == "none":
        return np.ones(class_table.num_classes, np.float32)
    if method in _PUBLISHED:
        published = _PUBLISHED[method]
        if class_table.names != list(published):
            raise InputError(
                f"The class weights {method!r} are for the {len(published)} classes {', '.join([*published][:3])} and "
                f"so on, not for those of {class_table.name!r}; use 'median_frequency'."
            )
        return (np.array(list(published.values())) ** power).astype(np.float32)
    if method not in METHODS:
        raise InputError(f"There are no class weights {method!r}; use one of {', '.join(METHODS)}.")
    assert statistics is not None
    weights = frequency_weights(method, statistics, class_table, power)
    absent = [name for name, pixels in zip(class_table.names, statistics.pixels, strict=False) if not pixels]
    if absent:
        _log.warning("No training label holds %s; the class weight of what never occurs is 0.", ", ".join(absent))
    return weights


def frequency_weights(method: str, statistics: LabelStatistics, class_table: ClassTable, power: float) -> np.ndarray:
    """Returns the weights of one of the two frequency methods, as `class_weights`, without its warning."""
    occurs = statistics.pixels[:-1] > 0
    if not occurs.any():
        raise InputError(
            f"No training pixel is labelled with a class of {class_table.name!r}; check that the "
            "masks and the class table belong together."
        )
    pixels = statistics.pixels[:-1][occurs].astype(np.float64)
    if method == "median_frequency":
        counted = statistics.pixels > 0
        median = np.median(statistics.pixels[counted] / statistics.present[counted])
        present = median * statistics.present[:-1][occurs] / pixels
    else:
        present = 1 / pixels
        present /= present.mean()
    weights = np.zeros(class_table.num_classes, np.float32)
    weights[occurs] = present**power
    return weights


def _cache_key(dataset: Dataset) -> str:
    """Returns a digest that differs between data sets whose statistics may differ."""
    length = len(dataset)
    if hasattr(dataset, "fingerprint"):
        content = [dataset.fingerprint()]
    else:
        examples = [dataset[index] for index in (0, length // 2, length - 1)]
        content = [hashlib.sha256(example["label"].tobytes()).hexdigest() for example in examples]
    identity = [dataset.name, dataset.split, length, dataset.class_table.to_dict(), content]
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()


def _read_cache(path: Path) -> LabelStatistics | None:
    """Reads the statistics from a file; returns None if it is absent or damaged."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return LabelStatistics(np.array(values["pixels"], np.int64), np.array(values["present"], np.int64))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_cache(path: Path, statistics: LabelStatistics) -> None:
    values = {"pixels": statistics.pixels.tolist(), "present": statistics.present.tolist()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(values))
    except OSError as error:
        _log.warning("The label statistics cannot be kept in %s: %s.", path, error)
