"""Runs that are killed or asked to stop, and go on to the same end."""

import signal

import numpy as np
import pytest

from tests.helpers.program import TINY, Program, differences, is_saving, resumed_step, steps_in


@pytest.mark.ci
def test_train_killed_at_any_moment_and_resumed_ends_bit_identical(environment, undisturbed, tmp_path):
    workdir = tmp_path / "run"
    arguments = [*TINY, f"--workdir={workdir}"]
    step = int(np.random.default_rng(0).integers(5, 15))
    newest = 0
    # In a step or an evaluation, in a save, and in the first moments of the run that resumes.
    for moment in ("step", "save", "start"):
        with Program(arguments, environment, tmp_path / "log") as program:
            if moment == "save":
                program.pause_in_save(workdir)
            elif moment == "step":
                program.wait_until(lambda: program.step >= step)
            else:
                program.wait_until(lambda: resumed_step(program.output) is not None)
            program.send(signal.SIGKILL)
            assert program.end() == -signal.SIGKILL, f"too late to test anything:\n{program.output}"
            assert newest == (resumed_step(program.output) or 0)
        newest = max(steps_in(workdir), default=0)
        assert is_saving(workdir) or moment != "save"
    with Program(arguments, environment, tmp_path / "log") as program:
        assert program.end() == 0, program.output
        assert resumed_step(program.output) == newest
    assert differences(workdir, undisturbed) == []
    assert not is_saving(workdir), "what the killed save left is gone"

    report = workdir / "eval" / "val-40.json"
    before = report.read_text()
    report.unlink()
    with Program(
        ["--mode=eval", f"--workdir={workdir}", "--config.eval.checkpoint=40"], environment, tmp_path / "log"
    ) as program:
        assert program.end() == 0, program.output
        assert "Step 40 on synthetic (val):" in program.output
    assert report.read_text() == before


@pytest.mark.slow
def test_train_stopped_in_a_step_in_a_save_and_twice_ends_bit_identical(environment, undisturbed, tmp_path):
    workdir = tmp_path / "run"
    arguments = [*TINY, f"--workdir={workdir}"]
    saved = 0
    for moment in ("step", "save", "twice"):
        with Program(arguments, environment, tmp_path / "log") as program:
            if moment == "save":
                program.pause_in_save(workdir)
            else:
                program.pause_in_step(saved + 2, workdir)
            taken = program.step
            program.send(signal.SIGTERM)
            program.send(signal.SIGCONT)
            if moment == "twice":
                program.wait_until(lambda: "Stopping after this step" in program.output)
                program.pause_in_save(workdir)
                program.send(signal.SIGTERM)
                program.send(signal.SIGCONT)
            assert program.end() == 128 + signal.SIGTERM, program.output
            assert resumed_step(program.output) == (saved or None)
            assert "Traceback" not in program.output
            (line,) = [line for line in program.output.splitlines() if line.startswith("Stopped by a signal")]
        saved = max(steps_in(workdir))
        assert line == f"Stopped by a signal; step {saved} is saved. The same command resumes the run."
        assert taken <= saved <= taken + 2, "the step under way is the last one"
        assert not is_saving(workdir)
    # Ctrl-C twice: it leaves at once, and what it was about to save may or may not be there.
    with Program(arguments, environment, tmp_path / "log") as program:
        program.pause_in_step(saved + 2, workdir)
        program.send(signal.SIGINT)
        program.send(signal.SIGCONT)
        program.wait_until(lambda: "Stopping after this step" in program.output)
        program.pause_in_save(workdir)
        program.send(signal.SIGINT)
        program.send(signal.SIGCONT)
        assert program.end() == 128 + signal.SIGINT, program.output
        assert "Traceback" not in program.output
        assert "error: interrupted at once" in program.output or "Stopped by a signal" in program.output
    assert max(steps_in(workdir)) >= saved
    saved = max(steps_in(workdir))
    with Program(arguments, environment, tmp_path / "log") as program:
        assert program.end() == 0, program.output
        assert resumed_step(program.output) == saved
    assert differences(workdir, undisturbed) == []
