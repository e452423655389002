"""Layers and weights of a .caffemodel file: a network as Caffe saves it, in the wire format of protocol buffers.

Only the fields that weights need are read, and the others are skipped. Every length is compared with what the file
holds before memory is taken by it.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segnet_jax.errors import InputError

# The numbers of the fields in caffe.proto. Files of before 2015, VGG16's among them, have layers of an older message.
_LAYER, _OLD_LAYER = 100, 2
_NAME, _TYPE, _BLOBS, _DROPOUT = 1, 2, 7, 108
_OLD_NAME, _OLD_BLOBS = 4, 6
_RATIO = 1
_OLD_SHAPE = (1, 2, 3, 4)
_DATA, _SHAPE, _DOUBLES = 5, 7, 8
_DIM = 1

# A layer takes two bytes of a file and a hundred times as many in memory. Caffe's networks are far from these.
_MOST_LAYERS, _MOST_BLOBS, _MOST_AXES = 4096, 16, 8


@dataclass(frozen=True)
class CaffeLayer:
    """A layer of a network.

    Attributes:
      name: such as "conv1_1".
      type: such as "Convolution"; "" in files of before 2015.
      dropout_ratio: of a layer of the type "Dropout".
      blobs: its weights, float32, in Caffe's order of axes: kernels are OIHW.
    """

    name: str
    type: str
    dropout_ratio: float = 0.5
    blobs: tuple[np.ndarray, ...] = ()


class _MalformedError(Exception):
    """The file is none of Caffe's; the message says what is wrong with it."""


def read_caffemodel(path: str | Path) -> tuple[CaffeLayer, ...]:
    """Reads the layers of a .caffemodel file, in their order.

    Raises:
      InputError: if the file cannot be read, is damaged or none of Caffe's, or holds values that are not finite.
    """
    try:
        layers = tuple(_layers(memoryview(Path(path).expanduser().read_bytes())))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check the path.") from error
    except _MalformedError as error:
        raise InputError(f"{path} is no readable .caffemodel file ({error}); copy or download it again.") from error
    if not any(layer.blobs for layer in layers):
        raise InputError(f"{path} is no .caffemodel file with weights in it; copy or download it again.")
    return layers


def _layers(message: memoryview) -> Iterator[CaffeLayer]:
    count = 0
    for number, value in _fields(message):
        if number in (_LAYER, _OLD_LAYER):
            count += 1
            if count > _MOST_LAYERS:
                raise _MalformedError(f"it has more than {_MOST_LAYERS} layers")
            yield _layer(_bytes(value)) if number == _LAYER else _old_layer(_bytes(value))


def _layer(message: memoryview) -> CaffeLayer:
    name = kind = ""
    ratio = 0.5
    blobs: list[np.ndarray] = []
    for number, value in _fields(message):
        if number == _NAME:
            name = _text(value)
        elif number == _TYPE:
            kind = _text(value)
        elif number == _BLOBS:
            blobs.append(_blob(_bytes(value), len(blobs)))
        elif number == _DROPOUT:
            ratio = _ratio(_bytes(value))
    return CaffeLayer(name, kind, ratio, tuple(blobs))


def _old_layer(message: memoryview) -> CaffeLayer:
    name = ""
    blobs: list[np.ndarray] = []
    for number, value in _fields(message):
        if number == _OLD_NAME:
            name = _text(value)
        elif number == _OLD_BLOBS:
            blobs.append(_blob(_bytes(value), len(blobs)))
    return CaffeLayer(name, "", blobs=tuple(blobs))


def _ratio(message: memoryview) -> float:
    for number, value in _fields(message):
        if number == _RATIO and not isinstance(value, int) and len(value) == 4:
            return float(struct.unpack("<f", value)[0])
    return 0.5


def _blob(message: memoryview, position: int) -> np.ndarray:
    """Returns an array of a layer; its values may lie in one piece, in several, or each in a field of its own."""
    if position == _MOST_BLOBS:
        raise _MalformedError(f"a layer has more than {_MOST_BLOBS} arrays")
    data, doubles, shape, old_shape = bytearray(), bytearray(), None, [1] * len(_OLD_SHAPE)
    for number, value in _fields(message):
        if number == _DATA:
            data += _bytes(value)
        elif number == _DOUBLES:
            doubles += _bytes(value)
        elif number == _SHAPE:
            shape = _shape(_bytes(value))
        elif number in _OLD_SHAPE and isinstance(value, int):
            old_shape[number - 1] = value
    raw, dtype = (doubles, np.dtype("<f8")) if doubles else (data, np.dtype("<f4"))
    shape = old_shape if shape is None else shape
    if not raw or math.prod(shape) * dtype.itemsize != len(raw):
        raise _MalformedError(f"an array has the shape {shape} and {len(raw)} bytes")
    with np.errstate(over="ignore"):
        values = np.frombuffer(raw, dtype).astype(np.float32, copy=False).reshape(shape)
    if not np.isfinite(values).all():
        raise _MalformedError("an array has values that are not finite")
    return values


def _shape(message: memoryview) -> list[int]:
    shape: list[int] = []
    for number, value in _fields(message):
        if number != _DIM:
            continue
        for length in [value] if isinstance(value, int) else _varints(value):
            shape.append(length)
            if len(shape) > _MOST_AXES:
                raise _MalformedError(f"an array has more than {_MOST_AXES} axes")
    return shape


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yields number and value of each field: an int of a varint, else the bytes."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        match key & 7:
            case 0:
                value, at = _varint(message, at)
                yield key >> 3, value
                continue
            case 1:
                length = 8
            case 2:
                length, at = _varint(message, at)
            case 5:
                length = 4
            case kind:
                raise _MalformedError(f"a field has the unknown type {kind}")
        if length > len(message) - at:
            raise _MalformedError("a field is longer than what is left, so the end may be missing")
        yield key >> 3, message[at : at + length]
        at += length


def _varints(message: memoryview) -> Iterator[int]:
    at = 0
    while at < len(message):
        value, at = _varint(message, at)
        yield value


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """Returns the number that begins at `at`, seven bits a byte, and where the next begins."""
    value = 0
    for shift in range(0, 70, 7):
        if at == len(message):
            raise _MalformedError("it ends within a number")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise _MalformedError("a number is longer than 64 bits")


def _bytes(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise _MalformedError("a field has a number in place of bytes")
    return value


def _text(value: int | memoryview) -> str:
    return bytes(_bytes(value)).decode("utf-8", errors="replace")
