"""Tests for segnet_jax/checkpoint/manager.py: damaged checkpoints, saves that fail, killed processes."""

import inspect
import os
import random
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from segnet_jax.checkpoint.manager import Checkpoints, exists
from segnet_jax.errors import InputError
from tests.helpers.checkpoints import TEMPLATE, assert_same, make_state, save_steps
from tests.helpers.damage import array_file, flip_bit, truncate
from tests.helpers.paths import ROOT

# Damage.

DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "bit of an array": (lambda step: flip_bit(array_file(step)), "params/conv1_1/kernel does not match its checksum"),
    "truncated array": (lambda step: truncate(array_file(step)), "arrays cannot be read, .*not valid for value"),
    "empty array file": (lambda step: array_file(step).write_bytes(b""), "arrays cannot be read"),
    "missing array file": (lambda step: array_file(step).unlink(), "arrays cannot be read"),
    "bit of the manifest": (lambda step: flip_bit(step / "state/manifest.ocdbt"), "arrays cannot be read, .*CRC-32C"),
    "truncated manifest": (lambda step: truncate(step / "state/manifest.ocdbt"), "arrays cannot be read"),
    "missing manifest": (lambda step: (step / "state/manifest.ocdbt").unlink(), "arrays cannot be read"),
    "truncated tree": (lambda step: truncate(step / "state/_METADATA"), "arrays cannot be read"),
    "bit of the record": (lambda step: flip_bit(step / "record/metadata"), "record"),
    "changed record": (
        lambda step: (step / "record/metadata").write_text(
            (step / "record/metadata").read_text().replace('"mean_iou": 0.2', '"mean_iou": 0.9')
        ),
        "record does not match its checksum",
    ),
    "truncated record": (lambda step: truncate(step / "record/metadata"), "record is not readable"),
    "missing record": (lambda step: (step / "record/metadata").unlink(), "record is missing"),
    "missing commit marker": (lambda step: (step / "commit_success.txt").unlink(), "commit marker .* is missing"),
}


@pytest.fixture(scope="module")
def intact_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("intact")
    save_steps(directory, [20, 30], {20: 0.1, 30: 0.2})
    return directory


def test_checkpoints_restore_without_orbaxs_description_of_the_tree(tmp_path: Path, intact_directory: Path) -> None:
    shutil.copytree(intact_directory, tmp_path, dirs_exist_ok=True)
    (tmp_path / "30/state/_METADATA").unlink()
    with Checkpoints(tmp_path) as checkpoints:
        step, state, _ = checkpoints.restore(TEMPLATE)
    assert step == 30
    assert_same(state, make_state(30))


