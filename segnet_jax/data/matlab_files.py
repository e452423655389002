"""Reads MATLAB's .mat files: those of version 7.3, which are HDF5, through h5py, older ones through SciPy."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io

from segnet_jax.errors import InputError

_HDF5 = b"\x89HDF\r\n\x1a\n"
# MATLAB writes a header of its own before that of HDF5.
_HDF5_OFFSETS = (0, 512)


def read_texts(path: str | os.PathLike[str], source: str, *keys: str) -> list[list[str]]:
    """Reads texts from a .mat file of any version: cell arrays of them, or fields of a struct array.

    Args:
      path: the file.
      source: the page where the file is obtained, for messages.
      *keys: names of variables, for a field with a dot: "SUNRGBDMeta.rgbpath".

    Returns:
      For each key the texts in MATLAB's order.

    Raises:
      InputError: the file is missing, damaged or no .mat file, holds no such variable, or h5py is missing.
    """
    return [list(_texts(value)) for value in _variables(path, source, keys)]


def read_numbers(path: str | os.PathLike[str], source: str, key: str) -> np.ndarray:
    """Reads the numbers of a vector from a .mat file of any version, as one axis; else as `read_texts`."""
    return np.ravel(_variables(path, source, [key])[0])


class MatlabArrays:
    """The arrays in a .mat file of version 7.3, read one by one from where they lie; picklable.

    A process that receives a copy opens the file when it first reads. Several threads may read: h5py lets one at a time
    into HDF5.
    """

    def __init__(self, path: str | os.PathLike[str], source: str) -> None:
        """Checks that the file is there and of version 7.3.

        Args:
          path: the file.
          source: the page where it is obtained, for messages.

        Raises:
          InputError: it is missing, of another version or damaged, or h5py is missing.
        """
        self.path, self._source = os.fspath(path), source
        if not _is_hdf5(path, source):
            raise InputError(
                f"{path} is not of MATLAB's version 7.3, of which single images can be read; download it again from "
                f"{source}, or save it in MATLAB with '-v7.3'."
            )
        self._file = _open_hdf5(path, source)
        self._references: dict[str, np.ndarray] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None, "_references": {}}

    def shape(self, key: str) -> tuple[int, ...]:
        """Returns the shape of an array, its axes in MATLAB's order."""
        return tuple(reversed(self._array(key).shape))

    def image(self, key: str, index: int) -> np.ndarray:
        """Reads `array(..., index)` of a stack of images, [H, W] or [H, W, channels]; nothing else is read."""
        return self._read(self._array(key), index).T

    def cell(self, key: str, index: int) -> np.ndarray:
        """Reads the array in the cell, or in the field of a struct array, at that place: [H, W]."""
        return self._read(self._target(key, index), ()).T

    def cell_shape(self, key: str, index: int) -> tuple[int, ...]:
        """Returns the shape of what `cell` reads, without reading it."""
        return tuple(reversed(self._target(key, index).shape))

    def num_cells(self, key: str) -> int:
        """Returns the length of a cell array, or of a struct array by one of its fields."""
        return int(self._array(key).size)

    def _target(self, key: str, index: int) -> Any:
        # One by one, references take far longer to read than what they lead to.
        if key not in self._references:
            self._references[key] = np.ravel(self._read(self._array(key), ()))
        return self._open()[self._references[key][index]]

    def _array(self, key: str) -> Any:
        name = key.replace(".", "/")
        file = self._open()
        if not _holds_array(file, name):
            raise _lacks(self.path, key, self._source)
        return file[name]

    def _open(self) -> Any:
        if self._file is None:
            self._file = _open_hdf5(self.path, self._source)
        return self._file

    def _read(self, array: Any, index: Any) -> np.ndarray:
        try:
            return np.asarray(array[index])
        except OSError as error:
            raise _damaged(self.path, self._source) from error


def _is_hdf5(path: str | os.PathLike[str], source: str) -> bool:
    try:
        with open(path, "rb") as file:
            head = file.read(max(_HDF5_OFFSETS) + len(_HDF5))
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; it is obtained from {source}") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); copy it again.") from error
    return any(head[offset : offset + len(_HDF5)] == _HDF5 for offset in _HDF5_OFFSETS)


def _open_hdf5(path: str | os.PathLike[str], source: str) -> Any:
    try:
        import h5py
    except ImportError as error:
        raise InputError(
            f"{path} is of MATLAB's version 7.3, which h5py reads: pip install -r requirements-data.txt"
        ) from error
    try:
        # Nobody writes the file, and many network disks have no locks.
        return h5py.File(path, "r", locking=False)
    except OSError as error:
        raise _damaged(path, source) from error


def _holds_array(file: Any, name: str) -> bool:
    # Another file may have a struct of that name.
    return name in file and hasattr(file[name], "shape")


def _variables(path: str | os.PathLike[str], source: str, keys: Sequence[str]) -> list[Any]:
    """Returns variables, or fields of them, as SciPy does or, from HDF5, as lists, texts and arrays."""
    if _is_hdf5(path, source):
        with _open_hdf5(path, source) as file:
            for key in keys:
                if not _holds_array(file, key.replace(".", "/")):
                    raise _lacks(path, key, source)
            return [_from_hdf5(file, file[key.replace(".", "/")]) for key in keys]
    try:
        variables = scipy.io.loadmat(path, variable_names=[key.split(".")[0] for key in keys])
    except Exception as error:  # on damaged files SciPy raises almost any built-in one
        raise _damaged(path, source) from error
    found = []
    for key in keys:
        name, *fields = key.split(".")
        value = variables.get(name)
        for field in fields:
            value = value[field] if value is not None and field in (value.dtype.names or ()) else None
        if value is None:
            raise _lacks(path, key, source)
        found.append(value)
    return found


def _from_hdf5(file: Any, array: Any) -> Any:
    import h5py

    if h5py.check_ref_dtype(array.dtype):
        return [_from_hdf5(file, file[reference]) for reference in np.ravel(array[()])]
    if array.attrs.get("MATLAB_class") == b"char":
        # What is empty holds its shape in place of values.
        return "" if array.attrs.get("MATLAB_empty") else "".join(map(chr, np.ravel(array[()])))
    return array[()].T


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield str(value)
    elif isinstance(value, list) or (isinstance(value, np.ndarray) and value.dtype.kind in "OU"):
        # What is empty in MATLAB has no entry.
        for entry in value if isinstance(value, list) else (value.ravel() if value.size else [""]):
            yield from _texts(entry)


def _lacks(path: str | os.PathLike[str], key: str, source: str) -> InputError:
    return InputError(f"{path} holds no {key}; it is not the {Path(path).name} that is obtained from {source}")


def _damaged(path: str | os.PathLike[str], source: str) -> InputError:
    return InputError(f"{path} is damaged or no MATLAB file; copy it again, or download it from {source}")
