"""Trains under random faults until time is up, and compares the ends with that of an undisturbed run.

    python -m tests.faults.soak --minutes=10 [--kills=20] [--seed=0]

A run is disturbed until it reaches its last step all the same; then its parameters and its report are compared, bit by
bit, and another one begins. An assertion fails if anything differs or anything is lost or unexplained.
"""

from __future__ import annotations

import argparse
import collections
import random
import signal
import tempfile
import time
from pathlib import Path

from tests.helpers.program import TINY, Program, differences, is_saving, make_environment, resumed_step, steps_in

KILLS = ("SIGKILL while starting", "SIGKILL at any moment", "SIGKILL in a save")
STOPS = ("SIGTERM at any moment", "SIGTERM in a save", "SIGTERM twice")
FINISHED = "runs finished and compared"
_SCHEDULE = ["--config.train.duration=60 steps", "--config.train.eval_every=30 steps"]


class Soak:
    """Runs under random faults.

    Args:
      directory: an empty directory for the runs.
      seed: the seed of the faults. When a signal arrives also depends on the machine.

    Attributes:
      done: counts of what was done to the runs.
    """

    def __init__(self, directory: Path, seed: int) -> None:
        self.done: collections.Counter[str] = collections.Counter()
        self._directory = directory
        self._random = random.Random(seed)
        self._environment = make_environment(directory / "cache")
        self._expected = directory / "undisturbed"
        with self._program(self._expected) as program:
            start = time.monotonic()
            program.wait_until(lambda: program.step > 0)
            first_step = time.monotonic()
            assert program.end() == 0, program.output
        # Seconds to the first step, compilation included in this first run alone, and after it.
        self._start, self._training = first_step - start, time.monotonic() - first_step
        self._begin_run()

    @property
    def kills(self) -> int:
        """The number of processes killed."""
        return sum(self.done[name] for name in KILLS)

    def disturb(self) -> None:
        """Starts or resumes the run, and does one thing to it; checks the run if it comes to its end."""
        intact = self._intact_steps()
        if self._random.random() < 0.15 and len(intact) > 1:
            self._flip_a_bit(intact.pop())
        self._resume(self._random.choice([*KILLS, *KILLS, *STOPS]))

    def finish(self) -> None:
        """Lets the run go on to its end, and checks it."""
        self._resume("")

    def _begin_run(self) -> None:
        self._workdir = self._directory / f"run_{self.done[FINISHED] + 1}"
        self._flipped: set[int] = set()

    def _intact_steps(self) -> list[int]:
        return [step for step in steps_in(self._workdir) if step not in self._flipped]

    def _program(self, workdir: Path) -> Program:
        return Program([*TINY, *_SCHEDULE, f"--workdir={workdir}"], self._environment, self._directory / "log")

    def _resume(self, action: str) -> None:
        saved = max(self._intact_steps(), default=0)
        with self._program(self._workdir) as program:
            if action:
                self._act(program, action)
            status, output = program.end(), program.output
        print(f"{self._workdir.name}: {action or 'nothing'}, then status {status}", flush=True)
        allowed = {0}
        if action:
            allowed.add(-signal.SIGKILL if action in KILLS else 128 + signal.SIGTERM)
        if action in STOPS and "Stopping after" not in output:
            allowed.add(-signal.SIGTERM)  # it came before the training loop, or after it
        assert status in allowed and "Traceback" not in output, output
        resumed = resumed_step(output)
        assert resumed is None or resumed >= saved, f"step {saved} was saved:\n{output}"
        if status != 0:
            self.done[action] += 1
            return
        assert differences(self._workdir, self._expected) == [], output
        self.done[FINISHED] += 1
        self._begin_run()

    def _act(self, program: Program, action: str) -> None:
        """Sends the signals, unless the program comes to its end before."""
        if action == "SIGKILL while starting":
            self._sleep(program, self._random.uniform(0, self._start))
        else:
            began = time.monotonic()
            program.wait_until(lambda: program.step > 0)
            self._start = min(self._start, time.monotonic() - began)
            # Some quarters, so that a run is disturbed several times before it ends.
            self._sleep(program, self._random.uniform(0, self._training / 4))
        if action.endswith("in a save"):
            program.wait_until(lambda: is_saving(self._workdir))
            time.sleep(self._random.uniform(0, 0.05))
        program.send(signal.SIGKILL if action in KILLS else signal.SIGTERM)
        if action == "SIGTERM twice":
            program.wait_until(lambda: "Stopping after this step" in program.output)
            time.sleep(self._random.uniform(0, 0.1))
            program.send(signal.SIGTERM)

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
        self.done["bit flips in the newest checkpoint"] += 1


def run(directory: Path, minutes: float, kills: int, seed: int) -> Soak:
    """Disturbs runs for so many minutes and until so many processes were killed; then ends the last run."""
    soak = Soak(directory, seed)
    end = time.monotonic() + 60 * minutes
    while time.monotonic() < end or soak.kills < kills:
        soak.disturb()
    soak.finish()
    return soak


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10, help="how long, beside the undisturbed run")
    parser.add_argument("--kills", type=int, default=20, help="how many processes are killed at least")
    parser.add_argument("--seed", type=int, default=0, help="the seed of the faults")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        counts = run(Path(temporary), options.minutes, options.kills, options.seed).done
    print("\n".join(f"{count:5}  {name}" for name, count in counts.items()))
