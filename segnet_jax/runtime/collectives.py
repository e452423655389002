"""Exchanges of values between the processes of a run: gather, broadcast, comparison, errors, a maximum.

All processes call these functions in the same order. With one process they cost nothing.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from segnet_jax.errors import InputError
from segnet_jax.runtime import message
from segnet_jax.runtime.processes import all_devices, is_first, several, share_of
from segnet_jax.runtime.sharding import AXIS, named_sharding


def gather(value: Any) -> list[Any]:
    """Returns the values of all processes, in their order; what they may be made of says `message.encode`.

    Raises:
      InputError: if another process has sent something else.
    """
    if not several():
        return [value]
    data = np.frombuffer(message.encode(value), np.uint8)
    lengths = _all_rows(np.asarray([len(data)], np.int32))[:, 0]
    # A few sizes only, because each of them is compiled.
    size = 1 << max(10, int(lengths.max() - 1).bit_length())
    parts = _all_rows(np.pad(data, (0, size - len(data))))
    return [
        _decoded(part[:length].tobytes(), index)
        for index, (part, length) in enumerate(zip(parts, lengths, strict=True))
    ]


def _decoded(data: bytes, index: int) -> Any:
    try:
        return message.decode(data)
    except ValueError as error:
        raise InputError(
            f"what process {index} has sent is {error}; run the same version everywhere, and let nobody else reach "
            "the processes of the run."
        ) from error


def from_first(value: Any) -> Any:
    """Returns the value of process 0; see `gather`."""
    return gather(value if is_first() else None)[0]


def broadcast(tree: Any) -> Any:
    """Returns the arrays of process 0, as NumPy arrays; `tree` itself if there is one process."""
    return multihost_utils.broadcast_one_to_all(jax.device_get(tree)) if several() else tree


@contextlib.contextmanager
def raise_on_all_processes() -> Iterator[None]:
    """Raises an `InputError` of one process in all of them; around work that each process does by itself."""
    if not several():
        yield
        return
    failure = None
    try:
        yield
    except InputError as error:
        failure = str(error)
    for index, text in enumerate(gather(failure)):
        if text is not None:
            raise InputError(f"process {index}: {text}" if index else text)


def require_same(facts: Mapping[str, Any]) -> None:
    """Refuses processes that differ in what has to be the same in all.

    Args:
      facts: the values to compare, by the names that the message calls them.

    Raises:
      InputError: in all processes, naming the first difference.
    """
    first, *others = gather(dict(facts))
    for index, found in enumerate(others, start=1):
        # Processes with different software may not even have the same names.
        for name in {**first, **found}:
            value, other = first.get(name, "nothing"), found.get(name, "nothing")
            if other != value:
                raise InputError(
                    f"process {index} has {other} as {name}, process 0 has {value}; start all processes with the "
                    "same command, data and software."
                )


class AsyncAllReduceMax:
    """Maximum over all processes of one integer each, one call late, so that nobody waits for it.

    The reduction of a call runs beside the devices' work until the next call reads it.

    Args:
      devices: the devices of all processes.
    """

    def __init__(self, devices: Sequence[jax.Device]) -> None:
        self._devices = tuple(devices)
        self._max = _replicated(jnp.max, self._devices)
        self._pending: jax.Array | None = None

    def __call__(self, number: int) -> int:
        """Starts the reduction of `number`, and returns that of the call before; 0 at the first call."""
        before = self._pending
        self._pending = self._max(_rows(np.asarray(number, np.int32), self._devices))
        return 0 if before is None else int(before)


def _all_rows(row: np.ndarray) -> np.ndarray:
    """Returns the arrays of all processes, of one shape and dtype, as [processes, ...]."""
    devices = tuple(all_devices())
    rows = np.asarray(_replicated(_identity, devices)(_rows(row, devices)))
    return rows[:: len(devices) // share_of(devices).count]


def _rows(row: np.ndarray, devices: tuple[jax.Device, ...]) -> jax.Array:
    """Returns an array of one row a device, [devices, ...], the same for all devices of a process."""
    count = len(devices) // share_of(devices).count
    sharding = named_sharding(devices, AXIS)
    return jax.make_array_from_process_local_data(sharding, np.stack([row] * count), (len(devices), *row.shape))


@functools.cache
def _replicated(function: Callable[[jax.Array], jax.Array], devices: tuple[jax.Device, ...]) -> Callable[..., Any]:
    """Returns `function` jitted with its result on all devices; cached, so that it is compiled once."""
    return jax.jit(function, out_shardings=named_sharding(devices))


def _identity(x: jax.Array) -> jax.Array:
    return x
