"""Measures the time from a command to its first training step."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time

_RUN = [
    *("-m", "segnet_jax.main", "--config.train.duration=1 steps", "--config.data.eval_scenes=1"),
    *("--config.data.train_scenes=12", "--config.data.scene_size=(180, 240)", "--config.train.batch_size=4"),
]


def measure() -> dict[str, float]:
    """Returns seconds from a command to its end or its first step.

    "import" is `import segnet_jax`, "import_train" the import of everything that training needs. "cold" and "cached"
    last from the command to the end of the first training step of `segnet` on 4 drawn scenes of 180x240, without and
    with compiled programs in the cache.
    """
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "XDG_CACHE_HOME": folder}
        return {
            "import": _seconds_of_import("segnet_jax", environment),
            "import_train": _seconds_of_import("segnet_jax.training.loop", environment),
            "cold": _seconds_to_first_step([*_RUN, f"--workdir={folder}/cold"], environment),
            "cached": _seconds_to_first_step([*_RUN, f"--workdir={folder}/cached"], environment),
        }


def _seconds_of_import(module: str, environment: dict[str, str]) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {module}"], env=environment, check=True)
    return time.perf_counter() - start


def _seconds_to_first_step(arguments: list[str], environment: dict[str, str]) -> float:
    start = time.perf_counter()
    seconds = None
    with subprocess.Popen(
        [sys.executable, *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "first step took" in line:
                seconds = time.perf_counter() - start
    if seconds is None:
        raise RuntimeError(f"{' '.join(arguments)} ended with {process.returncode} before its first step.")
    return seconds
