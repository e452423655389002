"""Tests for segnet_jax/runtime/sharding.py."""

import jax
import numpy as np
import pytest

from segnet_jax.runtime.sharding import replicate, to_devices


def host_batches(count, size=8):
    for step in range(count):
        yield {"label": np.arange(size * 6, dtype=np.uint8).reshape(size, 2, 3) + step, "index": np.arange(size) + step}


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("count", [0, 1, 5])
def test_to_devices_passes_every_batch_in_order(count, depth):
    sent = list(to_devices(host_batches(count), jax.devices()[:4], depth))
    for batch, host in zip(sent, host_batches(count), strict=True):
        assert batch["label"].shape == (4, 2, 2, 3)
        np.testing.assert_array_equal(batch["label"].reshape(8, 2, 3), host["label"])
        np.testing.assert_array_equal(batch["index"], host["index"].reshape(4, 2))


@pytest.mark.parametrize("num_devices", [1, 2, 8])
def test_to_devices_gives_each_device_its_part(num_devices):
    devices = jax.devices()[::-1][:num_devices]
    (batch,) = to_devices(host_batches(1), devices)
    (host,) = host_batches(1)
    parts = {shard.device: np.asarray(shard.data) for shard in batch["label"].addressable_shards}
    assert parts.keys() == set(devices)
    for device, part in zip(devices, np.split(host["label"], num_devices), strict=True):
        np.testing.assert_array_equal(parts[device], part[None])
    sums = jax.pmap(lambda label: label.astype(int).sum(), devices=devices)(batch["label"])
    np.testing.assert_array_equal(sums, host["label"].reshape(num_devices, -1).sum(axis=1))


@pytest.mark.parametrize("depth", [1, 3])
def test_to_devices_reads_so_many_batches_ahead(depth):
    read = []

    def reading():
        for batch in host_batches(9):
            read.append(batch)
            yield batch

    batches = to_devices(reading(), jax.devices(), depth)
    for step in range(4):
        next(batches)
        assert len(read) == step + depth


@pytest.mark.parametrize("num_devices", [1, 3])
def test_replicate_copies_to_every_device(num_devices):
    devices = jax.devices()[1 : 1 + num_devices]
    # Memory aligned like this is what JAX would rather share than copy.
    buffer = np.zeros(4096 + 64, np.uint8)
    start = -buffer.ctypes.data % 64
    kernel = buffer[start : start + 4096].view(np.float32)
    copy = replicate({"kernel": kernel, "step": jax.numpy.int32(7)}, devices)
    kernel += 1
    for key, expected in (("kernel", np.zeros(1024)), ("step", 7)):
        parts = copy[key].addressable_shards
        assert [part.device for part in parts] == devices
        for part in parts:
            np.testing.assert_array_equal(part.data, expected)


def test_replicate_leaves_the_array_it_came_from():
    source = jax.numpy.arange(4.0)
    replicate(source, jax.devices()[:2]).delete()
    np.testing.assert_array_equal(source, [0, 1, 2, 3])
