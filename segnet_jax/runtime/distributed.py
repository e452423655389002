"""Several processes as one run: how they find each other, and how they end (docs/distributed.md)."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import socket
import subprocess
import sys
import traceback
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

import jax
from jax.experimental import multihost_utils

from segnet_jax.errors import InputError
from segnet_jax.runtime import stderr_filter
from segnet_jax.runtime.preemption import exit_at_once
from segnet_jax.runtime.processes import is_first, several

# Seconds that a process with an error gives the others to have it too.
_SAME_ERROR = 10

_SLURM = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")

# EX_TEMPFAIL: launchers start again after it, unlike after an error of the program's own, which is 1.
_LOST_STATUS = 75

# What JAX, its collectives and its runtime say when another process is gone.
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
    """Within it, this process is one of several, if it was started as such; the first thing to ask of JAX.

    At the end the processes leave together. After an error that is not the same in all, this one says what it is and
    ends at once, and the others end because it is gone.

    Args:
      coordinator: host and port of process 0, as "HOST:PORT".
      num_processes: how many there are; 1 makes this a run of its own.
      process_id: the number of this one.
      heartbeat_timeout: seconds after which a process that gives no sign of life counts as lost.
      initialization_timeout: seconds in which all have to arrive.

    Raises:
      InputError: if the arguments make no sense, or the processes cannot be joined.
      SystemExit: in place of an error that all processes have.
    """
    arguments = find_arguments(coordinator, num_processes, process_id, os.environ)
    if arguments is None:
        yield
        return
    output = _FilteredOutput(f"process {_number(arguments)}")
    try:
        _initialize(arguments, heartbeat_timeout, initialization_timeout)
        _see_all_devices(os.environ)
    except BaseException:
        output.close()
        raise
    status = None
    try:
        _require_equal_devices()
        _meet(initialization_timeout)
        yield
    except (InputError, FloatingPointError) as error:
        if several() and not _all_arrive("segnet_jax_failed", _SAME_ERROR):
            _leave(str(error))
        if is_first():
            print(f"error: {error}", file=sys.stderr)
        status = 1
    except SystemExit:
        # All processes stop together.
        jax.distributed.shutdown()
        output.close()
        raise
    except BaseException as error:
        _leave_after(error)
    jax.distributed.shutdown()
    output.close()
    if status is not None:
        sys.exit(status)


def leave_if_lost(kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
    """For `ExitStack.push`: ends this process if another one is lost, before anything waits for that one."""
    if error is not None and several() and _is_lost(error):
        _leave_after(error)


def find_arguments(
    coordinator: str, num_processes: int | None, process_id: int | None, environ: Mapping[str, str]
) -> dict[str, Any] | None:
    """The arguments of `jax.distributed.initialize`; None for a process of its own.

    Args:
      coordinator: as for `join`, as are the next two.
      num_processes: how many there are.
      process_id: the number of this one.
      environ: in which launchers leave their marks.
    """
    _check_flags(coordinator, num_processes, process_id)
    if num_processes == 1:
        return None
    is_asked = bool(coordinator) or num_processes is not None or process_id is not None
    coordinator = coordinator or environ.get("JAX_COORDINATOR_ADDRESS", "")
    given = {"coordinator_address": coordinator or None, "num_processes": num_processes, "process_id": process_id}
    if None not in given.values():
        # JAX would look for a cluster all the same, for the devices of this process.
        return given | {"cluster_detection_method": "deactivate"}
    found = launcher(environ)
    if not found:
        if not is_asked:
            return None
        names = {
            "coordinator_address": "--coordinator",
            "num_processes": "--num_processes",
            "process_id": "--process_id",
        }
        missing = " and ".join(names[name] for name, value in given.items() if value is None)
        raise InputError(f"{missing} must be given too; nothing here tells it, as SLURM or Open MPI would.")
    if found == "Open MPI" and "OMPI_MCA_orte_hnp_uri" not in environ:
        return _open_mpi_5(given, environ)
    if found == "Kubernetes" and importlib.util.find_spec("kubernetes") is None:
        raise InputError(
            "this is a process of an indexed Kubernetes job, and to find the others JAX needs `pip install jax[k8s]`; "
            "or give --coordinator, --num_processes and --process_id=$JOB_COMPLETION_INDEX, or --num_processes=1."
        )
    return given


def launcher(environ: Mapping[str, str]) -> str:
    """What has started this process as one of several that JAX can find, such as "SLURM"; "" if nothing has.

    JAX's own detection is asked only after this, because it may ask other machines.
    """
    if int(environ.get("OMPI_COMM_WORLD_SIZE", 1)) > 1:
        return "Open MPI"
    if all(name in environ for name in _SLURM) and int(environ["SLURM_NTASKS"]) > 1:
        return "SLURM"
    # JAX sets the variable, when it is imported, where there is no TPU.
    if importlib.util.find_spec("libtpu") is not None and "TPU_SKIP_MDS_QUERY" not in environ:
        hosts = environ.get("TPU_PROCESS_ADDRESSES", environ.get("TPU_WORKER_HOSTNAMES"))
        if hosts is None or "," in hosts or int(environ.get("MEGASCALE_NUM_SLICES", 1)) > 1:
            return "TPU"
    if "KUBERNETES_SERVICE_HOST" in environ and "JOB_COMPLETION_INDEX" in environ:
        return "Kubernetes"
    return ""


def _check_flags(coordinator: str, num_processes: int | None, process_id: int | None) -> None:
    port = re.fullmatch(r".+:(\d{1,5})", coordinator)
    if coordinator and not (port and 0 < int(port[1]) < 65536):
        raise InputError(f"--coordinator={coordinator} must be HOST:PORT, such as node1:1234.")
    if num_processes is not None and num_processes < 1:
        raise InputError(f"--num_processes={num_processes} must be at least 1.")
    if process_id is not None and not 0 <= process_id < (num_processes or process_id + 1):
        raise InputError(f"--process_id={process_id} must be at least 0 and below --num_processes={num_processes}.")


def _open_mpi_5(given: dict[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """Open MPI since 5 leaves no mark that JAX knows, and does not say where process 0 is, unless it is here."""
    size, local_size = environ["OMPI_COMM_WORLD_SIZE"], environ.get("OMPI_COMM_WORLD_LOCAL_SIZE")
    found: dict[str, Any] = {"num_processes": int(size), "process_id": int(environ["OMPI_COMM_WORLD_RANK"])}
    if size == local_size:
        # The name of the job is its own, and so, mostly, is this port.
        port = 61440 + zlib.crc32(environ.get("PMIX_NAMESPACE", "").encode()) % 4096
        found["coordinator_address"] = f"localhost:{port}"
    arguments = {**found, **{name: value for name, value in given.items() if value is not None}}
    if "coordinator_address" not in arguments:
        raise InputError("Open MPI does not tell where process 0 is; give --coordinator=HOST:PORT, a port of its host.")
    if local_size not in (None, "1"):
        arguments["local_device_ids"] = [int(environ["OMPI_COMM_WORLD_LOCAL_RANK"])]
    return arguments | {"cluster_detection_method": "deactivate"}


def _number(arguments: Mapping[str, Any]) -> str:
    """The number of this process as far as it is known before it has joined the others."""
    names = ("OMPI_COMM_WORLD_RANK", "SLURM_PROCID", "JOB_COMPLETION_INDEX", "TPU_WORKER_ID")
    found = next((os.environ[name] for name in names if name in os.environ), "?")
    return found if arguments["process_id"] is None else str(arguments["process_id"])


def _initialize(arguments: dict[str, Any], heartbeat_timeout: int, initialization_timeout: int) -> None:
    if arguments["process_id"] == 0 and arguments["coordinator_address"]:
        _require_free(arguments["coordinator_address"])
    # Signals are this program's to handle: `interruption`.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            **arguments,
            heartbeat_timeout_seconds=heartbeat_timeout,
            initialization_timeout=initialization_timeout,
        )
    except Exception as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"the processes of this run cannot be joined ({reason}); give --coordinator with a port that is free, "
            "--num_processes and --process_id, or --num_processes=1 for a run of this process alone."
        ) from error


def _require_free(coordinator: str) -> None:
    """Refuses a port that JAX's service could not have; trying it may crash."""
    both = socket.has_dualstack_ipv6()
    address = ("::" if both else "", int(coordinator.rpartition(":")[2]))
    try:
        socket.create_server(address, family=socket.AF_INET6 if both else socket.AF_INET, dualstack_ipv6=both).close()
    except OSError as error:
        # Python adds the address to `error.strerror`.
        reason = os.strerror(error.errno or 0)
        raise InputError(
            f"--coordinator={coordinator} has a port that process 0 cannot use ({reason}); choose another."
        ) from error


