"""Runs `segnet_jax.main` and records where its time goes: `python -m benchmarks.startup_command SPANS FLAGS...`.

`benchmarks.startup` starts it. It imports nothing itself that would take time before the recording begins.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.spans import Recorder


def main() -> None:
    """Trains as the flags say, and writes all spans as JSON into the file SPANS at the end."""
    begin, recorder = time.perf_counter(), Recorder()
    path, *flags = sys.argv[1:]
    recorder.watch_imports()
    # In the order of the command itself: the package's entry, and what training needs, from within it.
    from segnet_jax import main as command
    from segnet_jax.checkpoint.manager import Checkpoints
    from segnet_jax.runtime.compilation import Compiled
    from segnet_jax.training import from_config, loop, progress, step_metrics

    recorder.watch_jax()
    recorder.watch(from_config, "build_dataset", "data")
    recorder.watch(from_config, "build_class_weights", "data")
    recorder.watch(loop, "check_examples", "data")
    recorder.watch(Compiled, "__call__", "first step")
    recorder.watch(step_metrics.StepMetrics, "flush", "first step")
    recorder.watch(from_config, "build_initial_state", "initial state")
    recorder.watch(loop, "replicate", "initial state")
    recorder.watch(Checkpoints, "__init__", "checkpoint manager")
    waiting = progress.Progress.data_wait

    @contextlib.contextmanager
    def data_wait(self: progress.Progress) -> Iterator[None]:
        with recorder.span("data"), waiting(self):
            yield

    progress.Progress.data_wait = data_wait  # type: ignore[method-assign]

    def write() -> None:
        Path(path).write_text(json.dumps({"begin": begin, "spans": recorder.spans}), encoding="utf-8")

    atexit.register(write)
    from absl import app

    app.run(command.main, argv=["segnet_jax.main", *flags], flags_parser=command.parse_flags)


if __name__ == "__main__":
    main()
