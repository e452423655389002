"""Starts the processes of one run, or a script of launch/, on this machine, and never leaves one behind."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time

from tests.helpers.compilation import QUICK_FLAGS
from tests.helpers.paths import ROOT

# Seconds, on a machine that may have others to serve first.
PATIENCE = 300


def wait_until(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def make_program(folder, name, text):
    """Writes an executable script that stands for the program `name`; returns its path."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text("#!/usr/bin/env bash\n" + text)
    path.chmod(0o755)
    return path


def run_script(*command, env, cwd=None):
    """Runs a command to its end; returns the finished process with its output."""
    return subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, timeout=PATIENCE, check=False)


def free_port():
    with socket.socket() as listener:
        listener.bind(("", 0))
        return listener.getsockname()[1]


def flags(count, index, port):
    return [f"--coordinator=127.0.0.1:{port}", f"--num_processes={count}", f"--process_id={index}"]


def environment(devices, **more):
    """Returns the environment of a process with so many CPU devices, without the variables of any launcher."""
    marks = ("SLURM_", "OMPI_", "PMIX_", "KUBERNETES_", "JOB_COMPLETION_INDEX", "JAX_COORDINATOR_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(marks)}
    return {
        **kept,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices} {QUICK_FLAGS}",
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        **more,
    }


@contextlib.contextmanager
def started(commands, environments, directory):
    """Starts a process for each command, with its output in the files `out` and `err`; kills them at the end."""
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
    """Waits for all processes and returns their exit statuses."""
    end = time.monotonic() + PATIENCE
    return [process.wait(timeout=max(1, end - time.monotonic())) for process in processes]


def wait_for(process, text):
    """Waits until a process has written `text` to its standard output."""

    def has_written():
        assert text in process.out.read_text() or process.poll() is None, process.err.read_text()
        return text in process.out.read_text()

    wait_until(has_written)


def errors(processes):
    """Returns what each process has written to its standard error."""
    return [process.err.read_text() for process in processes]


def assert_lost(process, index):
    """Asserts that an ended process says that another one is lost: in our line, or by the abort of JAX's runtime."""
    text = process.err.read_text()
    if process.returncode == 75:
        line = text.splitlines()[-1]
        assert line.startswith(f"error: process {index}: another process of this run has ended or cannot be reached; ")
        assert "Traceback" not in text
    else:
        assert process.returncode == -signal.SIGABRT, text
        assert "the JAX distributed service detected fatal errors" in text
