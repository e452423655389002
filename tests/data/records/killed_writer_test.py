"""Preparations that are killed or interrupted from outside: segnet_jax/data/records/writer.py in processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from segnet_jax.data.records.reader import Records
from segnet_jax.data.records.writer import prepare_records
from segnet_jax.errors import InputError
from tests.helpers.paths import ROOT
from tests.helpers.record_folders import files_of, scenes, times_of

pytestmark = pytest.mark.ci

EXAMPLES = 600


def start_preparation(output):
    """Starts a preparation by two workers, as a process group of its own, and waits for its first shards."""
    command = [sys.executable, "-m", "segnet_jax.prepare", "--split=train", "--examples_per_shard=3", "--workers=2"]
    command += [f"--config.data.train_scenes={EXAMPLES}", "--config.data.scene_size=(9, 12)", f"--output={output}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XLA_FLAGS": ""}
    process = subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True, cwd=output.parent
    )
    deadline = time.monotonic() + 300
    while len(list(output.glob("*.array_record"))) < 3:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return process


def children_of(number):
    return Path(f"/proc/{number}/task/{number}/children").read_text().split()


def assert_goes_on(output, whole):
    """Finishes a preparation that was stopped, which keeps the finished shards and leaves the files of `whole`."""
    before = times_of(output)
    kept = [name for name in before if name.endswith(".array_record")]
    assert 3 <= len(kept) < EXAMPLES // 3
    with pytest.raises(InputError, match="half-finished preparation of train"):
        Records(str(output), "train")
    prepare_records([scenes(EXAMPLES)], str(output), source=SOURCE)
    assert [times_of(output)[name] for name in kept] == [before[name] for name in kept]
    assert files_of(output) == whole


SOURCE = {
    **{"data.name": "synthetic", "seed": 0},
    **{"data.scene_size": (9, 12), "data.train_scenes": EXAMPLES, "data.eval_scenes": 100},
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The files of an undisturbed preparation."""
    folder = tmp_path_factory.mktemp("whole")
    prepare_records([scenes(EXAMPLES)], str(folder), source=SOURCE, examples_per_shard=3)
    return files_of(folder)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for processes in /proc")
def test_prepare_goes_on_after_kill(tmp_path, whole):
    with start_preparation(tmp_path / "out") as process:
        children = children_of(process.pid)
        process.kill()
        process.communicate(timeout=300)
    # The workers end, too: two of them and multiprocessing's resource tracker.
    assert len(children) == 3
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{child}/cmdline").exists() for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert_goes_on(tmp_path / "out", whole)


def test_prepare_answers_ctrl_c_in_a_line_and_goes_on(tmp_path, whole):
    with start_preparation(tmp_path / "out") as process:
        # To all processes of the terminal, as the terminal sends it.
        os.killpg(process.pid, signal.SIGINT)
        _, error = process.communicate(timeout=300)
    assert process.returncode == 130
    # A worker that is about to start answers by itself.
    assert error.splitlines()[-1] == "Stopped; the same command goes on with the shards that are finished."
    assert_goes_on(tmp_path / "out", whole)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for processes in /proc")
def test_prepare_names_a_killed_worker(tmp_path):
    with start_preparation(tmp_path / "out") as process:
        workers = [n for n in children_of(process.pid) if b"spawn_main" in Path(f"/proc/{n}/cmdline").read_bytes()]
        os.kill(int(workers[0]), signal.SIGKILL)
        _, error = process.communicate(timeout=300)
    assert process.returncode == 1
    assert error.splitlines()[-1].startswith("error: A worker process died, perhaps for want of memory; run the same")
