"""A disk that runs full, and the run that goes on once there is room."""

import resource
import signal
import subprocess
import sys

import pytest

from segnet_jax.config import default_config
from segnet_jax.errors import InputError
from segnet_jax.training.workdir import claimed
from tests.helpers.program import TINY, Program, differences, resumed_step, steps_in


@pytest.mark.slow
def test_train_ends_on_a_full_disk_with_a_message_and_loses_no_checkpoint(environment, undisturbed, tmp_path):
    workdir = tmp_path / "run"
    arguments = [*TINY, f"--workdir={workdir}"]
    with Program(arguments, environment, tmp_path / "log") as program:
        program.pause_in_step(9, workdir)
        before = steps_in(workdir)
        # As on a full disk, no file grows beyond this size, which is too little for a checkpoint.
        resource.prlimit(program.pid, resource.RLIMIT_FSIZE, (30_000, resource.RLIM_INFINITY))
        program.send(signal.SIGCONT)
        assert program.end() == 1, program.output
        assert "Traceback" not in program.output
        (line,) = [line for line in program.output.splitlines() if line.startswith("error: ")]
    assert line.startswith(f"error: {workdir}/checkpoints: a checkpoint could not be written (")
    assert "File too large" in line
    assert line.endswith("; free space there or make it writable, and resume: the finished checkpoints are intact")
    assert steps_in(workdir) == before
    with Program(arguments, environment, tmp_path / "log") as program:
        assert program.end() == 0, program.output
        assert resumed_step(program.output) == before[-1]
    assert differences(workdir, undisturbed) == []


def test_main_says_that_its_output_cannot_be_written(environment, tmp_path):
    arguments = [sys.executable, "-m", "segnet_jax.main", *TINY, f"--workdir={tmp_path / 'run'}"]
    with open("/dev/full", "w") as full:
        result = subprocess.run(arguments, env=environment, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert result.returncode == 1
    message = (
        f"error: No space left on device, on writing to {tmp_path / 'run'} or stdout; "
        "give the same command again once that is put right.\n"
    )
    assert result.stderr == message


def test_claimed_names_a_work_directory_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    workdir = tmp_path / "file" / "run"
    expected = pytest.raises(InputError, match=f"^{workdir} cannot be written .Not a directory")
    with expected, claimed(workdir, default_config()):
        pass
