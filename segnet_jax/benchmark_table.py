"""The benchmark's numbers as Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

_MEGABYTE = 1e6


def markdown(results: dict[str, Any]) -> str:
    """The report of `benchmark.run`'s results."""
    height, width = results["image_size"]
    parts = [
        "# Benchmark",
        _machine(results),
        f"Images of {height}x{width}. Forward is inference on one image; backward is the gradient in training mode "
        f"less its forward pass, on one image; the training step takes {results['train_batch']} images. Times are "
        f"medians of {results['rounds']} runs in turns, in ms.",
        _networks(results),
        _settings(results),
    ]
    if any("torch_memory_bytes" in model for model in results["models"].values()):
        parts += ["## Against PyTorch", _against(results)]
    if "pooling" in results:
        parts += ["## Pooling and unpooling", _pooling(results)]
    if "input_images_per_second" in results:
        parts += ["## Input pipeline", _input(results)]
    if "startup" in results:
        parts += ["## Start-up", _startup(results["startup"])]
    return "\n\n".join(parts)


def _machine(results: dict[str, Any]) -> str:
    machine = results["machine"]
    versions = ", ".join(f"{key} {machine[key]}" for key in ("python", "jax", "torch") if key in machine)
    rate = results["matmul_flops_per_second"] / 1e9
    return (
        f"{machine['processor']}, {machine['cores']} cores; {machine['device']} ({machine['platform']}); {versions}; "
        f"{results['dtype']}; matrix products at {rate:.0f} GFLOP/s."
    )


def _networks(results: dict[str, Any]) -> str:
    rows = []
    for name, model in results["models"].items():
        setting, ours = next(iter(model["ours"].items()))
        seconds = {what: times[setting] for what, times in model["seconds"].items() if setting in times}
        gradient_rate = model["flops"]["gradient"] * results["train_batch"] / seconds["train_step"]
        rows.append(
            [
                name,
                _ms(seconds.get("forward")),
                _ms(seconds["gradient"] - seconds["train_forward"]),
                _ms(seconds["train_step"]),
                _mb(ours["memory_bytes"]["train_step"]),
                _mb(ours["memory_bytes"].get("forward")),
                _mb(model["model_bytes"]),
                f"{model['parameters'] / 1e6:.2f} M",
                f"{model['flops']['forward'] / 1e9:.0f}",
                f"{gradient_rate / results['matmul_flops_per_second']:.0%}",
                f"{ours['compile_seconds']['train_step']:.0f}",
            ]
        )
    return _table(
        ["network", "forward", "backward", "training step", "training MB", "inference MB", "model MB", "parameters"]
        + ["GFLOP forward", "share of matmul rate", "compilation s"],
        rows,
    ) + (
        "\n\nMemory is XLA's own account: arguments, results and temporaries. The share is that of the plain "
        "algorithm's operations in a training step; algorithms that need fewer can exceed 100 %."
    )


def _settings(results: dict[str, Any]) -> str:
    rows = []
    for name, model in results["models"].items():
        for setting, ours in model["ours"].items():
            rows.append(
                [
                    name,
                    setting,
                    _ms(model["seconds"]["train_step"][setting]),
                    _mb(ours["memory_bytes"]["train_step"]),
                    _mb(ours["temporary_bytes"]["train_step"]),
                ]
            )
    return "## Settings\n\n" + _table(["network", "setting", "training step", "training MB", "of it temporary"], rows)


def _against(results: dict[str, Any]) -> str:
    rows = []
    for name, model in results["models"].items():
        theirs = {variant: memory for variant, memory in model["torch_memory_bytes"].items()}
        for what, label in (("forward", "inference"), ("gradient", "gradient"), ("train_step", "training step")):
            times = model["seconds"][what]
            best = min((variant for variant in theirs), key=times.__getitem__)
            for setting in model["ours"]:
                if setting in times:
                    ratio = times[setting] / times[best]
                    rows.append(
                        [name, label, setting, _ms(times[setting]), f"{_ms(times[best])} ({best})", f"{ratio:.2f}"]
                    )
        for what, label in (("forward", "inference MB"), ("train_step", "training MB")):
            best = min(theirs, key=lambda variant: theirs[variant][what])
            for setting, ours in model["ours"].items():
                if what in ours["memory_bytes"]:
                    mine, other = ours["memory_bytes"][what], theirs[best][what]
                    rows.append([name, label, setting, _mb(mine), f"{_mb(other)} ({best})", f"{mine / other:.2f}"])
    return _table(["network", "what", "setting", "ours", "PyTorch's best", "ratio"], rows)


def _pooling(results: dict[str, Any]) -> str:
    pooling = results["pooling"]
    times, sizes = pooling["seconds"], pooling["index_bytes"]
    best = min((name for name in times if name != "ours"), key=times.__getitem__)
    rows = [
        ["time, ms", _ms(times["ours"], 1), f"{_ms(times[best], 1)} ({best})", f"{times['ours'] / times[best]:.2f}"],
        ["indices, MB", _mb(sizes["ours"], 1), _mb(sizes["torch"], 1), f"{sizes['ours'] / sizes['torch']:.3f}"],
    ]
    return f"One image of {pooling['channels']} channels.\n\n" + _table(
        ["what", "ours", "PyTorch's best", "ratio"], rows
    )


def _input(results: dict[str, Any]) -> str:
    size = results["train_batch"]
    consumed = {
        name: size / min(times for times in model["seconds"]["train_step"].values())
        for name, model in results["models"].items()
    }
    text = "Training consumes " + ", ".join(f"{rate:.2f} images/s (`{name}`)" for name, rate in consumed.items())
    rows = [[str(workers), f"{rate:.0f}"] for workers, rate in results["input_images_per_second"].items()]
    return f"{text}; the pipeline delivers from PNG files:\n\n" + _table(["worker processes", "images/s"], rows)


def _startup(seconds: dict[str, float]) -> str:
    names = {
        "import": "`import segnet_jax`",
        "import_train": "import of all that training needs",
        "cold": "command to first step, nothing compiled",
        "cached": "command to first step, compiled programs cached",
    }
    return _table(["what", "seconds"], [[names[key], f"{value:.1f}"] for key, value in seconds.items()])


def _ms(seconds: float | None, digits: int = 0) -> str:
    return "" if seconds is None else f"{1000 * seconds:.{digits}f}"


def _mb(size: float | None, digits: int = 0) -> str:
    return "" if size is None else f"{size / _MEGABYTE:.{digits}f}"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
