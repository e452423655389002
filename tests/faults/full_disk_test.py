"""A disk that runs full during a save, and the run that goes on once there is room."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.program import TINY, Program, differences, is_saving, resumed_step, steps_in

_MOUNT = 'mount -t tmpfs -o size="$1" none "$2" && echo mounted && exec sleep infinity'


class SmallDisk:
    """A file system in memory, mounted in a mount namespace of its own, so that nothing of it is left behind.

    Attributes:
      mount_point: where programs find it that are started with `prefix`.
      prefix: the command that starts a program in that namespace.
      outside: where everybody else finds it.
    """

    def __init__(self, mount_point: Path, size: int) -> None:
        self.mount_point = mount_point
        user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        try:
            self._holder = subprocess.Popen(
                ["unshare", *user, "--mount", "sh", "-c", _MOUNT, "sh", str(size), str(mount_point)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        except FileNotFoundError:
            pytest.skip("there is no unshare here to mount a small disk with; it is a part of util-linux")
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != "mounted\n":
            _, reason = self._holder.communicate()
            pytest.skip(f"a small disk needs root or user namespaces to mount it: {reason.strip()}")
        user = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
        self.prefix = ["nsenter", f"--target={self._holder.pid}", *user, "--mount"]
        self.outside = Path(f"/proc/{self._holder.pid}/root{mount_point}")

    def fill(self, leaving: int) -> None:
        """Takes all room but so many bytes."""
        status = os.statvfs(self.outside)
        with open(self.outside / "filler", "ab") as file:
            file.write(bytes(status.f_bavail * status.f_frsize - leaving))

    def make_room(self) -> None:
        """Gives back what `fill` took."""
        (self.outside / "filler").unlink()

    def close(self) -> None:
        """Ends the namespace, and with it the file system."""
        self._holder.kill()
        self._holder.communicate()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    (tmp_path / "disk").mkdir()
    small = SmallDisk(tmp_path / "disk", 4 << 20)
    yield small
    small.close()


@pytest.mark.slow
def test_train_ends_on_a_full_disk_with_a_message_and_loses_no_checkpoint(disk, environment, undisturbed, tmp_path):
    workdir, seen = disk.mount_point / "run", disk.outside / "run"
    # Nothing but checkpoints is written on the way.
    schedule = ["--config.train.log_every=40 steps", "--config.train.eval_every=40 steps"]
    arguments = [*TINY, *schedule, f"--workdir={workdir}"]

    def fails() -> str:
        """The one line that explains why the program ended; finished checkpoints stay."""
        before = steps_in(seen)
        program.send(signal.SIGCONT)
        assert program.end() == 1, program.output
        assert "Traceback" not in program.output
        (message,) = [line for line in program.output.splitlines() if line.startswith("error: ")]
        assert "No space left on device" in message
        assert steps_in(seen)[-2:] >= before[-2:]
        return message

    with Program(arguments, environment, tmp_path / "log", disk.prefix) as program:
        program.pause_where(lambda: bool(steps_in(seen)) and not is_saving(seen))
        before = steps_in(seen)
        # Enough for small files, and too little for a checkpoint.
        disk.fill(leaving=64 << 10)
        message = fails()
    assert message.startswith(f"error: {workdir}/checkpoints: a checkpoint could not be written (")
    assert message.endswith("; free space there or make it writable, and resume: the finished checkpoints are intact")
    assert steps_in(seen) == before

    disk.fill(leaving=0)
    with Program(arguments, environment, tmp_path / "log", disk.prefix) as program:
        message = fails()
    assert message.startswith(f"error: --workdir={workdir} cannot be written (")
    assert steps_in(seen) == before

    disk.make_room()
    with Program(arguments, environment, tmp_path / "log", disk.prefix) as program:
        program.pause_in_save(seen)
        assert resumed_step(program.output) == before[-1]
        # To the last byte: what else the run writes may fail first, and is as well explained.
        disk.fill(leaving=0)
        assert str(workdir) in fails()
    newest = steps_in(seen)[-1]

    disk.make_room()
    with Program(arguments, environment, tmp_path / "log", disk.prefix) as program:
        assert program.end() == 0, program.output
        assert resumed_step(program.output) == newest
    assert differences(seen, undisturbed) == []


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
