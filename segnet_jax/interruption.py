"""Being asked to stop: SIGTERM from a scheduler, or Ctrl-C."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interruption:
    """Within its context, SIGTERM or the first Ctrl-C only sets `signal`, so that a run can save and leave.

    A second Ctrl-C interrupts at once; further SIGTERMs change nothing, for schedulers repeat them. Outside the main
    thread, where Python gives no signals, it never sets anything.

    Attributes:
      signal: the number of the signal that came, or None.
    """

    def __init__(self) -> None:
        """No signal yet."""
        self.signal: int | None = None
        self._previous: dict[int, object] = {}

    def __enter__(self) -> Interruption:
        """Installs the handlers."""
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Puts the former handlers back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    @property
    def exit_status(self) -> int:
        """128 plus the signal's number, as shells report a process that a signal ended."""
        return 128 + (self.signal or 0)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.signal is not None:
            raise KeyboardInterrupt
        self.signal = number
        # Not through a stream: the signal may have come while that was being written to.
        os.write(2, b"\nStopping after this step; Ctrl-C leaves at once.\n")
