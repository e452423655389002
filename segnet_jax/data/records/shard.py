"""Shards of records: ArrayRecord files that hold an example's decoded pixels each.

A record is a header of 16 bytes (`<4sIIHH`: "SNR1", height, width, channels, length of the name), the name in UTF-8,
the image and the label, uint8 in C order. Pixels, not PNG or JPEG bytes: to unpack those takes most of the time that
reading an example does. The compression is ArrayRecord's own, record by record.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from etils import epath

from segnet_jax.data.augment import Example
from segnet_jax.data.dataset import Dataset
from segnet_jax.data.records import storage
from segnet_jax.data.records.index import Shard
from segnet_jax.errors import InputError

COMPRESSIONS = {"zstd": "zstd:1", "none": "uncompressed"}
"""By name: how ArrayRecord compresses records."""

_HEADER = struct.Struct("<4sIIHH")
_MAGIC = b"SNR1"


def encode(example: Example) -> bytes:
    """An example as a record: `image` uint8 [H, W, channels], `label` uint8 [H, W] and `name`."""
    image, label = example["image"], example["label"]
    if not (image.dtype == label.dtype == np.uint8 and image.ndim == 3 and image.shape[:2] == label.shape):
        raise ValueError(f"an example has image {image.dtype} {image.shape} and label {label.dtype} {label.shape}")
    name = example["name"].encode("utf-8", "surrogateescape")
    header = _HEADER.pack(_MAGIC, *image.shape, len(name))
    return b"".join((header, name, np.ascontiguousarray(image).data, np.ascontiguousarray(label).data))


def decode(record: bytes) -> Example:
    """The example that `encode` made a record of; its arrays cannot be written to.

    Raises:
      ValueError: if the record is none of those.
    """
    if len(record) < _HEADER.size:
        raise ValueError(f"it has {len(record)} bytes")
    magic, height, width, channels, name_length = _HEADER.unpack_from(record)
    pixels = height * width
    start = _HEADER.size + name_length
    if magic != _MAGIC or len(record) != start + pixels * (channels + 1):
        raise ValueError(f"it begins with {magic!r} and has {len(record)} bytes")
    # Views of the record's own memory: nothing is copied.
    image = np.frombuffer(record, np.uint8, pixels * channels, start).reshape(height, width, channels)
    label = np.frombuffer(record, np.uint8, pixels, start + pixels * channels).reshape(height, width)
    return {"image": image, "label": label, "name": record[_HEADER.size : start].decode("utf-8", "surrogateescape")}


def write_shard(
    dataset: Dataset, examples: range, path: Path, compression: str, on_example: Callable[[], None] = lambda: None
) -> Shard:
    """Writes some examples of a data set into an ArrayRecord file; what it holds depends on nothing else.

    Args:
      dataset: to read from.
      examples: which ones.
      path: the file, replaced if it exists.
      compression: one of `COMPRESSIONS`.
      on_example: called after each example.

    Returns:
      What the index says of it.

    Raises:
      InputError: if an example cannot be read or the file cannot be written.
    """
    shapes = []
    with _write_errors(path):
        from array_record.python.array_record_module import ArrayRecordWriter

        # One record a group: each is then read by itself.
        writer = ArrayRecordWriter(os.fspath(path), f"group_size:1,{COMPRESSIONS[compression]}")
    try:
        for index in examples:
            example = dataset[index]
            shapes.append(example["label"].shape)
            with _write_errors(path):
                writer.write(encode(example))
            on_example()
    finally:
        with _write_errors(path):
            writer.close()
    with _write_errors(path), open(path, "rb") as file:
        os.fsync(file.fileno())
    runs = tuple((len(list(group)), *shape) for shape, group in itertools.groupby(shapes))
    return Shard(path.name, len(examples), path.stat().st_size, storage.sha256_of(epath.Path(path)), runs)


@contextlib.contextmanager
def _write_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise InputError(f"Records need the package array_record, which is not installed here ({error}).") from error
    except (RuntimeError, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error).partition(";")[0]
        raise InputError(
            f"{path} cannot be written ({reason}); make room there or choose another folder, and run the same command "
            "again, which goes on where it stopped."
        ) from error
