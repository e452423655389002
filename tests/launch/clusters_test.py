"""Tests for launch/slurm.sbatch and launch/tpu-pod.sh, with stand-ins for the programs of the clusters.

tests/slurm/run.sh tries slurm.sbatch on a real SLURM.
"""

import os
import re
import signal
import subprocess

import pytest

from tests.helpers.launching import PATIENCE, make_program, run_script, wait_until
from tests.helpers.paths import ROOT

SLURM = ROOT / "launch" / "slurm.sbatch"
TPU = ROOT / "launch" / "tpu-pod.sh"


@pytest.fixture
def slurm(tmp_path):
    """The environment of a batch script in a job of two tasks, and the file in which the commands note their calls."""
    calls = tmp_path / "calls"
    calls.touch()
    make_program(tmp_path / "bin", "srun", 'echo "srun $*" >>"$CALLS"; exit "${STATUS-0}"')
    make_program(tmp_path / "bin", "squeue", 'echo "${STATE-RUNNING}"')
    make_program(tmp_path / "bin", "scontrol", 'echo "scontrol $*" >>"$CALLS"')
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SRUN_", "PYTHON"))}
    job = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_JOB_NODELIST": "node[1-2]"}
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return {**kept, **job, "PATH": path, "CALLS": str(calls)}, calls


def batch(*arguments, env):
    return run_script("bash", SLURM, *arguments, env=env)


@pytest.mark.parametrize(
    ("arguments", "python", "expected"),
    [
        (["--config=a.py", "--workdir=runs/x"], "python", "--config=a.py --workdir=runs/x"),
        ([], "/opt/python", "--config=configs/synthetic.py --workdir=runs/slurm"),
    ],
)
def test_slurm_script_runs_the_program_with_its_arguments(slurm, arguments, python, expected):
    environment, calls = slurm
    result = batch(*arguments, env={**environment, "PYTHON": python})
    assert (result.returncode, result.stdout) == (0, "Job 7, start 1: 2 processes on node[1-2].\n")
    (call,) = calls.read_text().splitlines()
    assert call.startswith("srun ")
    assert call.endswith(f" {python} -m segnet_jax.main {expected}")


@pytest.mark.parametrize(
    ("status", "more", "is_requeued"),
    [
        (143, {}, True),
        (143, {"STATE": "CANCELLED"}, False),
        (143, {"STATE": "COMPLETING"}, False),
        (143, {"SLURM_RESTART_COUNT": "99"}, True),
        (143, {"SLURM_RESTART_COUNT": "100"}, False),
        (143, {"SLURM_RESTART_COUNT": "2", "MAX_REQUEUES": "2"}, False),
        (0, {}, False),
        (1, {}, False),
        (137, {}, False),
    ],
)
def test_slurm_script_requeues_a_job_that_was_stopped(slurm, status, more, is_requeued):
    environment, calls = slurm
    result = batch("--workdir=x", env={**environment, "STATUS": str(status), **more})
    assert ("scontrol requeue 7" in calls.read_text().splitlines()) == is_requeued
    assert result.returncode == (2 if "has been requeued" in result.stderr else status)


@pytest.mark.parametrize(("tasks", "gpus", "is_refused"), [(2, 3, True), (2, 2, False), (1, 8, False), (8, 2, True)])
def test_slurm_script_refuses_tasks_that_cannot_share_the_gpus(slurm, tasks, gpus, is_refused):
    environment, calls = slurm
    more = {"SLURM_NTASKS_PER_NODE": str(tasks), "SLURM_GPUS_ON_NODE": str(gpus)}
    result = batch("--workdir=x", env={**environment, **more})
    assert result.returncode == (2 if is_refused else 0)
    assert ("cannot share" in result.stderr) == is_refused
    assert bool(calls.read_text()) != is_refused


def test_slurm_script_outside_a_job_says_how_to_submit_it(slurm):
    environment = {name: value for name, value in slurm[0].items() if name != "SLURM_JOB_ID"}
    result = batch("--workdir=x", env=environment)
    assert result.returncode == 2
    assert result.stderr == "launch/slurm.sbatch: this is a batch script; submit it with sbatch launch/slurm.sbatch.\n"


