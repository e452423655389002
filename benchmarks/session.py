"""Makes all measurements that the options of `python -m benchmarks` ask for, and keeps each as soon as it is there."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

from benchmarks import best_batch, input_rate, results, startup, timing
from benchmarks.estimate import Estimate, Program
from benchmarks.machine import describe
from benchmarks.networks import DTYPES, TORCH_VARIANTS, Setup, is_measured, measure_network, measure_pooling
from benchmarks.progress import Progress, Stopped, duration
from benchmarks.workload import MEASURES, model_flops
from segnet_jax.errors import InputError
from segnet_jax.runtime.preemption import GracefulShutdown


def run(options: argparse.Namespace, shutdown: GracefulShutdown) -> dict[str, Any]:
    """Measures, and returns all numbers as JSON-like values; `unfinished` among them tells whether a signal came.

    After each measurement they are in the folder `options.output`.

    Args:
      options: of the command line. What is None in them gets its platform's default.
      shutdown: a signal stops before the next call of anything.

    Raises:
      InputError: if the folder cannot be written, or has no run to resume, or one of other conditions.
    """
    # JAX would take most of a GPU's memory for itself, and leave PyTorch the rest.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    device = jax.local_devices()[0]
    choose_defaults(options, device.platform)
    if options.against:
        # Its profiler, which measures memory, would write about itself.
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")
        import torch  # noqa: F401  so that `describe` knows its version
    found = _first_results(options, device)
    setup = Setup(
        options.size,
        options.train_batch,
        options.dtype,
        options.settings,
        [name for name in TORCH_VARIANTS if options.torch_compile or "compile" not in name] if options.against else [],
        options.rounds,
        device,
    )
    if options.resume:
        found = _resumed(found, options)
    missing = _missing(options, setup, found)
    estimate = _estimate(options, setup, found, missing)
    progress = Progress(estimate, shutdown)
    cores = len(os.sched_getaffinity(0))
    if found["load"] > cores / 4:
        progress.say(
            f"The load of this machine is {found['load']:.1f} on {cores} cores; what else runs makes times longer and "
            "ratios uncertain."
        )
    progress.say(
        f"About {duration(estimate.seconds_left())} in all, by the operations and the rate of matrix products; the "
        "first call of each program corrects it."
    )
    try:
        _measure(options, setup, found, missing, progress, shutdown)
    except (Stopped, KeyboardInterrupt):
        pass
    finally:
        progress.close()
    found["unfinished"] = shutdown.signal is not None
    results.write(found, options.output)
    return found


def choose_defaults(options: argparse.Namespace, platform: str) -> None:
    """Sets the options that are None: on CPUs, where a step takes seconds, to fewer things than elsewhere."""
    on_cpu = platform == "cpu"
    defaults: dict[str, Any] = {
        "torch_compile": not on_cpu,
        "batches": [] if on_cpu else [1 << power for power in range(9)],
        "settings": ["lean", "leanest"] if on_cpu else ["fast", "lean"],
        "measures": list(MEASURES[:-1] if on_cpu else MEASURES),
        "rounds": 3 if on_cpu else 20,
    }
    if options.quick:
        defaults["batches"] = []
    for name, value in defaults.items():
        if getattr(options, name) is None:
            setattr(options, name, value)


def _first_results(options: argparse.Namespace, device: jax.Device) -> dict[str, Any]:
    return {
        "machine": describe(device),
        "load": os.getloadavg()[0],
        "image_size": list(options.size),
        "train_batch": options.train_batch,
        "dtype": options.dtype,
        "rounds": options.rounds,
        "quick": options.quick,
        "settings": options.settings,
        "against": options.against and ("torch and torch.compile" if options.torch_compile else "torch"),
        "unfinished": True,
        "matmul_flops_per_second": timing.matmul_rate(device, DTYPES[options.dtype]),
        "models": {},
        **({"baseline_ratios": options.baseline} if options.baseline else {}),
    }


def _resumed(fresh: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Returns the numbers that the output folder has, if they are of the same conditions as `fresh`."""
    former = results.read(options.output)
    found = results.differences(former, fresh, more=("settings", "against"))
    if found:
        raise InputError(
            f"--resume: the run in {options.output} and this one differ in {', '.join(found)}; make them alike, or "
            "choose another --output."
        )
    return former | {key: fresh[key] for key in ("load", "unfinished", "baseline_ratios") if key in fresh}


