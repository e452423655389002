"""What the processes of a run tell each other, so that all of them do the same.

Every function is called by all processes in the same order. With one process none of them costs anything.
"""

from __future__ import annotations

import contextlib
import functools
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from segnet_jax.errors import InputError
from segnet_jax.runtime.processes import all_devices, is_first, several, share_of
from segnet_jax.runtime.sharding import AXIS, named_sharding


def gather(value: Any) -> list[Any]:
    """What each process has, by its number; anything that can be pickled."""
    if not several():
        return [value]
    data = np.frombuffer(pickle.dumps(value), np.uint8)
    lengths = _all_rows(np.asarray([len(data)], np.int32))[:, 0]
    # A few sizes only, because each of them is compiled.
    size = 1 << max(10, int(lengths.max() - 1).bit_length())
    parts = _all_rows(np.pad(data, (0, size - len(data))))
    return [pickle.loads(part[:length].tobytes()) for part, length in zip(parts, lengths, strict=True)]


def from_first(value: Any) -> Any:
    """What process 0 has."""
    return gather(value if is_first() else None)[0]


def broadcast(tree: Any) -> Any:
    """The arrays of process 0, as NumPy arrays; `tree` itself if there is one process."""
    return multihost_utils.broadcast_one_to_all(jax.device_get(tree)) if several() else tree


@contextlib.contextmanager
def raise_on_all_processes() -> Iterator[None]:
    """Around what each process does by itself: an `InputError` in one of them is raised in all."""
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
    """Refuses processes that are about to do different things.

    Args:
      facts: what must be the same everywhere, by what it is called.

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
    """The greatest number that a process has given at the call before; 0 at first.

    What is given now is on its way while the devices compute, so nobody waits for it.

    Args:
      devices: of all processes.
    """

    def __init__(self, devices: Sequence[jax.Device]) -> None:
        self._devices = tuple(devices)
        self._max = _replicated(jnp.max, self._devices)
        self._pending: jax.Array | None = None

    def __call__(self, number: int) -> int:
        """Gives `number`, and takes the greatest of the call before."""
        before = self._pending
        self._pending = self._max(_rows(np.asarray(number, np.int32), self._devices))
        return 0 if before is None else int(before)


def _all_rows(row: np.ndarray) -> np.ndarray:
    """What all processes give, [processes, ...], of one shape and type."""
    devices = tuple(all_devices())
    rows = np.asarray(_replicated(_identity, devices)(_rows(row, devices)))
    return rows[:: len(devices) // share_of(devices).count]


def _rows(row: np.ndarray, devices: tuple[jax.Device, ...]) -> jax.Array:
    """A row for each device, the same for those of a process."""
    count = len(devices) // share_of(devices).count
    sharding = named_sharding(devices, AXIS)
    return jax.make_array_from_process_local_data(sharding, np.stack([row] * count), (len(devices), *row.shape))


@functools.cache
def _replicated(function: Callable[[jax.Array], jax.Array], devices: tuple[jax.Device, ...]) -> Callable[..., Any]:
    return jax.jit(function, out_shardings=named_sharding(devices))


def _identity(x: jax.Array) -> jax.Array:
    return x
