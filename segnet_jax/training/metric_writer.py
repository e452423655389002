"""Metrics of a run, for people and plots: `metrics.jsonl` and TensorBoard event files.

This is the only file that knows TensorBoard. The events are written with tensorboardX's parts, not with its
SummaryWriter, which loses a file when two writers start within one second and which blocks the run for good once its
background thread has died of a full disk.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import numpy as np

from segnet_jax.errors import InputError
from segnet_jax.runtime.files import write_atomically, write_errors


@contextlib.contextmanager
def _without_pytorch() -> Iterator[None]:
    """Makes PyTorch look absent: tensorboardX imports it where it can, which takes a second and serves nothing here."""
    if "torch" in sys.modules:
        yield
        return
    sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["torch"]


with _without_pytorch():
    from tensorboardX import summary
    from tensorboardX.proto import event_pb2
    from tensorboardX.record_writer import RecordWriter


class MetricWriter:
    """Writes scalars, images and hyperparameters of a run into its work directory.

    `metrics.jsonl` takes the scalars: one JSON object a line with `step`, `time` (ISO 8601, UTC) and the values; what
    is not a finite number is null there. A line is out of the process when `write_scalars` returns; the event file is
    written when the writer is closed.

    Args:
      workdir: work directory; only one process may write into it.
      resume_step: the step at which the run goes on. What an earlier, killed process has written of later steps is
        taken out of `metrics.jsonl` and hidden from TensorBoard.

    Raises:
      InputError: the directory cannot be written to (this holds for the methods too).
    """

    def __init__(self, workdir: Path, resume_step: int = 0) -> None:
        self._workdir = workdir
        with self._write_errors():
            workdir.mkdir(parents=True, exist_ok=True)
            path = workdir / "metrics.jsonl"
            _drop_later_lines(path, resume_step)
            resumed = any(workdir.glob("events.out.tfevents.*"))
            # Line-buffered; it lives as long as the writer.
            self._lines = open(path, "a", buffering=1, encoding="utf-8")  # noqa: SIM115
            # The nanoseconds keep the files of two starts in one second apart, and in order.
            stem = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}"
            self._events = RecordWriter(str(workdir / f"{stem}.{time.time_ns()}"))
            self._write_event(file_version="brain.Event:2")
            if resumed:
                start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
                self._write_event(resume_step + 1, session_log=start)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        try:
            with self._write_errors(), self._lines, contextlib.closing(self._events):
                os.fsync(self._lines.fileno())
        except InputError:
            if error is None:  # otherwise the error that is on its way up says more
                raise

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Writes numbers by name."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        finite = {name: value if math.isfinite(value) else None for name, value in scalars.items()}
        with self._write_errors():
            self._lines.write(json.dumps({"step": step, "time": now} | finite) + "\n")
            for name, value in scalars.items():
                self._write_event(step, summary=summary.scalar(name, value))

    def write_image(self, step: int, name: str, image: np.ndarray) -> None:
        """Writes an image, uint8 [H, W, 3]."""
        with self._write_errors():
            self._write_event(step, summary=summary.image(name, image, dataformats="HWC"))

    def write_hparams(self, hparams: Mapping[str, Any]) -> None:
        """Writes hyperparameters by name; others than numbers as texts."""
        values = {name: value if isinstance(value, int | float) else _text(value) for name, value in hparams.items()}
        experiment, session_start, _ = summary.hparams(values, {})
        with self._write_errors():
            self._write_event(0, summary=experiment)
            self._write_event(0, summary=session_start)

    def _write_errors(self) -> contextlib.AbstractContextManager[None]:
        advice = "free space there, make it writable, or name another work directory"
        return write_errors(f"{self._workdir}: the metrics", advice)

    def _write_event(self, step: int = 0, **content: Any) -> None:
        event = event_pb2.Event(wall_time=time.time(), step=step, **content)
        self._events.write(event.SerializeToString())


def _text(value: Any) -> str:
    """Returns a value as text that can be written as UTF-8, which a path need not be."""
    return str(value).encode("utf-8", "backslashreplace").decode("utf-8")


def _drop_later_lines(path: Path, step: int) -> None:
    """Leaves the whole lines of steps up to `step` in the file, by replacing it at one stroke."""
    if path.exists():
        lines = path.read_bytes().split(b"\n")
        write_atomically(path, b"".join(line + b"\n" for line in lines if _is_kept(line, step)))


def _is_kept(line: bytes, step: int) -> bool:
    try:
        return json.loads(line)["step"] <= step
    except ValueError:
        return False  # the process was killed within this line
