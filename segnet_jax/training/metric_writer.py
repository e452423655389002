"""Metrics of a run, for people and plots: `metrics.jsonl` and TensorBoard event files.

This is the only file that knows TensorBoard. The events are written with tensorboardX's parts, not
with its SummaryWriter, which loses a file when two writers start within one second and which
blocks the run for good once its background thread has died of a full disk.
"""

import contextlib
import json
import math
import os
import socket
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
from tensorboardX import summary
from tensorboardX.proto import event_pb2
from tensorboardX.record_writer import RecordWriter

from segnet_jax.errors import InputError
from segnet_jax.runtime.files import write_atomically, write_errors

METRICS_FILE = "metrics.jsonl"

_ADVICE = "free space there, make it writable, or name another work directory"


class MetricWriter:
    """Writes scalars, images and hyperparameters of a run into its work directory.

    `metrics.jsonl` takes the scalars: one JSON object a line with `step`, `time` (ISO 8601, UTC)
    and the values; what is not a finite number is null there. A line is out of the process when
    `write_scalars` returns; the event file once `flush` does. One process alone may write into a
    work directory; the others take a `NullWriter`.

    Args:
      workdir: work directory; made if it is missing.
      resume_step: the step at which the run goes on. What an earlier, killed process has written
        of later steps is taken out of `metrics.jsonl` and hidden from TensorBoard.

    Raises:
      InputError: the directory cannot be written to (this holds for the methods too).
    """

    def __init__(self, workdir: Path, resume_step: int = 0) -> None:
        self._workdir = Path(workdir)
        with write_errors(f"{self._workdir}: the metrics", _ADVICE):
            self._workdir.mkdir(parents=True, exist_ok=True)
            metrics_path = self._workdir / METRICS_FILE
            _drop_later_lines(metrics_path, resume_step)
            resumed = any(self._workdir.glob("events.out.tfevents.*"))
            # Line-buffered; it lives as long as the writer.
            self._lines = open(metrics_path, "a", buffering=1, encoding="utf-8")  # noqa: SIM115
            # The nanoseconds keep the files of two starts in one second apart, and in order.
            stem = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}"
            self._events = RecordWriter(str(self._workdir / f"{stem}.{time.time_ns()}"))
            self._write_event(file_version="brain.Event:2")
            if resumed:
                start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
                self._write_event(resume_step + 1, session_log=start)
            self._events.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        try:
            self.close()
        except InputError:
            if error is None:  # otherwise the error that is on its way up says more
                raise

    def write_scalars(self, step: int, scalars: Mapping[str, Any]) -> None:
        """Writes numbers by name: Python numbers, 0-d arrays, or None for an undefined one."""
        values = {name: _as_number(name, value) for name, value in scalars.items()}
        if reserved := values.keys() & {"step", "time"}:
            raise ValueError(f"a scalar cannot be called {', '.join(sorted(reserved))}")
        finite = {name: _finite(value) for name, value in values.items()}
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        with write_errors(f"{self._workdir}: the metrics", _ADVICE):
            self._lines.write(json.dumps({"step": int(step), "time": now} | finite, allow_nan=False) + "\n")
            for name, value in values.items():
                if value is not None:
                    self._write_event(step, summary=summary.scalar(name, value))

    def write_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """Writes images by name: uint8 [H, W, 3], or [N, H, W, 3] as `name/0`, `name/1`, ..."""
        for name, image in images.items():
            if image.dtype != np.uint8 or image.ndim not in (3, 4) or image.shape[-1] != 3:
                raise ValueError(f"image {name} must be uint8 [(N,) H, W, 3], not {image.dtype} {image.shape}")
            parts = {f"{name}/{index}": part for index, part in enumerate(image)} if image.ndim == 4 else {name: image}
            with write_errors(f"{self._workdir}: the metrics", _ADVICE):
                for tag, part in parts.items():
                    self._write_event(step, summary=summary.image(tag, part, dataformats="HWC"))

    def write_hparams(self, hparams: Mapping[str, Any]) -> None:
        """Writes hyperparameters; nested ones as `outer.inner`, others than numbers as texts."""
        experiment, session_start, _ = summary.hparams(dict(_flat_hparams(hparams)), {})
        with write_errors(f"{self._workdir}: the metrics", _ADVICE):
            self._write_event(0, summary=experiment)
            self._write_event(0, summary=session_start)

    def flush(self) -> None:
        """Returns when all that was written is on the disk."""
        with write_errors(f"{self._workdir}: the metrics", _ADVICE):
            os.fsync(self._lines.fileno())
            self._events.flush()

    def close(self) -> None:
        """Flushes and closes the files; a second call does nothing."""
        if not self._lines.closed:
            with write_errors(f"{self._workdir}: the metrics", _ADVICE), contextlib.ExitStack() as files:
                files.callback(self._events.close)
                files.callback(self._lines.close)
                self.flush()

    def _write_event(self, step: int = 0, **content: Any) -> None:
        event = event_pb2.Event(wall_time=time.time(), step=int(step), **content)
        self._events.write(event.SerializeToString())


class NullWriter(MetricWriter):
    """Takes everything and writes nothing, for the processes of a run that are not the first."""

    def __init__(self) -> None:
        pass

    def write_scalars(self, step: int, scalars: Mapping[str, Any]) -> None:
        """Writes nothing."""

    def write_images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
        """Writes nothing."""

    def write_hparams(self, hparams: Mapping[str, Any]) -> None:
        """Writes nothing."""

    def flush(self) -> None:
        """Does nothing."""

    def close(self) -> None:
        """Does nothing."""


def _drop_later_lines(path: Path, step: int) -> None:
    """Leaves the whole lines of steps up to `step` in the file, by replacing it at one stroke."""
    if not path.exists():
        return
    data = path.read_bytes()
    kept = b"".join(line + b"\n" for line in data.split(b"\n") if _is_kept(line, step))
    if kept == data:
        return
    write_atomically(path, kept)


def _is_kept(line: bytes, step: int) -> bool:
    try:
        return json.loads(line)["step"] <= step
    except (ValueError, TypeError, KeyError):
        return False  # the process was killed within this line


def _as_number(name: str, value: Any) -> int | float | None:
    if value is None or isinstance(value, int | float) and not isinstance(value, np.generic):
        return value
    array = np.asarray(value)
    if array.shape != () or array.dtype.kind in "OSU":
        raise ValueError(f"scalar {name} must be a single number, not {array.dtype} {array.shape}")
    return array.item()


def _finite(value: int | float | None) -> int | float | None:
    return value if value is not None and math.isfinite(value) else None


def _flat_hparams(hparams: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, bool | int | float | str]]:
    for name, value in hparams.items():
        if isinstance(value, Mapping):
            yield from _flat_hparams(value, f"{prefix}{name}.")
        else:
            value = value.item() if isinstance(value, np.generic) else value
            yield prefix + name, value if isinstance(value, bool | int | float | str) else str(value)
