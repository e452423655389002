"""This process among those of a run, and their devices."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import jax


def several() -> bool:
    """Whether this process is one of several that `join` has brought together."""
    return jax.distributed.is_initialized() and jax.process_count() > 1


def is_first() -> bool:
    """Whether this is process 0, the one that writes."""
    return not several() or jax.process_index() == 0


def all_devices() -> list[jax.Device]:
    """The devices of all processes, those of process 0 first: what is mapped over."""
    if not several():
        return jax.local_devices()
    return [device for index in range(jax.process_count()) for device in jax.local_devices(index)]


@dataclasses.dataclass(frozen=True)
class Share:
    """The part of this process: the one of number `index` of `count` equal ones."""

    index: int
    count: int


def share_of(devices: Iterable[jax.Device]) -> Share:
    """This process's share of what is mapped over `devices`."""
    processes = sorted({device.process_index for device in devices})
    return Share(processes.index(jax.process_index()), len(processes))
