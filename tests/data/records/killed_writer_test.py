"""Preparations that are killed or interrupted from outside: segnet_jax/data/records/writer.py in processes."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from segnet_jax.data.records.index import RecordIndex
from segnet_jax.data.records.shard import write_shard
from segnet_jax.data.records.writer import prepare_records
from tests.helpers.paths import ROOT
from tests.helpers.record_folders import StoppedError, scenes, times_of


def start_preparation(output):
    """A preparation by two workers that takes far longer than any test waits, as a process group of its own."""
    command = [sys.executable, "-m", "segnet_jax.prepare", "--split=train", "--examples_per_shard=3"]
    command += ["--config.data.train_scenes=4000", "--config.data.scene_size=(9, 12)", f"--output={output}"]
    return subprocess.Popen(
        [*command, "--workers=2"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "XLA_FLAGS": ""},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=output.parent,
    )


def wait_for_shards(number, output, process):
    deadline = time.monotonic() + 300
    while True:
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        with contextlib.suppress(FileNotFoundError):
            index = RecordIndex.from_json((output / "unfinished.json").read_text(), "")
            if len(index.splits["train"].shards) >= number:
                return
        time.sleep(0.01)


def living_members_of(group):
    """The processes of a process group, without those that have ended and whose parent has not noticed yet."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, member_of = path.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(member_of) == group and state != "Z":
            found.append(path.parent.name)
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_a_killed_preparation_leaves_no_process_and_goes_on(tmp_path):
    output = tmp_path / "out"
    with start_preparation(output) as process:
        wait_for_shards(2, output, process)
        process.kill()
        process.communicate(timeout=300)
    deadline = time.monotonic() + 300
    while living_members_of(process.pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert not (output / "index.json").exists()
    split = RecordIndex.from_json((output / "unfinished.json").read_text(), "").splits["train"]
    dataset, before, reported = scenes(4000), times_of(output), []
    # The shards are those of an undisturbed preparation, ...
    for shard in split.shards[:5]:
        number = int(shard.file.split("-")[1])
        assert write_shard(dataset, split.range_of(number), tmp_path / "shard", "zstd").sha256 == shard.sha256
        assert (tmp_path / "shard").read_bytes() == (output / shard.file).read_bytes()
    # ... and what goes on starts with them.
    done = sum(shard.examples for shard in split.shards)

    def report(done, total):
        reported.append((done, total))
        if len(reported) > 5:
            raise StoppedError

    with pytest.raises(StoppedError):
        prepare_records([dataset], str(output), report=report)
    assert reported == [(done + count, 4000) for count in range(6)]
    assert [times_of(output)[shard.file] for shard in split.shards] == [before[shard.file] for shard in split.shards]


def test_ctrl_c_is_answered_in_a_line(tmp_path):
    with start_preparation(tmp_path / "out") as process:
        wait_for_shards(1, tmp_path / "out", process)
        # To all processes of the terminal, as the terminal sends it.
        os.killpg(process.pid, signal.SIGINT)
        _, error = process.communicate(timeout=300)
    assert process.returncode == 130
    lines = [line for line in error.splitlines() if "examples" not in line]
    assert lines == ["Stopped; the same command goes on with the shards that are finished."]