def _see_all_devices(environ: Mapping[str, str]) -> None:
    """Under SLURM and Open MPI, JAX takes one GPU a process; where there is one process a host, it is to take all."""
    alone = re.fullmatch(r"1(\(x\d+\))?", environ.get("SLURM_STEP_TASKS_PER_NODE", ""))
    if (alone or environ.get("OMPI_COMM_WORLD_LOCAL_SIZE") == "1") and "JAX_LOCAL_DEVICE_IDS" not in environ:
        jax.config.update("jax_cuda_visible_devices", "all")
        jax.config.update("jax_rocm_visible_devices", "all")


def _require_equal_devices() -> None:
    counts = [len(jax.local_devices(index)) for index in range(jax.process_count())]
    for index, count in enumerate(counts):
        if count != counts[0]:
            raise InputError(
                f"process {index} has {count} devices and process 0 has {counts[0]}; give each process as many."
            )


def _meet(seconds: int) -> None:
    """The first collectives, with all processes there: Gloo gives its first meeting of some devices 30 s only."""
    if several():
        from segnet_jax.runtime import collectives

        _all_arrive("segnet_jax_joined", seconds)
        collectives.gather(None)
        multihost_utils.sync_global_devices("segnet_jax_joined")


def _is_lost(error: BaseException) -> bool:
    return isinstance(error, ValueError | RuntimeError) and _LOST.search(str(error)) is not None


