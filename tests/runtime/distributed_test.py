"""Tests for segnet_jax/runtime/distributed.py and collectives.py, in processes of their own on this machine."""

import contextlib
import json
import signal
import socket

import jax
import numpy as np
import pytest

from segnet_jax.errors import InputError
from segnet_jax.runtime import collectives, distributed
from segnet_jax.runtime.processes import all_devices, is_first, several
from tests.helpers.launching import complete_error, environment, flags, free_port, started, wait, wait_for
from tests.helpers.paths import ROOT

WORKER = str(ROOT / "tests" / "process_worker.py")
SLURM = {
    "SLURM_JOB_ID": "1234",
    "SLURM_STEP_NODELIST": "127.0.0.1",
    "SLURM_NTASKS": "2",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "1",
}
OPEN_MPI = {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_LOCAL_RANK": "1"}
LOST = (
    "has ended or cannot be reached; start all processes again, and a training run goes on from its newest checkpoint."
)


@contextlib.contextmanager
def workers(tmp_path, function, *arguments, devices=(2, 2)):
    port = free_port()
    commands = [[WORKER, function, *flags(2, index, port), *arguments] for index in range(2)]
    with started(commands, [environment(count) for count in devices], tmp_path) as processes:
        yield processes


def said(process):
    return [json.loads(line) for line in process.out.read_text().splitlines()]


def test_two_processes_agree_and_share_a_batch(tmp_path):
    with workers(tmp_path, "agree") as processes:
        assert wait(processes) == [0, 0], [complete_error(process) for process in processes]
    (first,), (second,) = said(processes[0]), said(processes[1])
    assert [process.err.read_text() for process in processes] == ["", ""]
    assert (first["share"], second["share"]) == ([0, 2], [1, 2])
    alike = {key: value for key, value in first.items() if key != "share"}
    assert alike == {key: value for key, value in second.items() if key != "share"}
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


@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_process_ends_the_other_with_a_sentence(tmp_path, killed):
    with workers(tmp_path, "work") as processes:
        for process in processes:
            wait_for(process, "met")
        processes[killed].kill()
        other = processes[1 - killed]
        assert wait(processes)[1 - killed] != 0
        text = complete_error(other)
    assert text.startswith(f"error: process {1 - killed}: ")
    assert text.endswith(f" of this run {LOST}\n")
    assert text.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("silent", [0, 1])
def test_a_process_that_gives_no_sign_of_life_ends_the_other_within_the_timeout(tmp_path, silent):
    with workers(tmp_path, "work", "--heartbeat_timeout=10") as processes:
        for process in processes:
            wait_for(process, "met")
        processes[silent].send_signal(signal.SIGSTOP)
        assert processes[1 - silent].wait(timeout=300) != 0
        text = complete_error(processes[1 - silent])
    assert text == f"error: process {1 - silent}: process {silent} of this run {LOST}\n"


@pytest.mark.slow
def test_an_error_in_one_process_is_told_by_it_and_ends_the_other(tmp_path):
    with workers(tmp_path, "fail_alone") as processes:
        assert wait(processes)[1] == 1
        assert processes[0].returncode != 0
        texts = [complete_error(process) for process in processes]
    assert texts[1] == "error: process 1: this disk is full.\n"
    assert texts[0].startswith("error: process 0: ")
    assert texts[0].endswith(f" of this run {LOST}\n")
    assert texts[0].count("\n") == 1


@pytest.mark.slow
def test_what_the_system_refuses_one_process_is_told_in_a_line(tmp_path):
    with workers(tmp_path, "run_out_of_room") as processes:
        assert wait(processes)[1] == 1
        text = complete_error(processes[1])
    assert text == (
        "error: process 1: No space left on device, on writing to the work directory or stdout; start all processes "
        "again once that is put right.\n"
    )


@pytest.mark.slow
def test_a_fault_of_the_program_in_one_process_keeps_its_traceback(tmp_path):
    with workers(tmp_path, "break_down") as processes:
        assert wait(processes)[1] == 1
        texts = [complete_error(process) for process in processes]
    assert "Traceback" in texts[1]
    assert "ZeroDivisionError: a bug" in texts[1]
    assert texts[1].splitlines()[-1].startswith("error: process 1: ")
    assert texts[0].count("\n") == 1


def test_an_error_that_all_processes_have_is_told_once(tmp_path):
    with workers(tmp_path, "fail_together") as processes:
        assert wait(processes) == [1, 1]
        texts = [complete_error(processes[0]), processes[1].err.read_text()]
    assert texts == ["error: the images are too small.\n", ""]


def test_a_signal_to_one_process_stops_both_at_the_same_place(tmp_path):
    with workers(tmp_path, "stop_together") as processes:
        for process in processes:
            wait_for(process, "met")
        processes[1].send_signal(signal.SIGTERM)
        assert wait(processes) == [128 + signal.SIGTERM] * 2
    for process in processes:
        stopped = said(process)[-1]
        assert stopped["signal"] == signal.SIGTERM
        assert stopped["same"] == [stopped["count"]] * 2
        assert process.err.read_text() == ""


@pytest.mark.slow
def test_processes_with_different_numbers_of_devices_are_refused(tmp_path):
    with workers(tmp_path, "agree", devices=(2, 1)) as processes:
        assert wait(processes) == [1, 1]
        texts = [complete_error(processes[0]), processes[1].err.read_text()]
    assert texts == ["error: process 1 has 1 devices and process 0 has 2; give each process as many.\n", ""]


@pytest.mark.slow
@pytest.mark.parametrize("index", [0, 1])
def test_a_process_that_stays_alone_says_so(tmp_path, index):
    command = [WORKER, "agree", *flags(2, index, free_port()), "--initialization_timeout=5"]
    with started([command], [environment(1)], tmp_path) as processes:
        assert wait(processes) != [0]
        text = complete_error(processes[0])
    assert text.startswith(f"error: process {index}: the processes of this run did not all arrive in time; ")
    assert text.count("\n") == 1


@pytest.mark.slow
def test_a_port_that_is_taken_is_said(tmp_path):
    with socket.socket(socket.AF_INET6) as listener:
        listener.bind(("::", 0))
        listener.listen()
        command = [WORKER, "agree", *flags(2, 0, listener.getsockname()[1])]
        with started([command], [environment(1)], tmp_path) as processes:
            assert wait(processes) == [1]
            text = complete_error(processes[0])
    assert text.startswith("error: --coordinator=127.0.0.1:")
    assert text.endswith(" has a port that process 0 cannot use (Address already in use); choose another.\n")
    assert text.count("\n") == 1


@pytest.mark.parametrize(
    "marks",
    [
        [{**SLURM, "SLURM_PROCID": str(index), "SLURM_LOCALID": str(index)} for index in range(2)],
        pytest.param(
            [
                {
                    "OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://127.0.0.1:34911",
                    "OMPI_COMM_WORLD_SIZE": "2",
                    "OMPI_COMM_WORLD_RANK": str(index),
                    "OMPI_COMM_WORLD_LOCAL_RANK": str(index),
                }
                for index in range(2)
            ],
            marks=pytest.mark.slow,
        ),
    ],
    ids=["SLURM", "Open MPI"],
)
def test_launchers_are_recognised(tmp_path, marks):
    environments = [environment(1, JAX_COORDINATOR_PORT=str(free_port())) for _ in range(2)]
    environments[1] = environments[0]
    environments = [{**env, **mark} for env, mark in zip(environments, marks, strict=True)]
    with started([[WORKER, "agree"]] * 2, environments, tmp_path) as processes:
        assert wait(processes) == [0, 0], [complete_error(process) for process in processes]
    assert [said(process)[0]["share"] for process in processes] == [[0, 2], [1, 2]]


def find(coordinator="", num_processes=None, process_id=None, **environ):
    return distributed.find_arguments(coordinator, num_processes, process_id, environ)


def test_nothing_is_joined_where_nothing_asks_for_it(monkeypatch):
    assert find() is None
    assert find(num_processes=1, **SLURM) is None
    assert find(num_processes=1, process_id=0, coordinator="here:1") is None
    assert find(**{**SLURM, "SLURM_NTASKS": "1"}) is None
    assert find(**{name: value for name, value in SLURM.items() if name != "SLURM_STEP_NODELIST"}) is None, "no srun"
    assert find(OMPI_COMM_WORLD_SIZE="1") is None
    assert find(KUBERNETES_SERVICE_HOST="10.0.0.1") is None, "a pod that is no job"
    assert find(JAX_COORDINATOR_ADDRESS="here:1") is None
    monkeypatch.setattr(jax.distributed, "initialize", pytest.fail)
    with distributed.join():
        assert not several()
        assert is_first()
        assert all_devices() == jax.local_devices()


def test_flags_go_before_what_a_launcher_says():
    given = {"coordinator_address": "a:1", "num_processes": 4, "process_id": 3}
    assert find("a:1", 4, 3, **SLURM) == {**given, "cluster_detection_method": "deactivate"}
    assert find("a:1", **SLURM) == {"coordinator_address": "a:1", "num_processes": None, "process_id": None}
    assert find(**SLURM) == {"coordinator_address": None, "num_processes": None, "process_id": None}
    assert find(num_processes=4, process_id=3, JAX_COORDINATOR_ADDRESS="a:1") == find("a:1", 4, 3)


def test_open_mpi_5_is_understood_without_the_mark_that_jax_looks_for():
    arguments = find(**OPEN_MPI, OMPI_COMM_WORLD_LOCAL_SIZE="4", PMIX_NAMESPACE="prterun-node1-77@1")
    host, port = arguments.pop("coordinator_address").split(":")
    assert host == "localhost"
    assert 61440 <= int(port) < 65536
    assert arguments == {
        "num_processes": 4,
        "process_id": 3,
        "local_device_ids": [1],
        "cluster_detection_method": "deactivate",
    }
    with pytest.raises(InputError, match="give --coordinator=HOST:PORT"):
        find(**OPEN_MPI, OMPI_COMM_WORLD_LOCAL_SIZE="2")
    given = find("node1:77", **OPEN_MPI, OMPI_COMM_WORLD_LOCAL_SIZE="2")
    assert (given["coordinator_address"], given["process_id"], given["local_device_ids"]) == ("node1:77", 3, [1])


def test_tpu_pods_and_kubernetes_are_recognised(monkeypatch):
    job = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "2"}
    there = {"libtpu": False, "kubernetes": False}
    monkeypatch.setattr(distributed.importlib.util, "find_spec", lambda name: there[name] or None)
    with pytest.raises(InputError, match=r"jax\[k8s\].*--process_id=\$JOB_COMPLETION_INDEX"):
        find(**job)
    assert find("a:1", 4, 2, **job)["process_id"] == 2
    there["kubernetes"] = True
    assert find(**job) == dict.fromkeys(("coordinator_address", "num_processes", "process_id"))
    there["libtpu"] = True
    assert distributed.launcher({}) == "TPU"
    assert distributed.launcher({"TPU_SKIP_MDS_QUERY": "1"}) == ""
    assert distributed.launcher({"TPU_WORKER_HOSTNAMES": "a,b"}) == "TPU"
    assert distributed.launcher({"TPU_WORKER_HOSTNAMES": "localhost"}) == ""
    assert distributed.launcher({"TPU_WORKER_HOSTNAMES": "a", "MEGASCALE_NUM_SLICES": "2"}) == "TPU"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"coordinator": "a:1"}, "--num_processes and --process_id must be given too"),
        ({"num_processes": 2}, "--coordinator and --process_id must be given too"),
        ({"coordinator": "a:1", "num_processes": 2}, "--process_id must be given too"),
        ({"coordinator": "a", "num_processes": 2, "process_id": 0}, "--coordinator=a must be HOST:PORT"),
        ({"coordinator": "a:x"}, "--coordinator=a:x must be HOST:PORT"),
        ({"coordinator": "a:70000"}, "must be HOST:PORT"),
        ({"num_processes": 0}, "--num_processes=0 must be at least 1"),
        ({"num_processes": 2, "process_id": 2}, "--process_id=2 must be at least 0 and below --num_processes=2"),
        ({"process_id": -1}, "--process_id=-1 must be at least 0"),
        ({"num_processes": 1, "process_id": 1}, "--process_id=1 must be at least 0 and below"),
    ],
)
def test_flags_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        find(**arguments)


def test_one_process_agrees_with_itself_at_no_cost():
    value = {"a": np.arange(3)}
    assert collectives.gather(value)[0] is value
    assert collectives.from_first(value) is value
    assert collectives.broadcast(value) is value
    collectives.require_same({"size": 8})
    with pytest.raises(InputError, match="^as it is$"), collectives.raise_on_all_processes():
        raise InputError("as it is")
