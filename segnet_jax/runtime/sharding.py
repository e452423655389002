"""Maps functions over the devices of all processes, splits batches over them and replicates trees."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from segnet_jax.runtime.compilation import Compiled
from segnet_jax.runtime.processes import share_of

AXIS = "batch"
"""Name of the mapped axis, over the devices of all processes, for collectives and cross-replica BatchNorm."""


def map_over_devices(
    function: Callable[..., Any],
    devices: Sequence[jax.Device],
    *,
    in_axes: Any = (None, 0),
    out_axes: Any = None,
    donate_argnums: tuple[int, ...] = (),
) -> Compiled:
    """Returns `function` mapped over `devices` by `jax.pmap`, its mapped axis being `AXIS`.

    Args:
      function: takes one device's part.
      devices: the devices of all processes.
      in_axes: as for `jax.pmap`; by default a first argument that is the same on all devices, and a batch.
      out_axes: as for `jax.pmap`.
      donate_argnums: arguments whose memory the result may use.
    """
    mapped = jax.pmap(
        function, axis_name=AXIS, in_axes=in_axes, out_axes=out_axes, devices=devices, donate_argnums=donate_argnums
    )
    return Compiled(mapped, devices[0].platform)


def to_devices(
    batches: Iterator[dict[str, np.ndarray]], devices: Sequence[jax.Device], depth: int = 2
) -> Generator[dict[str, jax.Array], None, None]:
    """Sends batches to the devices, split over them as [devices, b / devices, ...], `depth` ahead of use.

    Args:
      batches: this process's parts of the batches.
      devices: the devices of all processes.
      depth: the number of batches that are sent before they are asked for.
    """
    sharding = named_sharding(devices, AXIS)
    share = share_of(devices)

    def put(batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
        rows = len(devices) // share.count
        split = {key: array.reshape(rows, -1, *array.shape[1:]) for key, array in batch.items()}
        if share.count == 1:
            return jax.device_put(split, sharding)
        return {
            key: jax.make_array_from_process_local_data(sharding, array, (len(devices), *array.shape[1:]))
            for key, array in split.items()
        }

    # Sending is asynchronous, so a short queue of sent batches hides it.
    queue = collections.deque(put(batch) for batch in itertools.islice(batches, depth))
    while queue:
        yield queue.popleft()
        queue.extend(put(batch) for batch in itertools.islice(batches, 1))


def from_devices(array: jax.Array) -> np.ndarray:
    """Returns this process's part of a mapped function's result: [devices, b, ...] as [devices * b, ...]."""
    if array.is_fully_addressable:
        parts = np.asarray(array)
    else:
        shards = sorted(array.addressable_shards, key=lambda shard: shard.index[0].start)
        parts = np.concatenate([np.asarray(shard.data) for shard in shards])
    return parts.reshape(-1, *parts.shape[2:])


def replicate(tree: Any, devices: Sequence[jax.Device]) -> Any:
    """Returns a copy of `tree` on each of the devices, in memory of its own, so that it may be donated."""
    # A program's outputs are always new memory, unlike what `device_put` gives.
    copy = jax.jit(lambda leaves: jax.tree.map(jnp.copy, leaves), out_shardings=named_sharding(devices))
    # Until it is done, the program may read the very memory of `tree`, which may be changed afterwards.
    return jax.block_until_ready(copy(jax.device_get(tree)))


def named_sharding(devices: Sequence[jax.Device], *axes: str) -> jax.sharding.NamedSharding:
    """Returns the sharding over `devices` that splits the first axis (`AXIS`) or none."""
    mesh = jax.sharding.Mesh(np.asarray(devices), (AXIS,))
    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes))
