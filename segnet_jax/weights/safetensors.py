"""Variables of a network in a .safetensors file, float or with kernels in 8 bits.

A variable has its path as its name, such as `params/conv1_1/kernel` or `batch_stats/conv1_1_bn/mean`. A kernel in 8
bits is int8, and `NAME:scale`, float32 [F], holds what each of its F output channels is multiplied with.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import traverse_util
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from segnet_jax.errors import InputError
from segnet_jax.runtime.files import write_atomically, write_errors

_SCALE = ":scale"
_GREATEST = 127


def save_variables(path: Path, variables: Mapping[str, Any], *, eight_bits: bool = False) -> None:
    """Writes variables into a file, which appears when it is whole.

    Args:
      path: of the file, in an existing folder.
      variables: `params` and `batch_stats`.
      eight_bits: whether kernels are stored in 8 bits per value: a quarter of the size.

    Raises:
      InputError: if the file cannot be written.
    """
    tensors = {}
    for name, value in traverse_util.flatten_dict(jax.device_get(dict(variables)), sep="/").items():
        value = np.ascontiguousarray(value)
        if eight_bits and name.endswith("/kernel"):
            tensors[name], tensors[f"{name}{_SCALE}"] = quantize(value)
        else:
            tensors[name] = value
    with write_errors(path):
        write_atomically(path, save(tensors, {"format": "segnet_jax"}))


def load_variables(path: Path, shapes: Mapping[str, Any]) -> dict[str, Any]:
    """Reads variables from a file, NumPy arrays of the types that they are saved in; 8 bits become float32.

    Args:
      path: of the file.
      shapes: tree of `params` and `batch_stats` of which each leaf has the expected shape.

    Raises:
      InputError: if the file cannot be read, or is of another network.
    """
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is not a readable .safetensors file ({error}); copy or download it again.") from error
    values = {
        name: value if f"{name}{_SCALE}" not in tensors else value.astype(np.float32) * tensors[f"{name}{_SCALE}"]
        for name, value in tensors.items()
        if not name.endswith(_SCALE)
    }
    expected = {name: leaf.shape for name, leaf in traverse_util.flatten_dict(dict(shapes), sep="/").items()}
    found = {name: value.shape for name, value in values.items()}
    if differing := sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)):
        name = differing[0]
        raise InputError(
            f"{path} does not fit the network beside it in {len(differing)} of its arrays, such as {name} (expected "
            f"{expected.get(name, 'none')}, found {found.get(name, 'none')}); copy file and config.json together."
        )
    tree = traverse_util.unflatten_dict(values, sep="/")
    return {collection: tree.get(collection, {}) for collection in shapes}


def quantize(kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rounds a kernel to 8 bits, by output channel: float [..., F] to int8 of that shape, and float32 [F] scales.

    A value is at most half of its channel's scale, a 127th of the channel's greatest, away from the rounded one.
    """
    kernel = kernel.astype(np.float32)
    greatest = np.abs(kernel).max(axis=tuple(range(kernel.ndim - 1)))
    # Not below the smallest normal number: nothing could be divided by it.
    scale = np.maximum(greatest / _GREATEST, np.finfo(np.float32).tiny).astype(np.float32)
    return np.rint(kernel / scale).clip(-_GREATEST, _GREATEST).astype(np.int8), scale
