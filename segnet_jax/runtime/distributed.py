"""Joins several processes into one run, and ends them together (docs/distributed.md)."""

from __future__ import annotations

import contextlib
import importlib.util
import ipaddress
import os
import re
import socket
import sys
import traceback
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, NoReturn

import jax
from jax.experimental import multihost_utils

from segnet_jax.errors import InputError
from segnet_jax.runtime import collectives
from segnet_jax.runtime.preemption import exit_at_once
from segnet_jax.runtime.processes import is_first, local_devices, several

# Seconds that a process with an error waits for the others to have it too.
_SAME_ERROR = 10

# EX_TEMPFAIL: launchers start again after it, unlike after an error of the program's own, which is 1.
_LOST_STATUS = 75

# In what JAX, its collectives and its runtime raise when another process is gone.
_LOST = re.compile(r"Gloo|NCCL|CoordinationService|coordination service|Connection (reset|closed)|[Bb]arrier timed out")


@contextlib.contextmanager
def join(
    coordinator: str = "",
    num_processes: int | None = None,
    process_id: int | None = None,
    *,
    heartbeat_timeout: int = 100,
    initialization_timeout: int = 300,
) -> Iterator[None]:
    """Joins the other processes of the run, if there are any, and leaves together with them; the first call to JAX.

    After an error that not all processes have, this one prints it and exits at once, and the others end because it
    is lost.

    Args:
      coordinator: host and port of process 0, as "HOST:PORT".
      num_processes: the number of processes; 1 runs this one by itself, whatever has started it.
      process_id: the number of this one, from 0.
      heartbeat_timeout: seconds without a heartbeat after which a process counts as lost.
      initialization_timeout: seconds in which all processes have to arrive.

    Raises:
      InputError: if the arguments make no sense, or the processes cannot be joined.
      SystemExit: in place of an error that all processes have.
    """
    arguments = _initialize_arguments(coordinator, num_processes, process_id, os.environ)
    if arguments is None:
        yield
        return
    _initialize(arguments, heartbeat_timeout, initialization_timeout)
    try:
        local_devices()
    except InputError as error:
        # Without devices JAX does not even tell the number of this process.
        print(f"error: {error}", file=sys.stderr)
        # Where all have none, they leave together: one that finds process 0 gone would print what that means to JAX.
        if _all_arrive("segnet_jax_no_devices", _SAME_ERROR):
            jax.distributed.shutdown()
        exit_at_once(1)
    status = None
    try:
        _require_equal_devices()
        _meet(initialization_timeout)
        yield
    except (InputError, FloatingPointError) as error:
        if several() and not _all_arrive("segnet_jax_failed", _SAME_ERROR):
            _exit(str(error))
        if is_first():
            print(f"error: {error}", file=sys.stderr)
        status = 1
    except SystemExit:
        # All processes stop together.
        jax.distributed.shutdown()
        raise
    except BaseException as error:
        _exit_after(error)
    jax.distributed.shutdown()
    if status is not None:
        sys.exit(status)


def leave_if_lost(kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
    """Exits if the error comes from a lost process, before anything waits for that one; for `ExitStack.push`."""
    if error is not None and several() and _is_lost(error):
        _exit_after(error)


def _initialize_arguments(
    coordinator: str, num_processes: int | None, process_id: int | None, environ: Mapping[str, str]
) -> dict[str, Any] | None:
    """Returns the arguments of `jax.distributed.initialize`, or None for a process by itself."""
    port = re.fullmatch(r".+:(\d{1,5})", coordinator)
    if coordinator and not (port and 0 < int(port[1]) < 65536):
        raise InputError(f"--coordinator={coordinator} must be HOST:PORT, such as node1:1234.")
    if num_processes is not None and process_id is not None and process_id >= num_processes:
        raise InputError(f"--process_id={process_id} must be below --num_processes={num_processes}.")
    given = {"coordinator_address": coordinator or None, "num_processes": num_processes, "process_id": process_id}
    if num_processes == 1 or (set(given.values()) == {None} and not _is_launched(environ)):
        return None
    if None not in given.values():
        # JAX would ask the launcher all the same, for the devices of this process.
        return given | {"cluster_detection_method": "deactivate"}
    return given


def _is_launched(environ: Mapping[str, str]) -> bool:
    """Returns whether a launcher that JAX knows has started this process as one of several.

    JAX's own detection comes only after this one, because on Cloud TPUs and Kubernetes it asks other machines.
    """
    if "OMPI_MCA_orte_hnp_uri" in environ:
        return int(environ["OMPI_COMM_WORLD_SIZE"]) > 1
    if "SLURM_STEP_NUM_TASKS" in environ:
        return int(environ["SLURM_STEP_NUM_TASKS"]) > 1
    # JAX sets the second one, when it is imported, where there is no TPU.
    if importlib.util.find_spec("libtpu") is not None and "TPU_SKIP_MDS_QUERY" not in environ:
        hosts = environ.get("TPU_PROCESS_ADDRESSES", environ.get("TPU_WORKER_HOSTNAMES"))
        return hosts is None or "," in hosts or int(environ.get("MEGASCALE_NUM_SLICES", 1)) > 1
    # An indexed job of Kubernetes.
    return "JOB_COMPLETION_INDEX" in environ


def _initialize(arguments: Mapping[str, Any], heartbeat_timeout: int, initialization_timeout: int) -> None:
    coordinator = arguments["coordinator_address"] or ""
    bound = _own_address(coordinator) if coordinator else None
    if arguments["process_id"] == 0 and coordinator:
        _require_free(coordinator, bound)
    # `preemption` handles the signals.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            **arguments,
            coordinator_bind_address=bound,
            heartbeat_timeout_seconds=heartbeat_timeout,
            initialization_timeout=initialization_timeout,
        )
    except Exception as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"the processes of this run cannot be joined ({reason}); give --coordinator with a port that is free, "
            "--num_processes and --process_id, or --num_processes=1 for a run of this process alone."
        ) from error
    # JAX gives each task of SLURM one GPU; the only task of a node is to have all of them.
    is_alone = re.fullmatch(r"1(\(x\d+\))?", os.environ.get("SLURM_STEP_TASKS_PER_NODE", ""))
    if is_alone and "JAX_LOCAL_DEVICE_IDS" not in os.environ:
        jax.config.update("jax_cuda_visible_devices", "all")
        jax.config.update("jax_rocm_visible_devices", "all")


