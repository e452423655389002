"""Starts the command line in a process of its own, pauses, signals and kills it, and compares finished runs."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import jax
import numpy as np

from segnet_jax.checkpoint.manager import Checkpoints
from segnet_jax.checkpoint.manifest import find_steps
from segnet_jax.config import from_dict
from segnet_jax.models.from_config import build_model
from segnet_jax.training.from_config import build_optimizer
from segnet_jax.training.step import checkpoint_template
from tests.helpers.compilation import QUICK_FLAGS
from tests.helpers.paths import ROOT

TOTAL_STEPS = 40

# The run of `tiny_config`, as overrides of the shipped configuration.
TINY = [
    f"--config={ROOT / 'configs' / 'synthetic.py'}",
    "--config.data.scene_size=(16, 24)",
    "--config.data.train_scenes=16",
    "--config.data.eval_scenes=8",
    "--config.model.name=segnet_basic",
    "--config.model.width_multiplier=0.0625",
    "--config.optimizer.warmup=0 steps",
    f"--config.train.duration={TOTAL_STEPS} steps",
    "--config.train.checkpoint_every=4 steps",
    "--config.train.eval_every=20 steps",
    "--config.train.log_every=1 steps",
]

_TIMEOUT = 1200  # seconds; nothing here takes a twentieth of it on an idle machine


def make_environment(cache: Path) -> dict[str, str]:
    """Returns the environment of a program with one device and a cache of its own in the place of the user's."""
    return {
        **os.environ,
        "XLA_FLAGS": QUICK_FLAGS,
        "XDG_CACHE_HOME": str(cache),
        "PYTHONPATH": str(ROOT),
    }


class Program:
    """A running `python -m segnet_jax.main`; as a context manager, it is killed at the end.

    Args:
      arguments: the arguments of the command line.
      env: the environment of the process.
      log: the file that its output goes to; several processes may use it one after the other.
      prefix: a command to start the program with.
    """

    def __init__(self, arguments: Sequence[str], env: Mapping[str, str], log: Path, prefix: Sequence[str] = ()) -> None:
        self._log = log
        with open(log, "w", encoding="utf-8") as file:
            self._process = subprocess.Popen(
                [*prefix, sys.executable, "-m", "segnet_jax.main", *arguments],
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def output(self) -> str:
        """The output so far, of both streams."""
        return self._log.read_text(encoding="utf-8")

    @property
    def step(self) -> int:
        """The step of the last line of progress; 0 if there is none yet."""
        return max(map(int, re.findall(r"^step +(\d+)/", self.output, re.MULTILINE)), default=0)

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """True until it has ended."""
        return self._process.poll() is None

    def send(self, number: signal.Signals) -> None:
        """Sends a signal, unless the process has ended."""
        self._process.send_signal(number)

    def end(self) -> int:
        """Waits for the end; returns the exit status, or minus the number of the signal that killed it."""
        return self._process.wait(timeout=_TIMEOUT)

    def wait_until(self, condition: Callable[[], bool]) -> bool:
        """Returns whether the condition came true before the program ended."""
        limit = time.monotonic() + _TIMEOUT
        while not condition():
            if not self.is_running:
                return condition()
            assert time.monotonic() < limit, f"nothing happens any more after\n{self.output}"
            time.sleep(0.003)
        return True

    def pause_in_step(self, step: int, workdir: Path) -> None:
        """Pauses it once that many steps are behind it, where no save is under way."""
        self.pause_where(lambda: self.step >= step and not is_saving(workdir))

    def pause_in_save(self, workdir: Path) -> None:
        """Pauses it while a checkpoint is being written, which stays unfinished."""
        # Before the first step, what lies there unfinished is an earlier run's.
        self.pause_where(lambda: self.step > 0 and is_saving(workdir))

    def pause_where(self, condition: Callable[[], bool]) -> None:
        """Stops all threads where a condition holds, and still holds then; SIGCONT lets them go on."""
        while self.wait_until(condition):
            self.send(signal.SIGSTOP)
            # Returns too, and takes nothing away, if the process has ended instead.
            os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            if not self.is_running:
                break
            if condition():
                return
            self.send(signal.SIGCONT)
        raise AssertionError(f"it ended too early:\n{self.output}")


def is_saving(workdir: Path) -> bool:
    """Returns whether a checkpoint is being written, or was when the process was killed."""
    return any((workdir / "checkpoints").glob("*.orbax-checkpoint-tmp*"))


def steps_in(workdir: Path) -> list[int]:
    """Returns the steps of the checkpoints in a work directory, damaged or not, in ascending order."""
    return find_steps(workdir / "checkpoints")


def resumed_step(output: str) -> int | None:
    """Returns the step that a run printed it resumed at."""
    found = re.search(r"^Resuming at step (\d+) of", output, re.MULTILINE)
    return int(found[1]) if found else None


def final_state(workdir: Path) -> tuple[int, Any]:
    """Returns the step and the state of the newest checkpoint."""
    with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
        step = checkpoints.latest_step()
        assert step is not None, f"{workdir} holds no checkpoint"
        metadata = checkpoints.read_metadata(step)
        config = from_dict(metadata["config"])
        model = build_model(config, sum(not entry["ignored"] for entry in metadata["class_table"]["classes"]))
        template = checkpoint_template(model, build_optimizer(config, lambda step: 0.0))
        return step, checkpoints.restore(template, step)[1]


def differences(workdir: Path, expected: Path) -> list[str]:
    """Returns the names of arrays, compared bit by bit, and of the report that differ from an undisturbed run's."""
    (step, found), (expected_step, wanted) = final_state(workdir), final_state(expected)
    if step != expected_step:
        return [f"step {step}, not {expected_step}"]
    pairs = zip(jax.tree_util.tree_leaves_with_path(wanted), jax.tree.leaves(found), strict=True)
    names = [jax.tree_util.keystr(path) for (path, a), b in pairs if np.asarray(a).tobytes() != np.asarray(b).tobytes()]
    reports = [(path / "eval" / f"val-{step}.json").read_text() for path in (workdir, expected)]
    return names + ["the report"] * (reports[0] != reports[1])
