"""Tests for segnet_jax/runtime/distributed.py, collectives.py and sharding.py, with real processes."""

import contextlib
import errno
import json
import signal
import socket

import jax
import numpy as np
import pytest

from segnet_jax.errors import InputError
from segnet_jax.runtime import collectives, distributed
from segnet_jax.runtime.processes import all_devices, is_first, several
from tests.helpers.launching import assert_lost, environment, errors, flags, free_port, started, wait, wait_for
from tests.helpers.paths import ROOT
from tests.helpers.split import evaluate

WORKER = str(ROOT / "tests" / "helpers" / "process_worker.py")
SLURM = {
    "SLURM_JOB_ID": "1234",
    "SLURM_STEP_NODELIST": "127.0.0.1",
    "SLURM_NTASKS": "2",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_NUM_TASKS": "2",
}
OPEN_MPI = {
    "OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://127.0.0.1:34911",
    "OMPI_COMM_WORLD_SIZE": "2",
    "OMPI_COMM_WORLD_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
}


@contextlib.contextmanager
def workers(tmp_path, function, *arguments, devices=(2, 2)):
    port = free_port()
    commands = [[WORKER, function, *flags(2, index, port), *arguments] for index in range(2)]
    with started(commands, [environment(count) for count in devices], tmp_path) as processes:
        yield processes


def said(process):
    """Returns the JSON lines of a process; JAX's collectives print lines too."""
    return [json.loads(line) for line in process.out.read_text().splitlines() if line.startswith("{")]


@pytest.mark.ci
def test_collectives_and_sharding_give_two_processes_the_same_values(tmp_path):
    with workers(tmp_path, "agree") as processes:
        assert wait(processes) == [0, 0], errors(processes)
    (first,), (second,) = said(processes[0]), said(processes[1])
    assert errors(processes) == ["", ""]
    assert (first["share"], second["share"]) == ([0, 2], [1, 2])
    alike = {key: value for key, value in first.items() if key != "share"}
    assert alike == {key: value for key, value in second.items() if key != "share"}
    # Images of several sizes, groups and scores of images: all as in one process.
    assert alike.pop("evaluated") == json.loads(json.dumps(evaluate(jax.devices()[:1]).report))
    assert alike == {
        "processes": 2,
        "order": [0, 0, 1, 1],
        "gathered": [{"index": 0, "text": ""}, {"index": 1, "text": "x" * 3000}],
        "first": "of 0",
        "broadcast": [7.0, 7.0, 7.0],
        "differ": "process 1 has 16 as batch size, process 0 has 8; start all processes with the same command, data "
        "and software.",
        "differ in names": "process 1 has 2 as new, process 0 has nothing; start all processes with the same command, "
        "data and software.",
        "fail": "process 1: its images are not there.",
        "highest": [0, 0, 15, 0, 3],
        "shape": [4, 2, 3],
        "total": sum(range(24)),
        "back": True,
        "global_back": True,
        "replicated": [0, 1, 2, 3],
    }


@pytest.mark.parametrize(
    ("coordinator", "bound"),
    [
        ("127.0.0.1:1234", "127.0.0.1:1234"),
        ("localhost:1234", "localhost:1234"),
        ("[::1]:1234", "[::1]:1234"),
        # The first of a name's addresses that is this host's own, or all where the others could reach none of them.
        ("node1:1234", "10.0.0.5:1234"),
        ("node6:1234", "[2001:db8::5]:1234"),
        ("behind-nat:1234", None),
        ("debian:1234", None),
        ("unknown:1234", None),
    ],
)
def test_join_listens_at_one_address_alone(monkeypatch, coordinator, bound):
    own, given = {"127.0.1.1", "10.0.0.5", "2001:db8::5"}, {}
    names = {
        "node1": ["127.0.1.1", "192.0.2.1", "10.0.0.5"],
        "node6": ["2001:db8::5", "10.0.0.5"],
        "behind-nat": ["192.0.2.1"],
        "debian": ["127.0.1.1"],
    }

    def getaddrinfo(name, port, **options):
        if name not in names:
            raise socket.gaierror(socket.EAI_NONAME, "not known")
        return [(socket.AF_INET, None, None, "", (address, 0)) for address in names[name]]

    def create_server(address, family):
        if address[0] not in own:
            raise OSError(errno.EADDRNOTAVAIL, "not its own")
        return contextlib.nullcontext()

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(socket, "create_server", create_server)
    monkeypatch.setattr(jax.distributed, "initialize", given.update)
    arguments = {"coordinator_address": coordinator, "num_processes": 2, "process_id": 1}
    distributed._initialize(arguments, 100, 300)
    assert {**arguments, "coordinator_bind_address": bound}.items() <= given.items()


def test_join_refuses_an_address_that_is_not_this_hosts():
    with pytest.raises(InputError, match=r"--coordinator=192.0.2.1:1234 is nothing that process 0 can listen at"):
        distributed._require_free("192.0.2.1:1234", "192.0.2.1:1234")


