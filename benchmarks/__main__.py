"""Measures time and memory of the networks, as in Table 6 of arXiv 1511.00561, alone or against PyTorch.

python -m benchmarks [--quick] [--models=segnet,segnet_basic] [--against=torch] [--output=DIR] (--help tells the rest)
python -m benchmarks --merge DIR DIR ...

Says what it measures and how long it will take, adds each result to a table when it is there, and in the end prints the
report. After each measurement DIR/benchmark.md has the report and DIR/benchmark.json every number, so a run that is
stopped leaves what it has, and goes on with --resume. Times are medians of runs that take turns, after warm-up and
without compilation. PyTorch comes from requirements-bench.txt.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from benchmarks import results as results_of
from benchmarks import session
from benchmarks.comparison import comparisons
from benchmarks.networks import DTYPES, SETTINGS
from benchmarks.table import markdown
from benchmarks.workload import MEASURES
from segnet_jax.errors import InputError
from segnet_jax.models import MODELS
from segnet_jax.runtime.preemption import GracefulShutdown

# What --quick measures, unless other options say otherwise: about two minutes on two cores.
_QUICK = {"size": "180x240", "train_batch": 2, "settings": "lean", "measures": "forward,train_step", "rounds": 3}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and reports, or merges the numbers of several runs."""
    parser = _parser()
    options = _parse(parser, arguments)
    try:
        if options.merge:
            results = results_of.merge(options.merge, may_differ=options.merge_different)
            folder = options.output or Path("runs/benchmark_merged")
            results_of.require_writable(folder)
            results_of.write(results, folder)
            print(markdown(results))
            return
        if options.against and importlib.util.find_spec("torch") is None:
            parser.error("--against=torch needs PyTorch; pip install -r requirements-bench.txt.")
        options.output = options.output or Path("runs/benchmark")
        results_of.require_writable(options.output)
        with GracefulShutdown() as shutdown:
            results = session.run(options, shutdown)
    except InputError as error:
        parser.error(str(error))
    print(f"\n{markdown(results)}")
    if results["unfinished"]:
        print(
            f"Stopped: {options.output} has what was measured; the same command with --resume goes on.", file=sys.stderr
        )
        sys.exit(shutdown.exit_status)


def _parse(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """Returns the options; --quick changes the defaults of others."""
    options = parser.parse_args(arguments)
    if options.quick:
        parser.set_defaults(**_QUICK)
        options = parser.parse_args(arguments)
    return options


def _baseline_ratios(path: str) -> dict[str, float]:
    """Reads the ratios to PyTorch of an earlier benchmark.json."""
    try:
        return {found.key: found.ratio for found in comparisons(results_of.read(Path(path)))}
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


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


def _counts(text: str) -> list[int]:
    return sorted({_count(number) for number in text.split(",")})


def _workers(text: str) -> list[int]:
    if not all(number.isdecimal() for number in text.split(",")):
        raise argparse.ArgumentTypeError(f"{text} must be whole numbers, such as 0,1,4,16.")
    return [int(number) for number in text.split(",")]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=(__doc__ or "").splitlines()[0],
        epilog="python -m benchmarks.deployment goes with docs/deployment.md, benchmarks.scaling and "
        "benchmarks.collectives with docs/scaling.md, benchmarks.layers, benchmarks.startup and "
        "benchmarks.storage with docs/performance.md.",
    )
    add = parser.add_argument
    quick = ", ".join(f"--{name}={value}" for name, value in _QUICK.items())
    add("--quick", action="store_true", help=f"about two minutes on two cores: unless given, {quick}")
    add("--models", type=_names_of(MODELS), default="segnet,segnet_basic", help="names, separated by commas, or all")
    add("--against", default="", choices=["", "torch"], help="what to compare with, in turns")
    add(
        "--torch_compile",
        action=argparse.BooleanOptionalAction,
        help="PyTorch also by torch.compile, which takes minutes on CPUs; by default on GPUs alone",
    )
    add("--size", type=_size, default="360x480", help="HEIGHTxWIDTH of the images in pixels")
    add("--train_batch", type=_count, default=4, help="images of a training step; other measures take one")
    add(
        "--batches",
        type=_counts,
        help="also find the best number of images of a training step among these; by default on GPUs 1,2,4,...,256",
    )
    add("--dtype", default="float32", choices=sorted(DTYPES), help="of activations")
    settings = "which of fast,lean,leanest (rematerialisation), or all; by default lean,leanest on CPUs, else fast,lean"
    add("--settings", type=_names_of(SETTINGS), help=settings)
    measures = f"which of {','.join(MEASURES)}, or all; by default all but the last on CPUs, else all"
    add("--measures", type=_names_of(MEASURES), help=measures)
    add("--rounds", type=_count, help="measured runs of each; by default 3 on CPUs, else 20")
    add("--input", action="store_true", help="also images/s of the input pipeline, PNG and records")
    # 0, 1, 2, 4, ... up to the number of cores.
    cores = len(os.sched_getaffinity(0))
    workers = sorted({0, cores, *(1 << power for power in range(cores.bit_length()))})
    add("--input_workers", type=_workers, default=workers, help="of --input: worker processes, as in 0,1,4,16")
    add("--feed", type=float, default=0.0, help="of --input: also the workers for so many images/s")
    add("--startup", action="store_true", help="also the time from command to first training step, and its parts")
    add("--baseline", type=_baseline_ratios, help="an earlier benchmark.json, whose ratios are shown beside")
    add("--output", type=Path, help="the folder for benchmark.json and benchmark.md; runs/benchmark by default")
    add("--resume", action="store_true", help="go on with the run whose numbers --output has")
    add("--merge", type=Path, nargs="+", help="folders or files of runs: only report the medians over them")
    add("--merge_different", action="store_true", help="also if their machines, versions or settings differ")
    return parser


if __name__ == "__main__":
    main()
