"""Finds out which process of the run this is, and which devices the run has."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import jax

from segnet_jax.errors import InputError


def several() -> bool:
    """Returns whether this process is one of several that `distributed.join` has joined."""
    return jax.distributed.is_initialized() and jax.process_count() > 1


def is_first() -> bool:
    """Returns whether this is process 0, which alone prints and writes."""
    return not several() or jax.process_index() == 0


def local_devices() -> list[jax.Device]:
    """Returns the devices of this process.

    Raises:
      InputError: if JAX_PLATFORMS names devices that are not there.
    """
    try:
        return jax.local_devices()
    # JAX asserts that there are devices where a platform's library is not installed.
    except (RuntimeError, AssertionError) as error:
        reason = " ".join(str(error).split()) or "it is not installed"
        raise InputError(
            f"JAX_PLATFORMS={jax.config.values['jax_platforms']} gives no devices ({reason}); unset it, or name "
            "what there is, such as JAX_PLATFORMS=cpu."
        ) from error


def all_devices() -> list[jax.Device]:
    """Returns the devices of all processes, those of process 0 first: the devices that a run is mapped over.

    Raises:
      InputError: if JAX_PLATFORMS names devices that are not there.
    """
    if not several():
        return local_devices()
    return [device for index in range(jax.process_count()) for device in jax.local_devices(index)]


@dataclasses.dataclass(frozen=True)
class Share:
    """One of `count` equal parts of the devices or of a batch: the one with number `index`."""

    index: int
    count: int


def share_of(devices: Iterable[jax.Device]) -> Share:
    """Returns this process's share of `devices`, and so of each batch that is split over them."""
    processes = sorted({device.process_index for device in devices})
    return Share(processes.index(jax.process_index()), len(processes))
