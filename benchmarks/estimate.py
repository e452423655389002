"""Estimates how long a benchmark takes: from operations at first, and from each program's first call on."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

# Of the rate of matrix products, what a network's programs reach before any of them has been measured.
_UTILIZATION = 0.6


@dataclass
class Program:
    """What one contender runs in one measurement: it is made ready once, and called so many times.

    Attributes:
      measurement: such as ("segnet", "train_step").
      contender: such as "lean" or "torch".
      flops: of a call.
      calls: that are left, those of warm-up included.
      ready: a guess of the seconds of compilation.
      compiles_in_first_call: whether the first call compiles, and so says nothing of the others.
      taken: seconds of the fastest call; None before the first.
      compiled: seconds that compilation took; None before it.
    """

    measurement: tuple[str, str]
    contender: str
    flops: float
    calls: int
    ready: float = 0.0
    compiles_in_first_call: bool = False
    taken: float | None = None
    compiled: float | None = None

    def called(self, seconds: float) -> None:
        """Takes note of a call."""
        self.calls -= 1
        if self.compiles_in_first_call and self.compiled is None:
            self.compiled = seconds
        else:
            self.taken = seconds if self.taken is None else min(self.taken, seconds)


class Estimate:
    """The time that is left of programs, and of parts of known length.

    Args:
      programs: all that will be run.
      flops_per_second: of matrix products.
      parts: seconds of what else will be done, by name.
    """

    def __init__(self, programs: Iterable[Program], flops_per_second: float, parts: dict[str, float]) -> None:
        self.programs = {(program.measurement, program.contender): program for program in programs}
        self.parts = dict(parts)
        self._flops_per_second = flops_per_second

    def drop(self, measurement: tuple[str, str], contender: str = "") -> None:
        """Forgets a measurement that will not be made, or one contender of it."""
        for key in [key for key in self.programs if key[0] == measurement and contender in ("", key[1])]:
            del self.programs[key]

    def finish(self, measurement: tuple[str, str]) -> None:
        """Takes note that a measurement is made; what its programs took remains known."""
        for (made, _), program in self.programs.items():
            if made == measurement:
                program.calls = 0

    def seconds_left(self) -> float:
        """Returns the seconds that are left: of each program its own, or as those of its contender, or a guess."""
        slowness: dict[str, list[float]] = {}
        guessed = compiled = 0.0
        for program in self.programs.values():
            if program.taken is not None and program.flops:
                slowness.setdefault(program.contender, []).append(program.taken / program.flops)
            if program.compiled is not None and program.ready:
                guessed, compiled = guessed + program.ready, compiled + program.compiled
        late = compiled / guessed if guessed else 1.0
        everyone = [value for values in slowness.values() for value in values]
        guess = statistics.mean(everyone) if everyone else 1 / (_UTILIZATION * self._flops_per_second)
        seconds = sum(self.parts.values())
        for program in self.programs.values():
            if program.calls == 0:
                continue
            of_contender = slowness.get(program.contender)
            call = program.taken
            if call is None:
                call = program.flops * (statistics.mean(of_contender) if of_contender else guess)
            seconds += program.calls * call
            if program.compiled is None:
                seconds += late * program.ready
        return seconds