# Stands for gcloud: $TPU_DIR/state is the slice's state; $RUNS says what each run of the program does: an exit status,
# "preempted", or "wait" until the command that stops it comes.
GCLOUD = r"""
shift 3 # compute tpus tpu-vm
verb=$1
echo "$*" | tr '\n' ' ' >>"$TPU_DIR/calls"; echo >>"$TPU_DIR/calls"
case $verb in
  list) cat "$TPU_DIR/state" ;;
  create) echo READY >"$TPU_DIR/state" ;;
  delete) : >"$TPU_DIR/state" ;;
  ssh)
    if [[ $* == *segnet_jax.main* ]]; then
      echo run >>"$TPU_DIR/runs"
      read -ra plans <<<"$RUNS"
      todo=${plans[$(wc -l <"$TPU_DIR/runs") - 1]}
      case $todo in
        preempted) echo PREEMPTED >"$TPU_DIR/state"; exit 255 ;;
        wait) until [[ -e $TPU_DIR/stop ]]; do sleep 0.05; done; exit 143 ;;
        *) exit "$todo" ;;
      esac
    elif [[ $* == *'kill -TERM'* ]]; then
      touch "$TPU_DIR/stop"
    fi
    ;;
esac
"""
TPU_FLAGS = ["--name=trial", "--zone=us-west4-a", "--nfs=10.0.0.2:/share"]
_ONCE = ["create", "scp", "ssh", "run"]
PROGRAM_FLAGS = ["--config=configs/synthetic.py", "--workdir=/mnt/segnet/runs/a b"]


@pytest.fixture
def tpu(tmp_path):
    """The environment with the gcloud that stands for the real one, and the folder of its state; no slice exists."""
    make_program(tmp_path / "bin", "gcloud", GCLOUD)
    (tmp_path / "state").touch()
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "TPU_DIR": str(tmp_path), "POLL_SECONDS": "0", "RUNS": "0"}, tmp_path


def pod(*arguments, env):
    return run_script(TPU, *arguments, env=env)


def verbs(folder):
    """The calls but for questions about the state, by their verbs; a run of the program is "run"."""
    calls = (folder / "calls").read_text().splitlines()
    names = ["run" if "segnet_jax.main" in call else call.split()[0] for call in calls]
    return [name for name in names if name != "list"]


def test_tpu_script_creates_prepares_and_uses_a_slice(tpu):
    environment, folder = tpu
    result = pod(*TPU_FLAGS, "--spot", "--type=v5litepod-64", *PROGRAM_FLAGS, env=environment)
    assert result.returncode == 0, result.stderr
    assert verbs(folder) == _ONCE
    calls = (folder / "calls").read_text()
    assert "create trial --zone=us-west4-a --quiet --accelerator-type=v5litepod-64" in calls
    assert "--spot" in calls
    assert re.search(r"^scp /\S+/segnet_jax\.tar\.gz trial: --zone=us-west4-a .*--worker=all", calls, re.MULTILINE)
    assert "mount -t nfs 10.0.0.2:/share /mnt/segnet" in calls
    run = next(line for line in calls.splitlines() if "segnet_jax.main" in line)
    assert "--worker=all" in run
    # What a shell on the host makes of it is what was given here.
    assert run.rstrip().endswith(r"-m segnet_jax.main --config=configs/synthetic.py --workdir=/mnt/segnet/runs/a\ b")


@pytest.mark.parametrize(
    ("flags", "runs", "status", "expected"),
    [
        (["--delete"], "0", 0, [*_ONCE, "delete"]),
        (["--restarts=0"], "preempted preempted 0", 0, [*_ONCE, "delete", *_ONCE, "delete", *_ONCE]),
        ([], "1 0", 1, _ONCE),
        ([], "2 0", 2, _ONCE),
        ([], "137 0", 0, [*_ONCE, *_ONCE[1:]]),
        ([], "75 0", 0, [*_ONCE, *_ONCE[1:]]),
        (["--restarts=2"], "255 255 255", 255, [*_ONCE, *_ONCE[1:], *_ONCE[1:]]),
    ],
)
def test_tpu_script_restarts_after_lost_processes_and_replaces_a_preempted_slice(tpu, flags, runs, status, expected):
    environment, folder = tpu
    result = pod(*TPU_FLAGS, *flags, *PROGRAM_FLAGS, env={**environment, "RUNS": runs})
    assert result.returncode == status, result.stderr
    assert verbs(folder) == expected


