"""Shards of records: ArrayRecord files whose records hold the decoded pixels of an example each.

A record is a header of 16 bytes (`<4sIIHH`: "SNR1", height, width, channels, length of the name), the name in UTF-8,
the image and the label, uint8 in C order. "SNR2" has an image of float32, little endian. Pixels, not PNG or JPEG bytes:
to unpack those takes most of the time that reading an example does. The compression is ArrayRecord's own, record by
record.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import struct
from dataclasses import replace

import numpy as np
from array_record.python.array_record_module import ArrayRecordWriter
from etils import epath

from segnet_jax.data.dataset import Dataset
from segnet_jax.data.records import storage
from segnet_jax.data.records.index import Shard
from segnet_jax.data.resize import Example
from segnet_jax.errors import InputError

COMPRESSIONS = {"zstd": "zstd:1", "none": "uncompressed"}
"""ArrayRecord's options of compression, by name."""

_HEADER = struct.Struct("<4sIIHH")
# The type of an image by the beginning of its record.
_DTYPES: dict[bytes, np.dtype] = {b"SNR1": np.dtype(np.uint8), b"SNR2": np.dtype("<f4")}
_MAGICS = {dtype: magic for magic, dtype in _DTYPES.items()}


def encode(example: Example) -> bytes:
    """Returns an example as a record.

    Args:
      example: `image` uint8 or float32 [H, W, channels], `label` uint8 [H, W] and `name`.
    """
    image, name = example["image"], example["name"].encode("utf-8", "surrogateescape")
    header = _HEADER.pack(_MAGICS[image.dtype], *image.shape, len(name))
    return b"".join((header, name, image.tobytes(), example["label"].tobytes()))


def decode(record: bytes) -> Example:
    """Inverts `encode`; the arrays of the example cannot be written to.

    Raises:
      ValueError: if the record is none, or has not the length that its header says.
    """
    dtype = _DTYPES.get(record[:4])
    if len(record) < _HEADER.size or dtype is None:
        raise ValueError("it has not the header of one")
    _, height, width, channels, name_length = _HEADER.unpack_from(record)
    pixels, start = height * width, _HEADER.size + name_length
    end = start + pixels * channels * dtype.itemsize
    if len(record) != end + pixels:
        raise ValueError(f"it has {len(record)} bytes, and its header says {end + pixels}")
    # Views of the record's own memory: nothing is copied.
    image = np.frombuffer(record, dtype, pixels * channels, start).reshape(height, width, channels)
    label = np.frombuffer(record, np.uint8, pixels, end).reshape(height, width)
    return {"image": image, "label": label, "name": record[_HEADER.size : start].decode("utf-8", "surrogateescape")}


def write_shard(dataset: Dataset, examples: range, path: epath.Path, compression: str) -> Shard:
    """Writes some examples of a data set into an ArrayRecord file; its bytes depend on nothing else.

    Args:
      dataset: to read from.
      examples: which ones.
      path: the file, on a disk or in an object store; it appears when it is whole.
      compression: one of `COMPRESSIONS`.

    Returns:
      Its entry in the index.

    Raises:
      InputError: if an example cannot be read or the file cannot be written.
    """
    # One record a group: each is then read by itself.
    options = f"group_size:1,{COMPRESSIONS[compression]}"
    try:
        with storage.written_aside(path) as local:
            with contextlib.closing(ArrayRecordWriter(os.fspath(local), options)) as writer:
                for index in examples:
                    writer.write(encode(dataset[index]))
            return replace(describe_shard(dataset, examples, epath.Path(local)), file=path.name)
    except (RuntimeError, OSError) as error:  # ArrayRecord raises the former
        raise InputError(
            f"{path} cannot be written ({str(error).partition(';')[0]}); make room there or choose another folder, and "
            "run the same command again, which goes on where it stopped."
        ) from error


def describe_shard(dataset: Dataset, examples: range, path: epath.Path) -> Shard:
    """Returns the index entry of a whole file that `write_shard` has written."""
    shapes = itertools.groupby(dataset.shape(index) for index in examples)
    runs = tuple((len(list(group)), *shape) for shape, group in shapes)
    size = storage.size_of(path)
    assert size is not None
    return Shard(path.name, len(examples), size, storage.sha256_of(path), runs)