def _own_address(coordinator: str) -> str | None:
    """Returns the address and port that process 0 listens at, where JAX would listen at all that its host has.

    For a name that is what it stands for, or None, for all addresses, where the others could not reach it there: a name
    may stand for loopback on its own host (127.0.1.1 is common), or for an address that leads to the host and is not
    its own.
    """
    host, _, port = coordinator.rpartition(":")
    name = host.strip("[]")
    with contextlib.suppress(ValueError):
        if name == "localhost" or ipaddress.ip_address(name):
            return coordinator
    with contextlib.suppress(OSError):
        for family, *_, found in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM):
            address = str(found[0])
            known = ipaddress.ip_address(address)
            if known.is_loopback or known.is_link_local:
                continue
            with contextlib.suppress(OSError), socket.create_server((address, 0), family=family):
                return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    return None


def _require_free(coordinator: str, bound: str | None) -> None:
    """Refuses an address or a port that process 0 cannot listen at; JAX's service would crash on it."""
    host, _, port = (bound or coordinator).rpartition(":")
    host = host.strip("[]") if bound else ""
    is_dual = not host and socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if is_dual or ":" in host else socket.AF_INET
    try:
        socket.create_server((host, int(port)), family=family, dualstack_ipv6=is_dual).close()
    except OSError as error:
        # Python adds the address to `error.strerror`.
        reason = os.strerror(error.errno or 0)
        raise InputError(
            f"--coordinator={coordinator} is nothing that process 0 can listen at ({reason}); choose another port, or "
            "the address of its own host."
        ) from error


def _require_equal_devices() -> None:
    counts = [len(jax.local_devices(index)) for index in range(jax.process_count())]
    for index, count in enumerate(counts):
        if count != counts[0]:
            raise InputError(
                f"process {index} has {count} devices and process 0 has {counts[0]}; give each process as many."
            )


def _meet(seconds: int) -> None:
    """Runs the first collectives once all processes have arrived, for Gloo lets nobody wait longer than 30 s then."""
    if several():
        _all_arrive("segnet_jax_joined", seconds)
        collectives.gather(None)
        multihost_utils.sync_global_devices("segnet_jax_joined")


def _all_arrive(name: str, seconds: int) -> bool:
    """Waits for all processes to call this; returns whether they did in time, whatever their devices are doing."""
    from jax._src import distributed  # There is no public way.

    try:
        distributed.global_state.client.wait_at_barrier(name, seconds * 1000)  # type: ignore[union-attr]
    except Exception:
        return False
    return True


def _is_lost(error: BaseException) -> bool:
    """Returns whether the error says that another process is lost."""
    return isinstance(error, ValueError | RuntimeError) and _LOST.search(str(error)) is not None


def _exit_after(error: BaseException) -> NoReturn:
    """Prints the error in one line, below its traceback if it is a fault of the program, and exits."""
    if _is_lost(error):
        _exit(
            "another process of this run has ended or cannot be reached; start all processes again, and a training "
            "run goes on from its newest checkpoint.",
            _LOST_STATUS,
        )
    if isinstance(error, KeyboardInterrupt):
        _exit("interrupted; the other processes end too.", 130)
    if isinstance(error, OSError):
        # A file that is open already is not named.
        what = (
            str(error) if error.filename else f"{error.strerror or error}, on writing to the work directory or stdout"
        )
        _exit(f"{what}; start all processes again once that is put right.")
    traceback.print_exception(error)
    _exit(f"{type(error).__name__}, as told above; the other processes end too.")


def _exit(message: str, status: int = 1) -> NoReturn:
    """Prints the message and exits without waiting for the others, as Python's own end would."""
    print(f"error: process {jax.process_index()}: {message}", file=sys.stderr)
    exit_at_once(status)
