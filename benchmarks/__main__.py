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
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from benchmarks import input_rate, startup, timing
from benchmarks.machine import describe
from benchmarks.networks import DTYPES, SETTINGS, check_torch, measure_network, measure_pooling
from benchmarks.table import comparisons, markdown
from segnet_jax.errors import InputError
from segnet_jax.models import MODELS
from segnet_jax.runtime.files import write_errors


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and reports; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        results = run(options)
        text = markdown(results)
        print(text)
        output = Path(options.output)
        with write_errors(f"--output={output}", advice="choose another"):
            output.mkdir(parents=True, exist_ok=True)
            (output / "benchmark.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
            (output / "benchmark.md").write_text(text + "\n", encoding="utf-8")
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Returns all measurements that the options ask for, as JSON-like values.

    Raises:
      InputError: for whatever the user can put right.
    """
    names, settings = _names(options.models), _settings(options.settings)
    size = _size(options.size)
    for key in ("rounds", "train_batch"):
        if getattr(options, key) < 1:
            raise InputError(f"--{key}={getattr(options, key)} must be at least 1.")
    if options.against == "torch":
        if importlib.util.find_spec("torch") is None:
            raise InputError("--against=torch needs PyTorch; pip install -r requirements-bench.txt.")
        check_torch(names, size)
    workers = _workers(options.input_workers)
    before = _baseline_ratios(options.baseline) if options.baseline else {}
    device = jax.local_devices()[0]
    results: dict[str, Any] = {
        "machine": describe(device),
        "image_size": size,
        "train_batch": options.train_batch,
        "dtype": options.dtype,
        "rounds": options.rounds,
        "matmul_flops_per_second": timing.matmul_rate(device, DTYPES[options.dtype]),
        "models": {},
    }
    if before:
        results["baseline_ratios"] = before
    if options.against:
        results["pooling"] = measure_pooling(size, options.rounds)
    for name in names:
        results["models"][name] = measure_network(
            name,
            size,
            train_batch=options.train_batch,
            dtype=options.dtype,
            settings=settings,
            rounds=options.rounds,
            device=device,
            with_torch=options.against == "torch",
            torch_compile=options.torch_compile,
        )
    if options.input:
        results["input_images_per_second"] = input_rate.images_per_second(size, options.train_batch, workers)
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
        raise InputError(f"--baseline={path} is not the benchmark.json of an earlier run: {error}.") from error


def _names(text: str) -> list[str]:
    names = list(MODELS) if text == "all" else text.split(",")
    for name in names:
        if name not in MODELS:
            raise InputError(f"--models: there is no model {name!r}; the known ones are {', '.join(MODELS)}.")
    return names


def _settings(text: str) -> list[str]:
    """Reads the settings, in the order of `SETTINGS`."""
    wanted = text.split(",")
    for setting in wanted:
        if setting not in SETTINGS:
            raise InputError(f"--settings: there is no setting {setting!r}; the known ones are {', '.join(SETTINGS)}.")
    return [setting for setting in SETTINGS if setting in wanted]


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise InputError(f"--size={text} must be HEIGHTxWIDTH in pixels, such as 360x480.")
    return int(height), int(width)


def _workers(text: str) -> list[int]:
    """Reads the numbers of worker processes to try: by default 0, 1, 2, 4, ... up to the number of cores."""
    cores = len(os.sched_getaffinity(0))
    if not text:
        return sorted({0, cores, *(1 << power for power in range(cores.bit_length()))})
    if not all(number.isdecimal() for number in text.split(",")):
        raise InputError(f"--input_workers={text} must be whole numbers, such as 0,1,4,16.")
    return [int(number) for number in text.split(",")]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__.splitlines()[0],
        epilog="python -m benchmarks.scaling and python -m benchmarks.collectives go with docs/scaling.md.",
    )
    parser.add_argument("--models", default="all", help="names, separated by commas, or all")
    parser.add_argument("--against", default="", choices=["", "torch"], help="what to compare with, in turns")
    parser.add_argument(
        "--torch_compile", action="store_true", help="PyTorch also by torch.compile, which takes minutes"
    )
    parser.add_argument("--size", default="360x480", help="HEIGHTxWIDTH of the images in pixels")
    parser.add_argument("--train_batch", type=int, default=4, help="images of a training step; other measures take one")
    parser.add_argument("--dtype", default="float32", choices=sorted(DTYPES), help="of activations")
    parser.add_argument("--settings", default=",".join(SETTINGS), help="which of fast,lean,leanest (rematerialisation)")
    parser.add_argument("--rounds", type=int, default=5, help="measured runs of each")
    parser.add_argument("--input", action="store_true", help="also images/s of the input pipeline, PNG and records")
    parser.add_argument("--input_workers", default="", help="of --input: numbers of worker processes, as in 0,1,4,16")
    parser.add_argument("--feed", type=float, default=0.0, help="of --input: also the workers for so many images/s")
    parser.add_argument("--startup", action="store_true", help="also the time from command to first training step")
    parser.add_argument("--baseline", default="", help="an earlier benchmark.json, whose ratios are shown beside")
    parser.add_argument("--output", default="runs/benchmark", help="the folder for benchmark.json and benchmark.md")
    return parser


if __name__ == "__main__":
    sys.exit(main())
