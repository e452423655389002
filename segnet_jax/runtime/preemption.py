"""Being asked to stop: SIGTERM from a scheduler, or Ctrl-C."""

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
    """Within its context, SIGTERM or the first Ctrl-C only sets `signal`, so that a run can save and leave.

    A second Ctrl-C interrupts at once; further SIGTERMs change nothing, for schedulers repeat them, and nothing either
    while a process that SystemExit ends after one is on its way out. Outside the main thread, where Python gives no
    signals, it never sets anything.

    With several processes a signal to one of them is one to all, and `signal` changes in `poll` alone, in all of them
    at the same call.

    Args:
      agree: with several processes: from this one's number to the greatest of all.
      announce: whether to say that a signal has come.

    Attributes:
      signal: the number of the signal that came, or None.
    """

    def __init__(self, agree: Callable[[int], int] | None = None, *, announce: bool = True) -> None:
        """No signal yet."""
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
        """Puts the former handlers back."""
        if self._previous and self._received == signal.SIGTERM and kind is SystemExit:
            # Else the status of a process that takes a while to end would be another one.
            self._previous[signal.SIGTERM] = signal.SIG_IGN
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def poll(self) -> None:
        """Hears of the other processes' signals; called by all of them equally often."""
        if self._agree is not None and (agreed := self._agree(self._received)):
            self.signal = agreed

    @property
    def exit_status(self) -> int:
        """128 plus the signal's number, as shells report a process that a signal ended."""
        return 128 + (self.signal or 0)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self._received:
            raise KeyboardInterrupt
        self._received = number
        if self._agree is None:
            self.signal = number
        # Not through a stream: the signal may have come while that was being written to.
        if self._announce:
            os.write(2, b"\nStopping after this step; Ctrl-C leaves at once.\n")


def exit_at_once(status: int) -> NoReturn:
    """Ends this process without waiting for its threads, of which one may be in a save that never ends."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    for child in multiprocessing.active_children():
        child.terminate()
    os._exit(status)
