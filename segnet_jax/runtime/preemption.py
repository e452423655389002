"""Graceful shutdown on SIGTERM or Ctrl-C."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import NoReturn

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class GracefulShutdown:
    """Context manager in which SIGTERM or the first Ctrl-C only sets `signal`, so that a run can save and exit.

    A second Ctrl-C raises `KeyboardInterrupt`. Further SIGTERMs change nothing, because schedulers repeat them: neither
    in the context nor, once `SystemExit` has left it, until the process has ended. Outside the main thread, where
    Python delivers no signals, `signal` stays None.

    With several processes a signal to one of them stops all: `signal` changes only in `poll`, in all of them at the
    same call.

    Args:
      agree: with several processes, returns the greatest of the numbers that they call it with, such as
        `collectives.AsyncAllReduceMax`.
      announce: whether to print that a signal has been received.

    Attributes:
      signal: the number of the signal received, or None.
    """

    def __init__(self, agree: Callable[[int], int] | None = None, *, announce: bool = True) -> None:
        self.signal: int | None = None
        self._received = 0
        self._agree = agree
        self._announce = announce
        self._previous: dict[int, object] = {}

    def __enter__(self) -> GracefulShutdown:
        """Installs the handlers."""
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Restores the former handlers."""
        if self._previous and self._received == signal.SIGTERM and kind is SystemExit:
            # Otherwise one that comes while the process ends would change its exit status.
            self._previous[signal.SIGTERM] = signal.SIG_IGN
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def poll(self) -> None:
        """Exchanges signals with the other processes; all of them call it equally often."""
        if self._agree is not None and (agreed := self._agree(self._received)):
            self.signal = agreed

    @property
    def exit_status(self) -> int:
        """128 plus the signal's number, the status that shells give to a process that a signal ended."""
        return 128 + (self.signal or 0)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self._received:
            raise KeyboardInterrupt
        self._received = number
        if self._agree is None:
            self.signal = number
        # Not through a stream, which may have been in the middle of a write when the signal came.
        if self._announce:
            os.write(2, b"\nStopping after this step; Ctrl-C leaves at once.\n")


def exit_at_once(status: int) -> NoReturn:
    """Exits without waiting for threads, of which one may be in a save that never ends; ends child processes first."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    for child in multiprocessing.active_children():
        child.terminate()
    os._exit(status)
