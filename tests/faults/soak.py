"""Trains under random faults until time is up, and compares the ends with that of an undisturbed run.

    python -m tests.faults.soak --minutes=10 [--kills=20] [--seed=0]

A run is disturbed until it reaches its last step all the same; then its parameters and its report are compared, bit by
bit, and another one begins. The exit status is 1 if anything differs or anything is lost or unexplained.
"""

from __future__ import annotations

import argparse
import collections
import random
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.helpers.program import (
    TINY,
    Program,
    differences,
    is_saving,
    make_environment,
    resumed_step,
    steps_in,
    unfinished_saves,
)

KILLS = ("SIGKILL while starting", "SIGKILL at any moment", "SIGKILL in a save")
STOPS = ("SIGTERM at any moment", "SIGTERM in a save", "SIGTERM twice")
FLIP = "bit flip in the newest checkpoint"
TOTAL_STEPS = 60


class Soak:
    """Runs under random faults, with counts of what was done to them and a list of what was wrong.

    Args:
      directory: an empty directory for the runs.
      seed: the seed of the faults. When a signal arrives also depends on the machine.
    """

    def __init__(self, directory: Path, seed: int) -> None:
        self.done: collections.Counter[str] = collections.Counter()
        self.finished = 0
        self.faults: list[str] = []
        self._directory = directory
        self._random = random.Random(seed)
        self._environment = make_environment(directory / "cache")
        self._expected = directory / "undisturbed"
        self._runs = 0
        self._begin_run()
        with Program(self._arguments(self._expected), self._environment, directory / "log") as program:
            start = time.monotonic()
            program.wait_until(lambda: program.step > 0)
            first_step = time.monotonic()
            if program.end() != 0:
                raise RuntimeError(f"the undisturbed run fails:\n{program.output}")
        # Seconds to the first step, compilation included in this first run alone, and after it.
        self._start, self._training = first_step - start, time.monotonic() - first_step

    @property
    def kills(self) -> int:
        """The number of processes killed."""
        return sum(self.done[name] for name in KILLS)

    def disturb(self) -> None:
        """Starts or resumes the run, and does one thing to it; checks the run if it comes to its end."""
        intact = self._intact_steps()
        if self._random.random() < 0.15 and len(intact) > 1:
            self._flip_a_bit(intact.pop())
        self._resume(self._random.choice([*KILLS, *KILLS, *STOPS]), intact)

    def finish(self) -> None:
        """Lets the run go on to its end, and checks it."""
        runs = self._runs
        while self._runs == runs:
            self._resume("", self._intact_steps())

    def table(self) -> str:
        """Returns the counts of what was done, a line each."""
        rows = [*self.done.items(), ("runs finished and compared", self.finished), ("faults found", len(self.faults))]
        return "\n".join(f"{count:5}  {name}" for name, count in rows)

    def _begin_run(self) -> None:
        self._runs += 1
        self._workdir = self._directory / f"run_{self._runs}"
        self._flipped: set[int] = set()
        self._flip_is_new = False

    def _intact_steps(self) -> list[int]:
        return [step for step in steps_in(self._workdir) if step not in self._flipped]

    def _arguments(self, workdir: Path) -> Sequence[str]:
        schedule = {"duration": TOTAL_STEPS, "eval_every": 30}
        overrides = [f"--config.train.{key}={steps} steps" for key, steps in schedule.items()]
        return [*TINY, *overrides, f"--workdir={workdir}"]

    def _resume(self, action: str, intact: list[int]) -> None:
        left_over = unfinished_saves(self._workdir)
        with Program(self._arguments(self._workdir), self._environment, self._directory / "log") as program:
            acted = not action or self._act(program, action)
            status = program.end()
            output, step = program.output, program.step
        print(f"{self._workdir.name}: {action or 'nothing'}, then status {status} at step {step}", flush=True)
        if acted and action and status != 0:
            self.done[action] += 1
            if action in KILLS and unfinished_saves(self._workdir) - left_over:
                self.done["... of these kills, a save cut off"] += 1
        resumed = resumed_step(output)
        allowed = {0, -signal.SIGKILL if action in KILLS else 128 + signal.SIGTERM}
        if action in STOPS and "Stopping after" not in output:
            allowed.add(-signal.SIGTERM)  # it came before the training loop, or after it
        self._expect(status in allowed, f"{action}: exit status {status}", output)
        self._expect("Traceback" not in output, f"{action}: a traceback", output)
        if resumed is not None:
            newest = max(intact, default=0)
            self._expect(resumed >= newest, f"resumed at step {resumed}, but step {newest} was saved", output)
            if self._flip_is_new and "is damaged (" in output:
                self.done["... of these flips, noticed, and the checkpoint before it resumed"] += 1
            self._flip_is_new = False
        if status == 0:
            self.finished += 1
            found = differences(self._workdir, self._expected)
            self._expect(not found, f"differs from the undisturbed run in {', '.join(found)}", output)
            self._begin_run()

    def _act(self, program: Program, action: str) -> bool:
        """Sends the signals; False if the program came to its end before."""
        if action == "SIGKILL while starting":
            self._sleep(program, self._random.uniform(0, self._start))
        else:
            began = time.monotonic()
            program.wait_until(lambda: program.step > 0)
            self._start = min(self._start, time.monotonic() - began)
            # Some quarters, so that a run is disturbed several times before it ends.
            self._sleep(program, self._random.uniform(0, self._training / 4))
        if action.endswith("in a save"):
            if not program.wait_until(lambda: is_saving(self._workdir)):
                return False
            time.sleep(self._random.uniform(0, 0.05))
        if not program.is_running:
            return False
        program.send(signal.SIGKILL if action in KILLS else signal.SIGTERM)
        if action == "SIGTERM twice":
            program.wait_until(lambda: "Stopping after this step" in program.output)
            time.sleep(self._random.uniform(0, 0.1))
            program.send(signal.SIGTERM)
        return True

    def _sleep(self, program: Program, seconds: float) -> None:
        end = time.monotonic() + seconds
        program.wait_until(lambda: time.monotonic() >= end)

    def _flip_a_bit(self, step: int) -> None:
        files = [path for path in (self._workdir / "checkpoints" / str(step)).rglob("*") if path.is_file()]
        # By size: most of a checkpoint is arrays.
        (path,) = self._random.choices(files, [path.stat().st_size for path in files])
        data = bytearray(path.read_bytes())
        data[self._random.randrange(len(data))] ^= 1 << self._random.randrange(8)
        path.write_bytes(data)
        self._flipped.add(step)
        self._flip_is_new = True
        self.done[FLIP] += 1

    def _expect(self, holds: bool, fault: str, output: str) -> None:
        if not holds:
            self.faults.append(fault)
            print(f"{self._workdir.name}: {fault}\n{output}", file=sys.stderr, flush=True)


def run(directory: Path, minutes: float, kills: int, seed: int) -> Soak:
    """Disturbs runs for so many minutes and until so many processes were killed; then ends the last run."""
    soak = Soak(directory, seed)
    end = time.monotonic() + 60 * minutes
    while time.monotonic() < end or soak.kills < kills:
        soak.disturb()
    soak.finish()
    return soak


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10, help="how long, beside the undisturbed run")
    parser.add_argument("--kills", type=int, default=20, help="how many processes are killed at least")
    parser.add_argument("--seed", type=int, default=0, help="the seed of the faults")
    options: Mapping[str, float] = vars(parser.parse_args(arguments))
    with tempfile.TemporaryDirectory() as directory:
        soak = run(Path(directory), options["minutes"], int(options["kills"]), int(options["seed"]))
    print(soak.table())
    return 1 if soak.faults else 0


if __name__ == "__main__":
    sys.exit(main())
