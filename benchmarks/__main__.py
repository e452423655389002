"""Measures time and memory of the networks, as in Table 6 of arXiv 1511.00561, alone or against PyTorch.

python -m benchmarks [--models=segnet,segnet_basic] [--against=torch] [--output=DIR] (--help tells the rest)

Prints Markdown and writes it to DIR/benchmark.md, and every number to DIR/benchmark.json. Times are medians of runs
that take turns, after warm-up and without compilation. PyTorch comes from requirements-bench.txt.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import jax

from benchmarks import input_rate, startup, timing
from benchmarks.machine import describe
from benchmarks.networks import DTYPES, SETTINGS, measure_network, measure_pooling
from benchmarks.table import comparisons, markdown
from segnet_jax.errors import InputError
from segnet_jax.models import MODELS
from segnet_jax.runtime.files import write_errors


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and reports."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.against and importlib.util.find_spec("torch") is None:
        parser.error("--against=torch needs PyTorch; pip install -r requirements-bench.txt.")
    results = run(options)
    text = markdown(results)
    print(text)
    try:
        with write_errors(f"--output={options.output}", advice="choose another"):
            options.output.mkdir(parents=True, exist_ok=True)
            (options.output / "benchmark.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
            (options.output / "benchmark.md").write_text(text + "\n", encoding="utf-8")
    except InputError as error:
        parser.error(str(error))


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Returns all measurements that the options ask for, as JSON-like values."""
    device = jax.local_devices()[0]
    results: dict[str, Any] = {
        "machine": describe(device),
        "image_size": options.size,
        "train_batch": options.train_batch,
        "dtype": options.dtype,
        "rounds": options.rounds,
        "matmul_flops_per_second": timing.matmul_rate(device, DTYPES[options.dtype]),
        "models": {},
    }
    if options.baseline:
        results["baseline_ratios"] = options.baseline
    if options.against:
        results["pooling"] = measure_pooling(options.size, options.rounds)
    for name in options.models:
        results["models"][name] = measure_network(
            name,
            options.size,
            train_batch=options.train_batch,
            dtype=options.dtype,
            settings=options.settings,
            rounds=options.rounds,
            device=device,
            with_torch=bool(options.against),
            torch_compile=options.torch_compile,
        )
    if options.input:
        results["input_images_per_second"] = input_rate.images_per_second(
            options.size, options.train_batch, options.input_workers
        )
        results["feed_images_per_second"] = options.feed
    if options.startup:
        results["startup"] = startup.measure()
    return results


def _baseline_ratios(path: str) -> dict[str, float]:
    """Reads the ratios to PyTorch of an earlier benchmark.json."""
    try:
        results = json.loads(Path(path).read_text(encoding="utf-8"))
        return {found.key: found.ratio for found in comparisons(results)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        message = f"{path} is not the benchmark.json of an earlier run: {error}."
        raise argparse.ArgumentTypeError(message) from error


def _names_of(known: Iterable[str]) -> Callable[[str], list[str]]:
    """Returns a parser of names that are separated by commas, or "all"; they come in the order of `known`."""

    def parse(text: str) -> list[str]:
        wanted = list(known) if text == "all" else text.split(",")
        for name in wanted:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is not known; choose from {', '.join(known)}.")
        return [name for name in known if name in wanted]

    return parse


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise argparse.ArgumentTypeError(f"{text} must be HEIGHTxWIDTH in pixels, such as 360x480.")
    return int(height), int(width)


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text} must be a whole number, at least 1.")
    return int(text)


def _workers(text: str) -> list[int]:
    if not all(number.isdecimal() for number in text.split(",")):
        raise argparse.ArgumentTypeError(f"{text} must be whole numbers, such as 0,1,4,16.")
    return [int(number) for number in text.split(",")]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__.splitlines()[0],
        epilog="python -m benchmarks.scaling and python -m benchmarks.collectives go with docs/scaling.md.",
    )
    add = parser.add_argument
    add("--models", type=_names_of(MODELS), default="all", help="names, separated by commas, or all")
    add("--against", default="", choices=["", "torch"], help="what to compare with, in turns")
    add("--torch_compile", action="store_true", help="PyTorch also by torch.compile, which takes minutes")
    add("--size", type=_size, default="360x480", help="HEIGHTxWIDTH of the images in pixels")
    add("--train_batch", type=_count, default=4, help="images of a training step; other measures take one")
    add("--dtype", default="float32", choices=sorted(DTYPES), help="of activations")
    add("--settings", type=_names_of(SETTINGS), default="all", help="which of fast,lean,leanest (rematerialisation)")
    add("--rounds", type=_count, default=5, help="measured runs of each")
    add("--input", action="store_true", help="also images/s of the input pipeline, PNG and records")
    # 0, 1, 2, 4, ... up to the number of cores.
    cores = len(os.sched_getaffinity(0))
    workers = sorted({0, cores, *(1 << power for power in range(cores.bit_length()))})
    add("--input_workers", type=_workers, default=workers, help="of --input: worker processes, as in 0,1,4,16")
    add("--feed", type=float, default=0.0, help="of --input: also the workers for so many images/s")
    add("--startup", action="store_true", help="also the time from command to first training step")
    add("--baseline", type=_baseline_ratios, help="an earlier benchmark.json, whose ratios are shown beside")
    add("--output", type=Path, default="runs/benchmark", help="the folder for benchmark.json and benchmark.md")
    return parser


if __name__ == "__main__":
    main()
