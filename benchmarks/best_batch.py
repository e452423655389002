"""Finds the number of images of a training step that trains most images a second."""

from __future__ import annotations

import functools
import gc
import sys
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.estimate import Program
from benchmarks.networks import Setup, compilation_guess, record
from benchmarks.progress import Progress
from benchmarks.timing import seconds_of

# A batch twice as large that trains so many images more, for neither of the two frameworks, ends the search.
_GAIN = 1.03


def measure_batches(
    name: str,
    setup: Setup,
    batches: Sequence[int],
    result: dict[str, Any],
    progress: Progress,
    save: Callable[[], None],
) -> None:
    """Times training steps of ever more images, until that gains nothing or does not fit into memory.

    Where one contender's memory is exhausted, the others go on. The two frameworks share the device's memory.

    Args:
      name: of the network.
      setup: of the measurements.
      batches: images of a step, ascending.
      result: what is known of the batches of this network, JSON-like. Gets `seconds`, `spread` and `rounds` by batch
        (as text), as `measure_network` by measure, `memory_bytes` by batch and contender, and `exhausted` by batch: the
        contenders whose memory was not enough.
      progress: is told what goes on.
      save: is called after each batch.

    Raises:
      Stopped: if a signal has come; the result holds what was measured until then.
    """
    best = {True: 0.0, False: 0.0}
    exhausted: set[str] = set()
    for number, batch in enumerate(batches):
        measure, key = _measure(batch), str(batch)
        if result.get("rounds", {}).get(key, 0) < setup.rounds:
            progress.begin_measurement(f"{name}, {measure}")
            _measure_batch(name, setup, batch, exhausted, result, progress)
            progress.estimate.finish((name, measure))
            save()
            _release()
        exhausted |= set(result["exhausted"][key])
        gains = False
        for contender, seconds in result.get("seconds", {}).get(key, {}).items():
            rate, is_theirs = batch / seconds, contender in setup.variants
            gains |= rate > _GAIN * best[is_theirs]
            best[is_theirs] = max(best[is_theirs], rate)
        if not gains:
            for unneeded in batches[number + 1 :]:
                progress.estimate.drop((name, _measure(unneeded)))
            return


def programs(name: str, setup: Setup, batches: Sequence[int], flops: dict[str, float]) -> list[Program]:
    """Returns what `measure_batches` runs at most."""
    return [
        Program(
            (name, _measure(batch)),
            contender,
            batch * flops["gradient"],
            2 + setup.rounds,
            compilation_guess(contender, "train_step"),
        )
        for batch in batches
        for contender in (*setup.settings, *setup.variants)
    ]


def is_out_of_memory(error: RuntimeError) -> bool:
    """Tells whether JAX or PyTorch says that a device's memory is not enough."""
    return any(words in str(error) for words in ("RESOURCE_EXHAUSTED", "out of memory", "Out of memory"))


def _measure_batch(
    name: str, setup: Setup, batch: int, exhausted: set[str], result: dict[str, Any], progress: Progress
) -> None:
    measure, key = _measure(batch), str(batch)
    runs, memory, lacking = {}, {}, []
    for contender in (*setup.settings, *setup.variants):
        if contender in exhausted:
            progress.estimate.drop((name, measure), contender)
            continue
        progress.now(f": first step of {contender}")
        try:
            workload = setup.build(name, contender, batch)
            run = functools.partial(workload.run, "train_step")
            progress.compiled(name, measure, contender, seconds_of(run), "took its first step in")
            is_theirs = contender in setup.variants
            memory[contender] = (workload.peak_memory_bytes if is_theirs else workload.memory_bytes)("train_step")
            runs[contender] = run
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            progress.say(f"{name}, {measure}: {contender} does not fit into memory.")
            progress.estimate.drop((name, measure), contender)
            lacking.append(contender)
    result.setdefault("exhausted", {})[key] = lacking
    result.setdefault("memory_bytes", {})[key] = memory
    if runs:
        record(result, key, progress.measure(name, measure, runs, setup.rounds))
    else:
        result.setdefault("rounds", {})[key] = setup.rounds


def _release() -> None:
    """Gives the memory that PyTorch holds in reserve back to the device, where JAX needs it."""
    gc.collect()
    if "torch" in sys.modules and sys.modules["torch"].cuda.is_available():
        sys.modules["torch"].cuda.empty_cache()


def _measure(batch: int) -> str:
    return f"training step of {batch}"
