"""Damaged checkpoints, as the command line meets them."""

import shutil

import pytest

from tests.helpers.damage import array_file, flip_bit, truncate
from tests.helpers.program import TINY, TOTAL_STEPS, Program, differences, resumed_step, steps_in


@pytest.mark.ci
def test_train_resumes_the_checkpoint_before_a_damaged_one_to_a_bit_identical_end(environment, undisturbed, tmp_path):
    before, newest = steps_in(undisturbed)[-2:]
    assert newest == TOTAL_STEPS
    workdir = shutil.copytree(undisturbed, tmp_path / "run")
    flip_bit(array_file(workdir / "checkpoints" / str(newest)))
    with Program([*TINY, f"--workdir={workdir}"], environment, tmp_path / "log") as program:
        assert program.end() == 0, program.output
        (line,) = [line for line in program.output.splitlines() if "damaged" in line]
        assert line.startswith(f"{workdir / 'checkpoints'}: the checkpoint of step {newest} is damaged (")
        assert line.endswith("); trying the one before it")
        assert resumed_step(program.output) == before
        assert "Traceback" not in program.output
    assert differences(workdir, undisturbed) == []


@pytest.mark.ci
def test_train_removes_nothing_where_every_checkpoint_is_damaged(environment, undisturbed, tmp_path):
    workdir = shutil.copytree(undisturbed, tmp_path / "run")
    steps = steps_in(workdir)
    for step in steps:
        truncate(array_file(workdir / "checkpoints" / str(step)))
    with Program([*TINY, f"--workdir={workdir}"], environment, tmp_path / "log") as program:
        assert program.end() == 1
        (line,) = [line for line in program.output.splitlines() if line.startswith("error: ")]
        assert "every checkpoint is damaged (" in line
        assert line.endswith("; bring back a copy of one, or train in another directory")
        assert "Traceback" not in program.output
    assert steps_in(workdir) == steps