def _missing(options: argparse.Namespace, setup: Setup, found: dict[str, Any]) -> dict[str, list[str]]:
    """Returns the measures of each network that have to be made."""
    return {
        name: [
            measure for measure in options.measures if not is_measured(found["models"].get(name, {}), measure, setup)
        ]
        for name in options.models
    }


def _estimate(
    options: argparse.Namespace, setup: Setup, found: dict[str, Any], missing: dict[str, list[str]]
) -> Estimate:
    """Counts the operations of each network, and returns what is ahead."""
    programs: list[Program] = []
    for name in options.models:
        network = found["models"].setdefault(name, {})
        if "flops" not in network:
            network["flops"] = model_flops(name, options.size)
        programs += setup.programs(name, missing[name], network["flops"])
        done = found.get("batches", {}).get(name, {}).get("rounds", {})
        left = [batch for batch in options.batches if done.get(str(batch), 0) < setup.rounds]
        programs += best_batch.programs(name, setup, left, network["flops"])
    parts = {part.label: part.seconds for part in _parts(options, found)}
    return Estimate(programs, found["matmul_flops_per_second"], parts)


@dataclass(frozen=True)
class _Part:
    """Says what else is measured: `seconds` is a guess, and `run` returns numbers by their keys in the results.

    `run` takes a function that it tells what goes on.
    """

    label: str
    seconds: float
    run: Callable[[Callable[[str], None]], dict[str, Any]]


def _parts(options: argparse.Namespace, found: dict[str, Any]) -> list[_Part]:
    """Returns what is asked for beside the networks and is not in the results yet."""
    parts = []
    if options.against and "pooling" not in found:
        # Of each of the three contenders, ten calls a round of some 25 ms.
        guess = 5.0 + options.rounds
        parts.append(
            _Part("pooling", guess, lambda say: {"pooling": measure_pooling(options.size, options.rounds)}),
        )
    if options.input and "input_images_per_second" not in found:
        guess = 20.0 * len(options.input_workers)
        parts.append(_Part("input pipeline", guess, lambda say: _input(options, say)))
    if options.startup and "startup" not in found:
        parts.append(_Part("start-up", 90.0, lambda say: {"startup": startup.measure(say)}))
    return parts


def _input(options: argparse.Namespace, say: Callable[[str], None]) -> dict[str, Any]:
    rates = input_rate.images_per_second(options.size, options.train_batch, options.input_workers, say=say)
    return {"input_images_per_second": rates, "feed_images_per_second": options.feed}


def _measure(
    options: argparse.Namespace,
    setup: Setup,
    found: dict[str, Any],
    missing: dict[str, list[str]],
    progress: Progress,
    shutdown: GracefulShutdown,
) -> None:
    """Measures networks one after the other, then their batches, then the other parts."""

    def save() -> None:
        results.write(found, options.output)

    for name, measures in missing.items():
        if measures:
            measure_network(name, setup, measures, found["models"][name], progress, save)
    for name in options.models:
        if options.batches:
            batches = found.setdefault("batches", {}).setdefault(name, {})
            best_batch.measure_batches(name, setup, options.batches, batches, progress, save)
    for part in _parts(options, found):
        progress.begin_measurement(part.label)
        try:
            found |= part.run(progress.doing)
        except Exception as error:
            # Ctrl-C reaches the processes that a part has started, too.
            if shutdown.signal is None:
                raise
            raise Stopped from error
        del progress.estimate.parts[part.label]
        save()
