"""A filter for the standard error of a process that is one of several.

Where another process is lost, JAX's distributed runtime aborts from C++ with a stack trace, and no Python code runs
any more. This program, which needs nothing but Python, stands behind such a process's standard error, lets everything
else through, and says the same in one sentence.

python plain_stderr.py NAME
"""

from __future__ import annotations

import os
import re
import select
import signal
import sys

ADVICE = "start all processes again, and a training run goes on from its newest checkpoint."

_GLOO = re.compile(rb"\[Gloo\] Rank \d+ is connected to \d+ peer ranks\. Expected number of connected .*? is : \d+\n?")
# Several threads print theirs at once, piece by piece, so an end of a line may stand by itself.
_GLOO_PIECES = re.compile(rb"(\[Gloo\]|Rank|is connected to|peer ranks\.?|Expected number of connected|is :|\d|\s)*")
_FATAL = re.compile(rb"F\d{4} .*JAX distributed service detected fatal errors")
# Such a line comes just before a fatal one, and says the same.
_HELD = re.compile(rb"E\d{4} .*\bcoordination_service(_agent)?\.cc")
_STACK_TRACE = b"*** Check failure stack trace"
_UNHEALTHY = re.compile(rb"stopped sending heartbeats\):\n(.*?)\nThe tasks", re.DOTALL)
_NO_ANSWER = re.compile(rb"Failed to send RPC|CoordinationService/Heartbeat")
# Seconds until a line that has no end, or that was held, is let through.
_PATIENCE = 2.0


class PlainStderr:
    """Turns what a process writes into what a reader is shown.

    Args:
      name: of the process, such as "process 1".
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._line = b""
        self._held = b""
        self._fatal = b""
        self._is_told = False
        self._is_greeted = False

    def feed(self, data: bytes) -> bytes:
        """Takes what was written and gives what to show of it now."""
        *lines, self._line = (self._line + data).split(b"\n")
        return b"".join(self._take(line + b"\n") for line in lines)

    def flush(self) -> bytes:
        """Gives what was waiting for its end, when nothing has come for a while."""
        shown, self._held = self._held, b""
        if not self._fatal:
            shown += self._line
            self._line = b""
        return shown

    def close(self) -> bytes:
        """Gives the rest, at the end."""
        rest = self._take(self._line) if self._line else b""
        self._line = b""
        return rest + self._sentence() if self._fatal else rest + self.flush()

    def _take(self, line: bytes) -> bytes:
        if self._fatal:
            self._fatal += line
            # What follows is the end of the process.
            return self._sentence() if line.startswith(_STACK_TRACE) else b""
        shown = _GLOO.sub(b"", line)
        if _GLOO_PIECES.fullmatch(shown) and (self._is_greeted or b"[Gloo]" in line):
            self._is_greeted = True
            return b""
        self._is_greeted = False
        if _FATAL.match(shown):
            self._held, self._fatal = b"", shown
            return b""
        if self._held or _HELD.match(shown):
            self._held += shown
            return b""
        self._is_told |= shown.startswith(b"error: ")
        return shown

    def _sentence(self) -> bytes:
        if self._is_told:
            return b""
        self._is_told = True
        if b"RegisterTask" in self._fatal:
            fault = (
                "the processes of this run did not all arrive in time; start as many as --num_processes says, with a "
                "--coordinator that all of them can reach."
            )
        else:
            fault = f"{self._lost()} has ended or cannot be reached; {ADVICE}"
        return f"error: {self._name}: {fault}\n".encode()

    def _lost(self) -> str:
        """Who is lost, as far as the message tells."""
        if unhealthy := _UNHEALTHY.search(self._fatal):
            # One name a line, with the number at its end.
            numbers = re.findall(r"(\d+)\D*$", unhealthy[1].decode(), re.MULTILINE)
            # A process that was suspended counts as lost itself, which is not what a reader looks for.
            others = [number for number in numbers if f"process {number}" != self._name]
            return f"process {', '.join(others or numbers)} of this run"
        # Process 0 runs the service that does not answer any more.
        is_service = _NO_ANSWER.search(self._fatal) is not None
        return "process 0 of this run" if is_service else "another process of this run"


def main(name: str) -> None:
    """Filters standard input to standard error until its end."""
    # A signal is for the process that is filtered; its end is the end here.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    plain = PlainStderr(name)
    while True:
        ready, _, _ = select.select([0], [], [], _PATIENCE)
        data = os.read(0, 65536) if ready else None
        shown = plain.flush() if data is None else plain.feed(data) if data else plain.close()
        while shown:
            shown = shown[os.write(2, shown) :]
        if data == b"":
            return


if __name__ == "__main__":
    main(sys.argv[1])