@pytest.mark.parametrize("killed", [0, 1])
def test_join_ends_a_process_when_another_is_killed(tmp_path, killed):
    with workers(tmp_path, "work") as processes:
        for process in processes:
            wait_for(process, "met")
        processes[killed].kill()
        wait(processes)
        assert_lost(processes[1 - killed], 1 - killed)


@pytest.mark.slow
@pytest.mark.parametrize("silent", [0, 1])
def test_join_ends_a_process_when_another_sends_no_heartbeats(tmp_path, silent):
    with workers(tmp_path, "work", "--heartbeat_timeout=10") as processes:
        for process in processes:
            wait_for(process, "met")
        processes[silent].send_signal(signal.SIGSTOP)
        # The timeout, the time in which the service says so, and that of a busy machine.
        processes[1 - silent].wait(timeout=60)
        assert_lost(processes[1 - silent], 1 - silent)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("input", "this disk is full."),
        (
            "system",
            "No space left on device, on writing to the work directory or stdout; start all processes again once that "
            "is put right.",
        ),
        ("fault", "ZeroDivisionError, as told above; the other processes end too."),
    ],
)
def test_join_says_an_error_of_one_process_and_ends_the_other(tmp_path, error, message):
    with workers(tmp_path, "fail_alone", error) as processes:
        assert wait(processes)[1] == 1
        *trace, line = errors(processes)[1].splitlines()
        assert line == f"error: process 1: {message}"
        assert ("ZeroDivisionError: a bug" in trace) == (error == "fault") == bool(trace)
        assert_lost(processes[0], 0)


def test_join_says_an_error_of_all_processes_once(tmp_path):
    with workers(tmp_path, "fail_together") as processes:
        assert wait(processes) == [1, 1]
    assert errors(processes) == ["error: the images are too small.\n", ""]


def test_graceful_shutdown_stops_all_processes_at_the_same_poll(tmp_path):
    with workers(tmp_path, "stop_together") as processes:
        for process in processes:
            wait_for(process, "met")
        processes[1].send_signal(signal.SIGTERM)
        assert wait(processes) == [128 + signal.SIGTERM] * 2
    for process in processes:
        stopped = said(process)[-1]
        assert stopped["signal"] == signal.SIGTERM
        assert stopped["same"] == [stopped["count"]] * 2
    assert errors(processes) == ["", ""]


@pytest.mark.slow
def test_join_refuses_processes_with_different_numbers_of_devices(tmp_path):
    with workers(tmp_path, "agree", devices=(2, 1)) as processes:
        assert wait(processes) == [1, 1]
    assert errors(processes) == ["error: process 1 has 1 devices and process 0 has 2; give each process as many.\n", ""]


@pytest.mark.slow
@pytest.mark.parametrize("index", [0, 1])
def test_join_ends_a_process_that_stays_alone(tmp_path, index):
    command = [WORKER, "agree", *flags(2, index, free_port()), "--initialization_timeout=5"]
    with started([command], [environment(1)], tmp_path) as processes:
        assert wait(processes) != [0]
        assert said(processes[0]) == []
    assert "DEADLINE_EXCEEDED" in errors(processes)[0]


@pytest.mark.slow
def test_join_names_a_port_that_is_taken(tmp_path):
    with socket.socket(socket.AF_INET6) as listener:
        listener.bind(("::", 0))
        listener.listen()
        command = [WORKER, "agree", *flags(2, 0, listener.getsockname()[1])]
        with started([command], [environment(1)], tmp_path) as processes:
            assert wait(processes) == [1]
    (text,) = errors(processes)
    assert text.startswith("error: --coordinator=127.0.0.1:")
    assert text.endswith(
        " is nothing that process 0 can listen at (Address already in use); choose another port, or the address of its "
        "own host.\n"
    )
    assert text.count("\n") == 1