@pytest.mark.parametrize("name", DAMAGES)
def test_checkpoints_restore_the_one_before_a_damaged_one(
    tmp_path: Path,
    intact_directory: Path,
    name: str,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    damage, reason = DAMAGES[name]
    shutil.copytree(intact_directory, tmp_path, dirs_exist_ok=True)
    damage(tmp_path / "30")
    with Checkpoints(tmp_path) as checkpoints:
        step, state, metadata = checkpoints.restore(TEMPLATE)
        assert (step, metadata) == (20, {"step": 20})
        assert_same(state, make_state(20))
        (line,) = [record.getMessage() for record in caplog.records if record.name == "segnet_jax"]
        assert line.startswith(f"{tmp_path}: the checkpoint of step 30 is damaged (")
        assert "\n" not in line
        with pytest.raises(InputError, match=f"step 30 is damaged .*{reason}.*the other steps are 20$"):
            checkpoints.restore(TEMPLATE, 30)
        assert checkpoints.latest_step() == checkpoints.best_step() == 20
        # It does not count among those that are kept, and gives way to its successor.
        checkpoints.save(35, make_state(35), {})
        checkpoints.wait()
        assert sorted(os.listdir(tmp_path)) == ["20", "35"]
    assert capfd.readouterr().err == ""


def test_checkpoints_save_again_over_a_damaged_one(tmp_path: Path) -> None:
    save_steps(tmp_path, [1, 2])
    flip_bit(array_file(tmp_path / "2"))
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.restore(TEMPLATE)[0] == 1
        assert checkpoints.save(2, make_state(2), {"step": 2})
        step, state, _ = checkpoints.restore(TEMPLATE)
        assert step == 2
        assert_same(state, make_state(2))
        assert checkpoints.steps() == [1, 2]


def test_checkpoints_ignore_damage_outside_the_state(tmp_path: Path) -> None:
    save_steps(tmp_path, [1, 2])
    (tmp_path / "2" / "_CHECKPOINT_METADATA").write_text('{"init_timestamp_nsecs": 1.5}')
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.restore(TEMPLATE)[0] == 2
        checkpoints.save(2, make_state(3), {})
        checkpoints.save(3, make_state(3), {})
        checkpoints.wait()
        assert checkpoints.steps() == [2, 3]


def test_checkpoints_that_are_all_damaged_are_refused(tmp_path: Path) -> None:
    save_steps(tmp_path, [1, 2], {1: 0.5})
    flip_bit(array_file(tmp_path / "1"))
    (tmp_path / "2" / "commit_success.txt").unlink()
    assert exists(tmp_path)
    with Checkpoints(tmp_path, read_only=True) as checkpoints:
        with pytest.raises(InputError, match=r"every checkpoint is damaged \(step 1: .*checksum; step 2: .*marker"):
            checkpoints.restore(TEMPLATE)
        with pytest.raises(InputError, match="step 2 is damaged"):
            checkpoints.read_metadata(2)
        assert checkpoints.steps() == []
        assert checkpoints.latest_step() is None


def test_checkpoints_do_not_replace_a_damaged_best_by_another(tmp_path: Path) -> None:
    save_steps(tmp_path, [1, 2, 3], {1: 0.9, 2: 0.5})
    flip_bit(array_file(tmp_path / "1"))
    expected = pytest.raises(InputError, match="step 1 is damaged .*; the other steps are 2, 3$")
    with Checkpoints(tmp_path) as checkpoints, expected:
        checkpoints.restore(TEMPLATE, "best")


# Failures and kills.


@contextmanager
def small_files_only(size: int) -> Iterator[None]:
    """Makes every write beyond `size` bytes of a file fail, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_checkpoints_survive_a_save_that_cannot_be_written(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, make_state(1), {})
        checkpoints.wait()
        with small_files_only(10_000):
            checkpoints.save(2, make_state(2), {})
            with pytest.raises(InputError, match="a checkpoint could not be written .*File too large.*are intact"):
                checkpoints.wait()
            checkpoints.save(3, make_state(3), {}, {"mean_iou": 1.0})
            with pytest.raises(InputError, match="could not be written"):
                checkpoints.save(4, make_state(4), {})
            with pytest.raises(InputError, match="could not be written"):  # replaces: at once
                checkpoints.save(1, make_state(99), {})
        assert checkpoints.steps() == [1]
        assert checkpoints.best_step() is None
        assert_same(checkpoints.restore(TEMPLATE)[1], make_state(1))
        checkpoints.save(5, make_state(5), {})
        assert checkpoints.restore(TEMPLATE)[0] == 5
    assert sorted(os.listdir(tmp_path)) == ["1", "5"]
    assert capfd.readouterr().err == ""


def test_checkpoints_raise_a_failed_save_on_exit(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    expected = pytest.raises(InputError, match="could not be written")
    with expected, small_files_only(10_000), Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, make_state(1), {})
    assert caplog.records == []
    # An error that is on its way already is not hidden by it.
    with pytest.raises(KeyError), small_files_only(10_000), Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, make_state(1), {})
        raise KeyError
    assert "could not be written" in caplog.text


CHILD = f"""
import sys
from pathlib import Path
from typing import Any
import numpy as np
from segnet_jax.checkpoint.manager import Checkpoints
{inspect.getsource(make_state)}
with Checkpoints(Path(sys.argv[1])) as checkpoints:
    step = checkpoints.latest_step() or 0
    while True:
        step += 1
        checkpoints.save(step, make_state(step), {{"step": step}}, {{"mean_iou": 1 / step}})
        print(step, flush=True)
"""


def test_checkpoints_survive_kills_in_the_middle_of_saves(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    delays = random.Random(0)
    for _ in range(3):
        command = [sys.executable, "-c", CHILD, str(tmp_path)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for _ in range(5):
                begun = int(process.stdout.readline())
            try:
                process.wait(timeout=delays.uniform(0, 0.03))
            except subprocess.TimeoutExpired:
                process.kill()
            begun = max([begun, *map(int, process.stdout.read().split())])
        assert process.returncode == -9
        with Checkpoints(tmp_path) as checkpoints:
            step, state, metadata = checkpoints.restore(TEMPLATE)
            assert begun - 1 <= step <= begun + 1  # the line of the last one may not be out yet
            assert metadata == {"step": step}
            assert_same(state, make_state(step))
            assert_same(checkpoints.restore(TEMPLATE, "best")[1], make_state(1))
    assert caplog.records == []