def test_tpu_script_keeps_an_existing_slice_and_asks_again_when_gcloud_does_not_answer(tpu):
    environment, folder = tpu
    (folder / "state").write_text("READY\n")
    once = '[[ $4 == list && ! -e $TPU_DIR/asked ]] && { touch "$TPU_DIR/asked"; exit 1; }\n'
    make_program(folder / "bin", "gcloud", once + GCLOUD)
    result = pod(*TPU_FLAGS, *PROGRAM_FLAGS, env=environment)
    assert result.returncode == 0, result.stderr
    assert "gcloud does not answer; trying again" in result.stderr
    assert verbs(folder) == ["scp", "ssh", "run"]


def test_tpu_script_passes_ctrl_c_to_the_hosts(tpu):
    environment, folder = tpu
    process = subprocess.Popen(
        [TPU, *TPU_FLAGS, *PROGRAM_FLAGS], env={**environment, "RUNS": "wait"}, stderr=subprocess.PIPE, text=True
    )
    wait_until((folder / "runs").exists)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 143
    assert "stopping the run" in said
    assert verbs(folder) == [*_ONCE, "ssh"]


def test_tpu_script_starts_and_stops_the_program_on_every_host(tpu):
    """Two folders stand for two hosts: the program starts there, where one was left behind, and is stopped."""
    environment, folder = tpu
    execute = """
shift 3
case $1 in
  list) echo READY ;;
  ssh)
    for argument in "$@"; do [[ $argument == --command=* ]] && command=${argument#*=}; done
    [[ $command == *"mount -t"* ]] && exit
    for host in a b; do (cd "$TPU_DIR/$host" && bash -c "$command") & hosts+=($!); done
    for host in "${hosts[@]}"; do wait $host || status=$?; done
    exit ${status-0}
    ;;
esac
"""
    make_program(folder / "bin", "gcloud", execute)
    for host in "ab":
        (folder / host / "segnet").mkdir(parents=True)
        (folder / host / "venv").mkdir()
        program = """
echo "$XDG_CACHE_HOME $*" >>started
trap 'echo stopped >>stopped; exit 143' TERM
while :; do sleep 0.05; done
"""
        make_program(folder / host / "venv" / "bin", "python", program)
    left_behind = subprocess.Popen(["sleep", "1000"])
    (folder / "a" / "segnet" / "pid").write_text(str(left_behind.pid))
    process = subprocess.Popen([TPU, *TPU_FLAGS, *PROGRAM_FLAGS], env=environment, stderr=subprocess.DEVNULL)
    # Reaped here, so that the host sees it go.
    assert left_behind.wait(PATIENCE) == -signal.SIGTERM
    started = [folder / host / "segnet" / "started" for host in "ab"]
    wait_until(lambda: all(path.exists() for path in started))
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 143
    for host in "ab":
        said = (folder / host / "segnet" / "started").read_text()
        assert said == f"/mnt/segnet/cache -m segnet_jax.main {' '.join(PROGRAM_FLAGS)}\n"
        assert (folder / host / "segnet" / "stopped").read_text() == "stopped\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--zone=us-west4-a", "--nfs=h:/s", "--workdir=x"], "--name= does not name a slice"),
        (["--name=Trial", *TPU_FLAGS[1:], "--workdir=x"], "--name=Trial does not name a slice"),
        (["--name=trial", "--zone=nowhere", "--nfs=h:/s", "--workdir=x"], "--zone=nowhere is not a zone"),
        (["--name=trial", "--zone=us-west4-a", "--workdir=x"], "--nfs= is not a network share"),
        (TPU_FLAGS, "there are no options for segnet_jax.main"),
        ([*TPU_FLAGS, "--restarts=x", "--workdir=x"], "--restarts=x is not a number"),
        ([*TPU_FLAGS, "--workdir=runs/x"], "--workdir=runs/x would be lost"),
    ],
)
def test_tpu_script_says_a_mistake_in_one_sentence(tpu, arguments, says):
    environment, folder = tpu
    result = pod(*arguments, env=environment)
    assert result.returncode == 2
    assert says in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (folder / "calls").exists()
