"""Values as bytes and back, for what processes send each other: JSON and NumPy arrays, nothing that can hold code."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import numpy as np


def encode(value: Any) -> bytes:
    """Returns a value as bytes.

    Args:
      value: dicts, lists and tuples of None, bool, int, float, text and NumPy arrays, nested as deep as you like.

    Raises:
      TypeError: for anything else.
    """
    arrays: list[np.ndarray] = []

    def node(value: Any) -> Any:
        if isinstance(value, np.ndarray | np.generic):
            arrays.append(np.asarray(value))
            return {"array": len(arrays) - 1}
        if isinstance(value, dict):
            return {"dict": [[node(key), node(item)] for key, item in value.items()]}
        if isinstance(value, tuple):
            return {"tuple": [node(item) for item in value]}
        if isinstance(value, list):
            return [node(item) for item in value]
        if value is None or isinstance(value, bool | int | float | str):
            return value
        raise TypeError(f"a {type(value).__name__} cannot be sent to other processes")

    text = json.dumps(node(value)).encode("ascii")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("value", text)
        for index, array in enumerate(arrays):
            with file.open(f"{index}", "w") as part:
                np.lib.format.write_array(part, array, allow_pickle=False)
    return buffer.getvalue()


def decode(data: bytes) -> Any:
    """Returns the value that `encode` made these bytes of; NumPy's numbers and arrays without axes become numbers.

    Raises:
      ValueError: if they are no such bytes.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:

            def value_of(node: Any) -> Any:
                if isinstance(node, list):
                    return [value_of(item) for item in node]
                if not isinstance(node, dict):
                    return node
                ((kind, content),) = node.items()
                if kind == "dict":
                    return {value_of(key): value_of(item) for key, item in content}
                if kind == "tuple":
                    return tuple(value_of(item) for item in content)
                with file.open(f"{content}") as part:
                    array = np.lib.format.read_array(part, allow_pickle=False)
                return array if array.ndim else array[()]

            return value_of(json.loads(file.read("value")))
    except (zipfile.BadZipFile, KeyError, TypeError, ValueError, EOFError, RecursionError) as error:
        raise ValueError(f"not a message of this program ({error})") from error
