"""Reads the examples of a data set one by one, and keeps of each what a report needs."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from segnet_jax.data.class_table import VOID, UnknownLabelError
from segnet_jax.data.dataset import Dataset, modalities_of
from segnet_jax.errors import InputError
from segnet_jax.runtime.workers import run_tasks

_PER_TASK = 32


@dataclass(frozen=True, eq=False)
class Inspection:
    """Holds what was found in one example.

    Attributes:
      index: its place in the split.
      name: its name; "" if it cannot be read.
      pixels: int64 [K + 1], those of each class, void last; None if the label cannot be read.
      size: (height, width) of the label, likewise.
      image_digest: of the decoded pixels of the image and their shape; b"" if it cannot be read.
      label_digest: of the class indices, likewise.
      faults: a sentence for each thing that is wrong.
      unknown: ids or colours that the class table lacks.
    """

    index: int
    name: str = ""
    pixels: np.ndarray | None = None
    size: tuple[int, int] | None = None
    image_digest: bytes = b""
    label_digest: bytes = b""
    faults: tuple[str, ...] = ()
    unknown: tuple[int | tuple[int, ...], ...] = ()


def inspect(datasets: Sequence[Dataset], workers: int) -> Iterator[tuple[Dataset, list[Inspection]]]:
    """Yields what was found in the examples, some of a data set at a time, in order.

    Args:
      datasets: splits.
      workers: processes, each of which holds one example at a time.

    Raises:
      InputError: a worker process died.
    """
    parts = [
        (dataset, range(start, min(start + _PER_TASK, len(dataset))))
        for dataset in datasets
        for start in range(0, len(dataset), _PER_TASK)
    ]
    tasks = [functools.partial(_inspect_part, dataset, indices) for dataset, indices in parts]
    for (dataset, _), inspections in zip(parts, run_tasks(tasks, workers), strict=True):
        yield dataset, inspections


def _inspect_part(dataset: Dataset, indices: range) -> list[Inspection]:
    return [inspect_example(dataset, index) for index in indices]


def inspect_example(dataset: Dataset, index: int) -> Inspection:
    """Reads an example and compares it with what its data set promises; raises nothing for what is wrong with it."""
    errors: list[Exception] = []
    image = label = None
    name = ""
    try:
        example = dataset[index]
        image, label, name = example["image"], example["label"], example["name"]
    except Exception as error:  # whatever a loader raises of a damaged file
        errors.append(error)
        try:
            # The other of the two files may be at fault too, or else its pixels count.
            label = dataset.label(index) if hasattr(dataset, "label") else None
        except Exception as other:
            errors.append(other)
    faults = [_sentence(dataset, index, error) for error in errors]
    unknown = [value for error in errors if isinstance(error, UnknownLabelError) for value in error.values]
    where = f"Example {index} of {dataset.name} ({dataset.split}), {name},"
    pixels = None
    if image is not None and label is not None:
        faults += [f"{where} {fault}" for fault in _misfits(dataset, index, image, label)]
    if label is not None:
        num_classes = dataset.class_table.num_classes
        histogram = np.bincount(label.ravel(), minlength=VOID + 1)
        pixels = np.append(histogram[:num_classes], histogram[VOID])
        if histogram[num_classes:VOID].any():
            stray = num_classes + int(histogram[num_classes:VOID].argmax())
            faults.append(f"{where} has the label {stray}, which is none of 0 to {num_classes - 1} and {VOID}.")
    return Inspection(
        index,
        name,
        pixels,
        None if label is None else (label.shape[0], label.shape[1]),
        b"" if image is None else _digest(image),
        b"" if label is None else _digest(label),
        tuple(dict.fromkeys(faults)),
        tuple(dict.fromkeys(unknown)),
    )


def _misfits(dataset: Dataset, index: int, image: np.ndarray, label: np.ndarray) -> Iterator[str]:
    """Yields what of an example's arrays is not as the protocol of data sets and the data set itself say."""
    channels, size = sum(modalities_of(dataset)), tuple(dataset.shape(index))
    if image.shape[:2] != label.shape:
        yield f"has an image of {image.shape[0]}x{image.shape[1]} and a label of {label.shape[0]}x{label.shape[1]}."
    elif label.shape != size:
        yield f"is {label.shape[0]}x{label.shape[1]} and not the {size[0]}x{size[1]} that the data set says."
    if image.shape[2:] != (channels,):
        yield f"has an image of shape {image.shape}, where {channels} channels are expected."


def _sentence(dataset: Dataset, index: int, error: Exception) -> str:
    if isinstance(error, InputError):
        return str(error)
    return f"Example {index} of {dataset.name} ({dataset.split}) cannot be read: {type(error).__name__}: {error}."


def _digest(array: np.ndarray) -> bytes:
    digest = hashlib.sha256(repr((array.shape, array.dtype.str)).encode())
    digest.update(np.ascontiguousarray(array).data)
    return digest.digest()[:16]
