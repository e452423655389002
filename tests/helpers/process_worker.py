"""The program that tests/runtime/distributed_test.py starts as several processes: with the name of a function."""

import contextlib
import errno
import json
import sys
import time

import jax
import numpy as np
from absl import flags

from segnet_jax.errors import InputError
from segnet_jax.runtime import collectives, distributed
from segnet_jax.runtime.preemption import GracefulShutdown
from segnet_jax.runtime.processes import all_devices, is_first, share_of
from segnet_jax.runtime.sharding import from_devices, replicate, to_devices

flags.DEFINE_string("coordinator", "", "As for segnet_jax.main.")
flags.DEFINE_integer("num_processes", None, "As for segnet_jax.main.")
flags.DEFINE_integer("process_id", None, "As for segnet_jax.main.")
flags.DEFINE_integer("heartbeat_timeout", 100, "As for segnet_jax.main.")
flags.DEFINE_integer("initialization_timeout", 300, "As for segnet_jax.main.")


def say(**values):
    print(json.dumps(values), flush=True)


def agree():
    """Calls every function of `collectives`, sends a batch to the devices and back, and evaluates a network."""
    # Not at the top: the other programs start faster without networks.
    from tests.helpers.split import evaluate

    index, devices = jax.process_index(), all_devices()
    share = share_of(devices)
    said = {
        "processes": jax.process_count(),
        "order": [device.process_index for device in devices],
        "share": [share.index, share.count],
        "gathered": collectives.gather({"index": index, "text": "x" * 3000 * index}),
        "first": collectives.from_first(f"of {index}"),
        "broadcast": collectives.broadcast({"a": np.full(3, index + 7.0, np.float32)})["a"].tolist(),
    }
    collectives.require_same({"size": 8})
    for name, act in {"differ": differ, "differ in names": differ_in_names, "fail": fail}.items():
        try:
            act(index)
        except InputError as error:
            said[name] = str(error)
    highest = collectives.AsyncAllReduceMax(devices)
    numbers = ((0, 0), (0, 15), (0, 0), (3, 2), (0, 0))
    said["highest"] = [highest(pair[index]) for pair in numbers]
    rows = len(devices) // jax.process_count()
    whole = np.arange(len(devices) * 6).reshape(-1, 3)
    part = whole[index * rows * 2 : (index + 1) * rows * 2]
    (sent,) = to_devices(iter([{"x": part}]), devices)
    mapped = jax.pmap(lambda x: (x * 10, jax.lax.psum(x.sum(), "batch")), "batch", devices=devices, out_axes=(0, None))
    back, total = mapped(sent["x"])
    said["shape"], said["total"] = list(sent["x"].shape), int(total)
    said["back"] = np.array_equal(from_devices(back), part * 10)
    said["global_back"] = np.array_equal(from_devices(sent["x"]), part)
    copies = replicate({"a": np.arange(4)}, devices)
    said["replicated"] = jax.device_get(copies)["a"].tolist()
    said["evaluated"] = evaluate(devices).report
    say(**said)


def differ(index):
    collectives.require_same({"same": 1, "batch size": 8 * (index + 1)})


def differ_in_names(index):
    collectives.require_same({"same": 1} | ({"new": 2} if index else {}))


def fail(index):
    with collectives.raise_on_all_processes():
        if index == 1:
            raise InputError("its images are not there.")


def work():
    """Runs collectives until something ends them."""
    say(met=jax.process_index())
    while True:
        collectives.gather(None)
        time.sleep(0.05)


ERRORS = {
    "input": InputError("this disk is full."),
    "system": OSError(errno.ENOSPC, "No space left on device"),
    "fault": ZeroDivisionError("a bug"),
}


def fail_alone(error):
    if jax.process_index() == 1:
        collectives.gather(None)
        raise ERRORS[error]
    work()


def fail_together():
    collectives.gather(None)
    raise InputError("the images are too small.")


def stop_together():
    """Polls until a signal has reached one of the processes."""
    with GracefulShutdown(collectives.AsyncAllReduceMax(all_devices()), announce=is_first()) as shutdown:
        say(met=jax.process_index())
        count = 0
        while shutdown.signal is None:
            shutdown.poll()
            count += 1
            time.sleep(0.02)
        say(signal=shutdown.signal, count=count, same=collectives.gather(count))
        raise SystemExit(shutdown.exit_status)


def main(arguments):
    values = flags.FLAGS(arguments)[1:]
    options = flags.FLAGS
    try:
        with distributed.join(
            options.coordinator,
            options.num_processes,
            options.process_id,
            heartbeat_timeout=options.heartbeat_timeout,
            initialization_timeout=options.initialization_timeout,
        ):
            globals()[values[0]](*values[1:])
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        main(sys.argv)
