"""Writes the benchmark's numbers as Markdown tables."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

_MEGABYTE = 1e6


def markdown(results: dict[str, Any]) -> str:
    """Returns the report of the results of `benchmarks.__main__.run`."""
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
    if any(comparisons(results)):
        parts += ["## Against PyTorch", _against(results)]
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


class Comparison(NamedTuple):
    """A measurement of ours beside PyTorch's best, in seconds or bytes."""

    key: str  # what was compared, such as "segnet/training step/lean"
    ours: float
    theirs: float
    variant: str  # of PyTorch's, the one that has the least
    unit: str  # "ms" or "MB", in which both are shown

    @property
    def ratio(self) -> float:
        """The quotient of ours and theirs: lower is better."""
        return self.ours / self.theirs


def comparisons(results: dict[str, Any]) -> Iterator[Comparison]:
    """Yields every measurement in `results` that has one of PyTorch beside it."""
    for name, model in results["models"].items():
        memory = model.get("torch_memory_bytes")
        if memory is None:
            continue
        for what, label in (("forward", "inference"), ("gradient", "gradient"), ("train_step", "training step")):
            times = model["seconds"][what]
            best = min(memory, key=times.__getitem__)
            for setting in model["ours"]:
                if setting in times:
                    yield Comparison(f"{name}/{label}/{setting}", times[setting], times[best], best, "ms")
        for what, label in (("forward", "inference memory"), ("train_step", "training memory")):
            best = min(memory, key=lambda variant: memory[variant][what])
            for setting, ours in model["ours"].items():
                if what in ours["memory_bytes"]:
                    size = ours["memory_bytes"][what]
                    yield Comparison(f"{name}/{label}/{setting}", size, memory[best][what], best, "MB")
    if "pooling" in results:
        times, sizes = results["pooling"]["seconds"], results["pooling"]["index_bytes"]
        best = min((name for name in times if name != "ours"), key=times.__getitem__)
        yield Comparison("pooling and unpooling", times["ours"], times[best], best, "ms")
        yield Comparison("pooling indices", sizes["ours"], sizes["torch"], "torch", "MB")


def _against(results: dict[str, Any]) -> str:
    before = results.get("baseline_ratios", {})
    rows = []
    for found in comparisons(results):
        show = functools.partial(_ms if found.unit == "ms" else _mb, digits=1 if found.key.startswith("pooling") else 0)
        row = [found.key, found.unit, show(found.ours), f"{show(found.theirs)} ({found.variant})", f"{found.ratio:.3g}"]
        rows.append([*row, f"{before[found.key]:.3g}" if found.key in before else ""] if before else row)
    text = _table(["what", "unit", "ours", "PyTorch's best", "ratio", *(["before"] if before else [])], rows)
    if "pooling" in results:
        text += f"\n\nPooling and unpooling are of one image of {results['pooling']['channels']} channels."
    return text


def _input(results: dict[str, Any]) -> str:
    rates: dict[str, dict[int, float]] = results["input_images_per_second"]
    consumed = {
        name: results["train_batch"] / min(model["seconds"]["train_step"][setting] for setting in model["ours"])
        for name, model in results["models"].items()
    }
    fastest, feed = max(consumed.values()), results.get("feed_images_per_second", 0.0)
    wanted = {
        "twice what this device consumes": 2 * fastest,
        "what 8 devices of this kind consume": 8 * fastest,
        **({f"--feed={feed:g}": feed} if feed else {}),
    }
    needs = [
        [label, _rate(rate), *(_workers_for(rate, found) for found in rates.values())] for label, rate in wanted.items()
    ]
    delivered = [
        [_count(count), *(f"{found[count]:.0f}" for found in rates.values())] for count in next(iter(rates.values()))
    ]
    text = ", ".join(f"{rate:.3g} images/s (`{name}`)" for name, rate in consumed.items())
    sources = [f"from {source}" for source in rates]
    return (
        f"Training consumes {text}. The pipeline delivers, in images/s:\n\n"
        + _table(["worker processes", *sources], delivered)
        + "\n\nSo many worker processes deliver what the fastest of the networks needs; those marked ~ have not been "
        "run, and suppose the rate per process of the most that have been:\n\n"
        + _table(["needed", "images/s", *sources], needs)
    )


def _workers_for(rate: float, found: dict[int, float]) -> str:
    """Returns the smallest number of workers in `found` that delivers `rate`; extrapolates, "~N", where none does."""
    enough = [count for count, delivered in found.items() if delivered >= rate]
    if enough:
        return _count(min(enough))
    most = max(found)
    return f"~{math.ceil(rate / found[most] * max(1, most))}"


def _rate(rate: float) -> str:
    return f"{rate:.3g}" if rate < 1000 else f"{rate:,.0f}"


def _count(workers: int) -> str:
    return str(workers) if workers else "0 (threads)"


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