def _all_arrive(name: str, seconds: int) -> bool:
    """Whether all processes call this within so many seconds, whatever their devices are doing."""
    from jax._src import distributed  # There is no public way.

    try:
        distributed.global_state.client.wait_at_barrier(name, seconds * 1000)  # type: ignore[union-attr]
    except Exception:
        return False
    return True


def _leave_after(error: BaseException) -> NoReturn:
    if _is_lost(error):
        _leave(f"another process of this run has ended or cannot be reached; {stderr_filter.ADVICE}", _LOST_STATUS)
    if isinstance(error, KeyboardInterrupt):
        _leave("interrupted; the other processes end too.", 130)
    if isinstance(error, OSError):
        # A file that is open already is not named.
        what = (
            str(error) if error.filename else f"{error.strerror or error}, on writing to the work directory or stdout"
        )
        _leave(f"{what}; start all processes again once that is put right.")
    traceback.print_exception(error)
    _leave(f"{type(error).__name__}, as told above; the other processes end too.")


def _leave(message: str, status: int = 1) -> NoReturn:
    """Ends this process without waiting for the others, as Python's own end would."""
    print(f"error: process {jax.process_index()}: {message}", file=sys.stderr)
    exit_at_once(status)


class _FilteredOutput:
    """Puts `plain_stderr` behind all that this process writes, but for what Python writes to standard output."""

    def __init__(self, name: str) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        self._originals = os.dup(1), os.dup(2)
        end, start = os.pipe()
        # In a session of its own, so that a Ctrl-C does not reach it.
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(stderr_filter.__file__)), name], stdin=end, start_new_session=True
        )
        os.close(end)
        self._python_stdout = sys.stdout
        sys.stdout = open(  # noqa: SIM115
            self._originals[0], "w", buffering=1, encoding=sys.stdout.encoding, errors=sys.stdout.errors, closefd=False
        )
        for number in (1, 2):
            os.dup2(start, number)
        os.close(start)

    def close(self) -> None:
        """Takes it away again, once all that was written is out."""
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout = self._python_stdout
        for number, original in enumerate(self._originals, start=1):
            os.dup2(original, number)
            os.close(original)
        # Reading processes that have not ended yet may hold it open.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
