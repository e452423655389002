"""Time and memory of the networks, as in Table 6 of arXiv 1511.00561, alone or against PyTorch.

python -m benchmarks [--models=segnet,segnet_basic] [--against=torch] [--output=DIR] (--help tells the rest)

Prints Markdown and writes it to DIR/benchmark.md, and every number to DIR/benchmark.json. Times are medians of runs
that take turns, after warm-up and without compilation. PyTorch comes from requirements-bench.txt and is compared in a
checkout, where benchmarks/ lies.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import input_rate, startup, timing
from benchmarks.table import comparisons, markdown
from benchmarks.workload import NUM_CLASSES, Workload
from segnet_jax.errors import InputError
from segnet_jax.models import MODELS
from segnet_jax.ops.pooling import max_pool_argmax, max_unpool

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
MEASURES = ("forward", "train_forward", "gradient", "train_step")
# What the lean setting computes anew in the backward pass, see SegmentationModel.remat.
SETTINGS = {"fast": "none", "lean": "activations", "leanest": "stages"}
_POOLING_CHANNELS = 64


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and reports; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        results = run(options)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    text = markdown(results)
    print(text)
    output = Path(options.output)
    try:
        output.mkdir(parents=True, exist_ok=True)
        (output / "benchmark.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
        (output / "benchmark.md").write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        print(f"error: --output={output} cannot be written ({error.strerror}); choose another.", file=sys.stderr)
        return 1
    return 0


def run(options: argparse.Namespace) -> dict[str, Any]:
    """All measurements that the options ask for, as JSON-like values.

    Raises:
      InputError: for whatever the user can put right.
    """
    names = _names(options.models)
    size = _size(options.size)
    for setting in options.settings.split(","):
        if setting not in SETTINGS:
            raise InputError(f"--settings: there is no setting {setting!r}; the known ones are {', '.join(SETTINGS)}.")
    for key in ("rounds", "train_batch"):
        if getattr(options, key) < 1:
            raise InputError(f"--{key}={getattr(options, key)} must be at least 1.")
    if options.against == "torch":
        _require_torch(names, size)
    workers = _workers(options.input_workers)
    before = _baseline_ratios(options.baseline) if options.baseline else {}
    device = jax.local_devices()[0]
    dtype = DTYPES[options.dtype]
    rate = timing.matmul_rate(device, dtype)
    results: dict[str, Any] = {
        "machine": _machine(device),
        "image_size": size,
        "train_batch": options.train_batch,
        "dtype": options.dtype,
        "rounds": options.rounds,
        "matmul_flops_per_second": rate,
        "models": {},
    }
    if before:
        results["baseline_ratios"] = before
    if options.against:
        results["pooling"] = _pooling(size, options)
    for name in names:
        results["models"][name] = _model(name, size, device, options)
    if options.input:
        results["input_images_per_second"] = input_rate.images_per_second(size, options.train_batch, workers)
        results["feed_images_per_second"] = options.feed
    if options.startup:
        results["startup"] = startup.measure()
    return results


def _model(name: str, size: tuple[int, int], device: jax.Device, options: argparse.Namespace) -> dict[str, Any]:
    """One network: times, memory and costs, ours in each setting and PyTorch's in each of its forms."""
    workloads = {
        setting: Workload(
            name,
            image_size=size,
            train_batch=options.train_batch,
            device=device,
            dtype=DTYPES[options.dtype],
            remat=remat,
        )
        for setting, remat in SETTINGS.items()
        if setting in options.settings.split(",")
    }
    ours = {}
    for setting, workload in workloads.items():
        # Rematerialisation does not concern inference.
        measures = MEASURES if setting == "fast" else MEASURES[1:]
        workload.prepare(*measures)
        ours[setting] = {
            "compile_seconds": workload.compile_seconds,
            "memory_bytes": {what: workload.memory_bytes(what) for what in (measures[0], "train_step")},
            "temporary_bytes": {what: workload.temporary_bytes(what) for what in (measures[0], "train_step")},
        }
    first = next(iter(workloads.values()))
    result: dict[str, Any] = {
        "parameters": first.parameters,
        "model_bytes": first.model_bytes,
        "flops": {what: first.flops(what) for what in ("forward", "gradient")},
        "ours": ours,
        "seconds": {},
    }
    theirs = _torch_workloads(name, size, options) if options.against == "torch" else {}
    for what in MEASURES:
        contenders = {
            setting: getattr(workload, what)
            for setting, workload in workloads.items()
            if what in workload.compile_seconds
        } | {variant: getattr(workload, what) for variant, workload in theirs.items()}
        result["seconds"][what] = timing.interleaved(contenders, options.rounds)
    if theirs:
        result["torch_memory_bytes"] = {
            variant: {what: workload.peak_memory_bytes(what) for what in ("forward", "train_step")}
            for variant, workload in theirs.items()
        }
    return result


