"""Measures the time from a command to its first training step, and what it goes into.

python -m benchmarks.startup

Prints Markdown: seconds by kind, without and with compiled programs in the cache, and what takes the most of them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.cells import table
from benchmarks.spans import Span, own_seconds

_FLAGS = [
    *("--config.train.duration=1 steps", "--config.data.eval_scenes=1", "--config.data.train_scenes=12"),
    *("--config.data.scene_size=(180, 240)", "--config.train.batch_size=4"),
]
# In the order of a run.
_KINDS = (
    "Python",
    "import",
    "data",
    "initial state",
    "checkpoint manager",
    "tracing",
    "lowering",
    "XLA compilation",
    "reading compiled programs",
    "first step",
    "rest",
)
_STARTS = {"cold": "nothing compiled", "cached": "compiled programs cached"}
_LONGEST = 8


def main() -> None:
    """Measures and prints."""
    argparse.ArgumentParser(
        prog="python -m benchmarks.startup", description=(__doc__ or "").partition("\n")[0]
    ).parse_args()
    print(f"Load at the start: {os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} cores.", file=sys.stderr)
    print(report(measure(lambda what: print(f"{what} ...", file=sys.stderr, flush=True))))


def measure(say: Callable[[str], None] = lambda what: None) -> dict[str, Any]:
    """Returns seconds from a command to its end or its first step.

    "import" is `import segnet_jax`, "import_train" the import of everything that training needs. "cold" and "cached"
    last from the command to the end of the first training step of `segnet` on 4 drawn scenes of 180x240, without and
    with compiled programs in the cache. `parts` has, for both of them, what they go into: `kinds`, of `Python` (until
    its first line runs) to `rest`, which add up to the whole; and of these `packages`, the imports by package, and
    `functions`, tracing, lowering and compilation by function, the longest ones.

    Args:
      say: is told what is measured now.
    """
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "XDG_CACHE_HOME": folder}
        environment.pop("JAX_COMPILATION_CACHE_DIR", None)
        results: dict[str, Any] = {"parts": {}}
        for name, module in (("import", "segnet_jax"), ("import_train", "segnet_jax.training.loop")):
            say(f"import of {module}")
            results[name] = _seconds_of_import(module, environment)
        for start, words in _STARTS.items():
            say(f"command to first step, {words}")
            spans = Path(folder) / f"{start}.json"
            flags = [*_FLAGS, f"--workdir={folder}/{start}"]
            command = [sys.executable, "-m", "benchmarks.startup_command", str(spans), *flags]
            begin, end = _first_step(command, environment)
            results[start] = end - begin
            results["parts"][start] = parts_of(json.loads(spans.read_text(encoding="utf-8")), begin, end)
        return results


def parts_of(record: dict[str, Any], begin: float, end: float) -> dict[str, dict[str, float]]:
    """Returns what the time from `begin` to `end` went into, of the record of `startup_command`; see `measure`."""
    kinds = dict.fromkeys(_KINDS, 0.0)
    kinds["Python"] = record["begin"] - begin
    packages: dict[str, float] = {}
    functions: dict[str, float] = {}
    for span, seconds in own_seconds((Span(*values) for values in record["spans"]), end):
        kinds[span.kind] += seconds
        if span.detail:
            by_detail = packages if span.kind == "import" else functions
            detail = span.detail if span.kind == "import" else f"{span.detail}: {span.kind}"
            by_detail[detail] = by_detail.get(detail, 0.0) + seconds
    kinds["rest"] = end - begin - sum(kinds.values())
    return {"kinds": kinds, "packages": _longest(packages), "functions": _longest(functions)}


def report(seconds: dict[str, Any]) -> str:
    """Returns the numbers of `measure` as Markdown."""
    names = {
        "import": "`import segnet_jax`",
        "import_train": "import of all that training needs",
        **{start: f"command to first step, {words}" for start, words in _STARTS.items()},
    }
    text = table(["what", "seconds"], [[name, f"{seconds[key]:.1f}"] for key, name in names.items()])
    parts = seconds.get("parts", {})
    if not parts:
        return text
    for kind, title in (
        ("kinds", "of the time to the first step"),
        ("packages", "imports, by package, without what it imports itself"),
        ("functions", "function"),
    ):
        rows = dict.fromkeys(name for start in parts for name in parts[start][kind])
        cells = [[name, *(f"{parts[start][kind].get(name, 0.0):.1f}" for start in parts)] for name in rows]
        text += "\n\n" + table([title, *(f"{_STARTS[start]}, s" for start in parts)], cells)
    return text


def _longest(seconds: dict[str, float]) -> dict[str, float]:
    return dict(sorted(seconds.items(), key=lambda item: -item[1])[:_LONGEST])


def _seconds_of_import(module: str, environment: dict[str, str]) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {module}"], env=environment, check=True)
    return time.perf_counter() - start


def _first_step(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Runs a command that trains, and returns when it began and when its first step was done."""
    begin = time.perf_counter()
    end = None
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "first step took" in line:
                end = time.perf_counter()
    if end is None:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode} before its first step.")
    return begin, end


if __name__ == "__main__":
    main()
