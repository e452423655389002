"""Tells what a benchmark measures, and what it has measured, while it runs."""

from __future__ import annotations

import contextlib
import statistics
import sys
from collections.abc import Callable, Mapping
from typing import Any

from tqdm import tqdm

from benchmarks.cells import ms, row, table
from benchmarks.comparison import LABELS, best_of, is_torch
from benchmarks.estimate import Estimate
from benchmarks.timing import take_turns
from segnet_jax.runtime.preemption import GracefulShutdown


class Stopped(Exception):
    """Raised in place of the next call, once a signal has asked for the end."""


class Progress:
    """Says on stderr what is under way and how long the rest will take, and adds rows of results to a table on stdout.

    On a terminal a line at the bottom says what runs now; in a file there is a line for each round.

    Args:
      estimate: of all that will be run.
      shutdown: whose signal stops the benchmark before the next call.
    """

    def __init__(self, estimate: Estimate, shutdown: GracefulShutdown) -> None:
        self.estimate = estimate
        self._shutdown = shutdown
        self._total = len({program.measurement for program in estimate.programs.values()}) + len(estimate.parts)
        self._number = 0
        self._title = ""
        self._has_rows = False
        self._bar: Any = None
        if sys.stderr.isatty():
            self._bar = tqdm(file=sys.stderr, dynamic_ncols=True, bar_format="{desc}", leave=False)

    def close(self) -> None:
        """Removes the line at the bottom."""
        if self._bar is not None:
            self._bar.close()

    def say(self, line: str) -> None:
        """Writes a line of its own."""
        if self._bar is not None:
            self._bar.write(line, file=sys.stderr)
        else:
            print(line, file=sys.stderr, flush=True)

    def begin_measurement(self, name: str) -> None:
        """Counts on to the next measurement or part.

        Raises:
          Stopped: if a signal has come.
        """
        self._number += 1
        self._title = f"[{self._number}/{self._total}] {name}"
        self.now("")
        self.detail("")

    def now(self, what: str) -> None:
        """Says what runs now.

        Raises:
          Stopped: if a signal has come.
        """
        if self._shutdown.signal is not None:
            raise Stopped
        if self._bar is not None:
            self._bar.set_description_str(f"{self._title}{what}; {self.left()}")

    def doing(self, what: str) -> None:
        """Says what runs now, in a file too.

        Raises:
          Stopped: if a signal has come.
        """
        self.now(f": {what}")
        self.detail(f": {what}")

    def left(self) -> str:
        """Returns the time that is left, in words."""
        return f"about {duration(self.estimate.seconds_left())} left"

    def compiled(self, network: str, measure: str, contender: str, seconds: float, words: str = "compiled in") -> None:
        """Says how long a program took until it was ready to be measured."""
        self.estimate.programs[(network, measure), contender].compiled = seconds
        self.detail(f": {contender} {words} {seconds:.1f} s")

    def measure(
        self, network: str, measure: str, contenders: Mapping[str, Callable[[], object]], rounds: int
    ) -> dict[str, list[float]]:
        """Returns the seconds of each contender in each round, see `take_turns`, and adds their medians to the table.

        If a signal comes, they are those of the rounds that were whole by then.

        Raises:
          Stopped: if there is none.
        """
        seconds: dict[str, list[float]] = {name: [] for name in contenders}
        line: list[str] = []

        def begin(name: str, number: int) -> None:
            self.now(f", {_round(number, rounds)}: {name}")

        # A second Ctrl-C does not wait for the call that runs.
        with contextlib.suppress(Stopped, KeyboardInterrupt):
            for name, number, taken in take_turns(contenders, rounds, begin=begin):
                self.estimate.programs[(network, measure), name].called(taken)
                line.append(f"{name} {_seconds(taken)}")
                if number > 0:
                    seconds[name].append(taken)
                if len(line) == len(contenders):
                    self.detail(f", {_round(number, rounds)}: {', '.join(line)}")
                    line.clear()
        whole = min(map(len, seconds.values()))
        if not whole:
            raise Stopped
        seconds = {name: values[:whole] for name, values in seconds.items()}
        self._add_rows(network, measure, {name: statistics.median(values) for name, values in seconds.items()})
        return seconds

    def detail(self, text: str) -> None:
        """Says what is under way or done, where no line at the bottom does."""
        if self._bar is None:
            self.say(f"{self._title}{text}; {self.left()}")

    def _add_rows(self, network: str, measure: str, medians: dict[str, float]) -> None:
        best = best_of(medians, theirs=True)
        if not self._has_rows:
            self._has_rows = True
            header = ["network", "measured", "contender", "ms", *(["over PyTorch's best"] if best else [])]
            self._print(table(header, []))
        for name, value in medians.items():
            cells = [network, LABELS.get(measure, measure), name, ms(value)]
            if best:
                cells.append("" if is_torch(name) else f"{value / medians[best]:.3g}")
            self._print(row(cells))

    def _print(self, text: str) -> None:
        if self._bar is not None:
            self._bar.write(text, file=sys.stdout)
        else:
            print(text, file=sys.stdout, flush=True)


def duration(seconds: float) -> str:
    """Returns a rough duration in words."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def _round(number: int, rounds: int) -> str:
    return f"round {number} of {rounds}" if number > 0 else "first call"


def _seconds(value: float) -> str:
    return f"{1000 * value:.3g} ms" if value < 1 else f"{value:.3g} s"