def _pooling(size: tuple[int, int], options: argparse.Namespace) -> dict[str, Any]:
    """Pooling and unpooling of one image of 64 channels, the heart of SegNet, against PyTorch's."""
    import torch

    x = jax.random.normal(jax.random.key(0), (1, *size, _POOLING_CHANNELS))

    @jax.jit
    def pool_and_unpool(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        pooled, indices = max_pool_argmax(x)
        return max_unpool(pooled, indices, size), indices

    contenders: dict[str, Callable[[], object]] = {"ours": lambda: jax.block_until_ready(pool_and_unpool(x))}
    pool = torch.nn.MaxPool2d(2, 2, ceil_mode=True, return_indices=True)
    unpool = torch.nn.MaxUnpool2d(2, 2)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    nchw = torch.randn(1, _POOLING_CHANNELS, *size, device=device)

    def torch_run(x: Any) -> None:
        with torch.inference_mode():
            unpool(*pool(x), output_size=size)
        if device == "cuda":
            torch.cuda.synchronize()

    contenders["torch"] = lambda: torch_run(nchw)
    nhwc = nchw.contiguous(memory_format=torch.channels_last)
    contenders["torch channels_last"] = lambda: torch_run(nhwc)
    index_bytes = {
        "ours": pool_and_unpool(x)[1].nbytes,
        "torch": (lambda indices: indices.numel() * indices.element_size())(pool(nchw)[1]),
    }
    seconds = timing.interleaved(contenders, 10 * options.rounds, warm_up=5)
    return {"channels": _POOLING_CHANNELS, "seconds": seconds, "index_bytes": index_bytes}


def _torch_workloads(name: str, size: tuple[int, int], options: argparse.Namespace) -> dict[str, Any]:
    from benchmarks.pytorch.workload import TorchWorkload

    variants: dict[str, dict[str, bool]] = {"torch": {}, "torch channels_last": {"channels_last": True}}
    if options.torch_compile:
        variants["torch channels_last compile"] = {"channels_last": True, "compiled": True}
    return {
        variant: TorchWorkload(name, image_size=size, train_batch=options.train_batch, dtype=options.dtype, **fields)
        for variant, fields in variants.items()
    }


def _baseline_ratios(path: str) -> dict[str, float]:
    """The ratios to PyTorch of an earlier benchmark.json."""
    try:
        results = json.loads(Path(path).read_text(encoding="utf-8"))
        return {found.key: found.ratio for found in comparisons(results)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"--baseline={path} is not the benchmark.json of an earlier run: {error}.") from error


def _require_torch(names: Sequence[str], size: tuple[int, int]) -> None:
    """Refuses what would otherwise end after minutes of measurements."""
    try:
        from benchmarks.pytorch.models import TORCH_MODELS, create_torch_model
    except ModuleNotFoundError as error:
        missing = error.name or ""
        raise InputError(
            "--against=torch needs PyTorch; pip install -r requirements-bench.txt."
            if missing.startswith("torch")
            else "--against=torch needs the folder benchmarks/; run it from the top of a checkout."
        ) from error
    for name in names:
        if name not in TORCH_MODELS:
            raise InputError(
                f"{name} has no PyTorch counterpart in benchmarks/; --against=torch takes {', '.join(TORCH_MODELS)}."
            )
        import torch

        # Shapes without values.
        with torch.device("meta"):
            try:
                create_torch_model(name, NUM_CLASSES)(torch.empty(1, 3, *size))
            except ValueError as error:
                raise InputError(
                    f"--size={size[0]}x{size[1]} leaves a BatchNorm of {name} one value, which PyTorch does not train "
                    "on; choose a larger one, or none, which is 360x480."
                ) from error


def _names(text: str) -> list[str]:
    names = list(MODELS) if text == "all" else text.split(",")
    for name in names:
        if name not in MODELS:
            raise InputError(f"--models: there is no model {name!r}; the known ones are {', '.join(MODELS)}.")
    return names


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise InputError(f"--size={text} must be HEIGHTxWIDTH in pixels, such as 360x480.")
    return int(height), int(width)


def _workers(text: str) -> list[int]:
    """The numbers of worker processes to try: by default 0, 1, 2, 4, ... up to the number of cores."""
    cores = len(os.sched_getaffinity(0))
    if not text:
        return sorted({0, cores, *(1 << power for power in range(cores.bit_length()))})
    if not all(number.isdecimal() for number in text.split(",")):
        raise InputError(f"--input_workers={text} must be whole numbers, such as 0,1,4,16.")
    return [int(number) for number in text.split(",")]


def _machine(device: jax.Device) -> dict[str, Any]:
    return {
        "device": device.device_kind,
        "platform": device.platform,
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "jax": jax.__version__,
        **({"torch": sys.modules["torch"].__version__} if "torch" in sys.modules else {}),
    }


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
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
