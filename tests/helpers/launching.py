"""What the tests of several processes need: processes that are started together and never left behind."""

import contextlib
import os
import socket
import subprocess
import sys
import time

from tests.helpers.paths import ROOT

# Seconds, on a machine that may have others to serve first.
PATIENCE = 300


def free_port():
    with socket.socket() as listener:
        listener.bind(("", 0))
        return listener.getsockname()[1]


def flags(count, index, port):
    return [f"--coordinator=127.0.0.1:{port}", f"--num_processes={count}", f"--process_id={index}"]


def environment(devices, **more):
    """What a process with so many devices sees: nothing of the launchers that this test may run under."""
    marks = ("SLURM_", "OMPI_", "PMIX_", "KUBERNETES_", "JAX_COORDINATOR_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(marks)}
    return {
        **kept,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        **more,
    }


@contextlib.contextmanager
def started(commands, environments, directory):
    """The processes, each with `out` and `err`, the files that it writes to; killed at the end if they still run."""
    processes = []
    try:
        for index, (command, env) in enumerate(zip(commands, environments, strict=True)):
            out, err = directory / f"out{index}", directory / f"err{index}"
            with out.open("wb") as stdout, err.open("wb") as stderr:
                process = subprocess.Popen([sys.executable, *command], env=env, stdout=stdout, stderr=stderr)
            process.out, process.err = out, err
            processes.append(process)
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def wait(processes):
    """Waits for all and gives their exit statuses."""
    end = time.monotonic() + PATIENCE
    return [process.wait(timeout=max(1, end - time.monotonic())) for process in processes]


def wait_for(process, text):
    """Waits until a process has written `text` to its standard output."""
    end = time.monotonic() + PATIENCE
    while text not in process.out.read_text():
        assert process.poll() is None, f"ended before {text!r}: {process.err.read_text()}"
        assert time.monotonic() < end, f"no {text!r} in {process.out.read_text()}"
        time.sleep(0.05)


def complete_error(process):
    """What an ended process has written to its standard error; the filter behind it may end a moment later."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        text = process.err.read_text()
        if text.endswith("\n"):
            return text
        time.sleep(0.05)
    return process.err.read_text()