@pytest.mark.ci
@pytest.mark.parametrize(
    "marks",
    [SLURM, pytest.param(OPEN_MPI, marks=pytest.mark.slow)],
    ids=["SLURM", "Open MPI"],
)
def test_join_finds_the_processes_of_a_launcher(tmp_path, marks):
    env = environment(1, JAX_COORDINATOR_PORT=str(free_port()), **marks)
    ranks = ("SLURM_PROCID", "SLURM_LOCALID", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK")
    environments = [{**env, **{name: str(index) for name in ranks if name in marks}} for index in range(2)]
    with started([[WORKER, "agree"]] * 2, environments, tmp_path) as processes:
        assert wait(processes) == [0, 0], errors(processes)
    assert [said(process)[0]["share"] for process in processes] == [[0, 2], [1, 2]]


def find(coordinator="", num_processes=None, process_id=None, **environ):
    return distributed._initialize_arguments(coordinator, num_processes, process_id, environ)


def test_join_is_for_processes_that_a_launcher_or_flags_make_several(monkeypatch):
    job = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "2"}
    libtpu = [None]
    monkeypatch.setattr(distributed.importlib.util, "find_spec", lambda name: libtpu[0])
    found = dict.fromkeys(("coordinator_address", "num_processes", "process_id"))
    for environ in (SLURM, OPEN_MPI, job):
        assert find(**environ) == found
        assert find(num_processes=1, **environ) is None
    assert find(num_processes=1, process_id=0, coordinator="here:1") is None
    assert find() is None
    assert find(**{**SLURM, "SLURM_STEP_NUM_TASKS": "1"}) is None
    assert find(**{name: value for name, value in SLURM.items() if "STEP" not in name}) is None, "no srun"
    assert find(**{**OPEN_MPI, "OMPI_COMM_WORLD_SIZE": "1"}) is None
    assert find(KUBERNETES_SERVICE_HOST="10.0.0.1") is None, "a pod of no indexed job"
    assert find(TPU_WORKER_HOSTNAMES="a,b") is None, "no libtpu"
    libtpu[0] = object()
    assert find(TPU_SKIP_MDS_QUERY="1") is None, "no TPU"
    assert find(TPU_WORKER_HOSTNAMES="localhost") is None
    assert find() == find(TPU_WORKER_HOSTNAMES="a,b") == found
    assert find(TPU_WORKER_HOSTNAMES="a", MEGASCALE_NUM_SLICES="2") == found


def test_join_asks_nothing_of_jax_for_a_single_process(monkeypatch):
    for name in (*SLURM, *OPEN_MPI, "JOB_COMPLETION_INDEX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(jax.distributed, "initialize", pytest.fail)
    with distributed.join():
        assert not several()
        assert is_first()
        assert all_devices() == jax.local_devices()


def test_join_takes_flags_before_the_launcher():
    given = {"coordinator_address": "a:1", "num_processes": 4, "process_id": 3}
    assert find("a:1", 4, 3, **SLURM) == {**given, "cluster_detection_method": "deactivate"}
    assert find("a:1", **SLURM) == {"coordinator_address": "a:1", "num_processes": None, "process_id": None}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"coordinator": "a:1"}, "Number of processes must be defined."),
        ({"num_processes": 2, "process_id": 0}, "coordinator_address should be defined."),
        ({"coordinator": "a:1", "num_processes": 2}, "The process id of the current process must be defined."),
    ],
)
def test_join_asks_for_the_flags_that_no_launcher_gives(monkeypatch, arguments, reason):
    for name in (*SLURM, *OPEN_MPI, "JAX_COORDINATOR_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    # JAX refuses to look at all once it has computed something, as the tests before this one have.
    monkeypatch.setattr("jax._src.xla_bridge.backends_are_initialized", lambda: False)
    with pytest.raises(InputError) as caught, distributed.join(**arguments):
        pass
    assert f"cannot be joined ({reason}); give --coordinator" in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"coordinator": "a", "num_processes": 2, "process_id": 0}, "--coordinator=a must be HOST:PORT"),
        ({"coordinator": "a:x"}, "--coordinator=a:x must be HOST:PORT"),
        ({"coordinator": "a:70000"}, "must be HOST:PORT"),
        ({"num_processes": 2, "process_id": 2}, "--process_id=2 must be below --num_processes=2"),
        ({"num_processes": 1, "process_id": 1}, "--process_id=1 must be below --num_processes=1"),
    ],
)
def test_join_refuses_flags_that_make_no_sense(arguments, message):
    with pytest.raises(InputError, match=message):
        find(**arguments)


def test_all_devices_names_the_platform_where_jax_asserts_that_it_has_devices(monkeypatch):
    def local_devices():
        raise AssertionError

    monkeypatch.setattr(jax, "local_devices", local_devices)
    with pytest.raises(InputError, match=r"^JAX_PLATFORMS=cpu gives no devices \(it is not installed\); unset it"):
        all_devices()


def test_collectives_of_one_process_give_its_own_values():
    value = {"a": np.arange(3)}
    assert collectives.gather(value)[0] is value
    assert collectives.from_first(value) is value
    assert collectives.broadcast(value) is value
    collectives.require_same({"size": 8})
    with pytest.raises(InputError, match="^as it is$"), collectives.raise_on_all_processes():
        raise InputError("as it is")


def test_join_names_a_platform_without_devices_in_every_process(tmp_path):
    port = free_port()
    commands = [["-m", "segnet_jax.main", f"--workdir={tmp_path / 'run'}", *flags(2, i, port)] for i in range(2)]
    with started(commands, [environment(1, JAX_PLATFORMS="abacus")] * 2, tmp_path) as processes:
        assert wait(processes) == [1, 1]
        for text in errors(processes):
            assert text.count("\n") == 1
            assert text.startswith("error: JAX_PLATFORMS=abacus gives no devices (")
