"""Writes the benchmark's numbers as Markdown tables."""

from __future__ import annotations

import functools
import math
import statistics
from typing import Any

from benchmarks import startup
from benchmarks.cells import mb, ms, table
from benchmarks.comparison import best_of, comparisons
from benchmarks.utilization import batches, deterministic, utilization


def markdown(results: dict[str, Any]) -> str:
    """Returns the report of the results of `benchmarks.session.run` or `benchmarks.results.merge`."""
    parts = ["# Benchmark", _machine(results), _conditions(results)]
    if any(model.get("seconds") for model in results["models"].values()):
        parts.append(_networks(results))
    if any("train_step" in model.get("seconds", {}) for model in results["models"].values()):
        parts += ["## Settings", _settings(results)]
    if any(comparisons(results)):
        parts += ["## Against PyTorch", _against(results)]
    sections = {
        "Utilisation": utilization,
        "Batches": batches,
        "Deterministic training steps": deterministic,
    }
    for title, section in sections.items():
        if text := section(results):
            parts += [f"## {title}", text]
    if "input_images_per_second" in results:
        parts += ["## Input pipeline", _input(results)]
    if "startup" in results:
        parts += ["## Start-up", startup.report(results["startup"])]
    return "\n\n".join(parts)


def _machine(results: dict[str, Any]) -> str:
    machine = results["machine"]
    versions = ", ".join(f"{key} {machine[key]}" for key in ("python", "segnet_jax", "jax", "torch") if key in machine)
    rate = results["matmul_flops_per_second"] / 1e9
    load = f" The load was {results['load']:.1f} at the start." if "load" in results else ""
    return (
        f"{machine['processor']}, {machine['cores']} cores; {machine['device']} ({machine['platform']}); {versions}; "
        f"{results['dtype']}; matrix products at {rate:.0f} GFLOP/s.{load}"
    )


def _conditions(results: dict[str, Any]) -> str:
    height, width = results["image_size"]
    text = (
        f"Images of {height}x{width}. Forward is inference on one image; backward is the gradient in training mode "
        f"less its forward pass, on one image; the training step takes {results['train_batch']} images. Times are "
        f"medians of {results['rounds']} runs in turns, in ms"
    )
    if runs := results.get("runs"):
        text += f", and of these the medians over {runs} benchmarks; ± is half of what the benchmarks differ by"
    elif any("spread" in model for model in results["models"].values()):
        text += "; ± is half of what the runs differ by"
    text += "."
    if results.get("quick"):
        text += " This is a quick look: small images, few networks, settings and runs. Report no numbers of it."
    if results.get("unfinished"):
        text += " It was stopped before all was measured."
    return text


def _networks(results: dict[str, Any]) -> str:
    rows = []
    for name, model in results["models"].items():
        if not model.get("ours"):
            continue
        setting, ours = next(iter(model["ours"].items()))
        seconds = {what: times[setting] for what, times in model["seconds"].items() if setting in times}
        backward = None
        if "gradient" in seconds and "train_forward" in seconds:
            backward = seconds["gradient"] - seconds["train_forward"]
        compilation = ours["compile_seconds"].get("train_step")
        rows.append(
            [
                name,
                _time(model, "forward", setting),
                ms(backward),
                _time(model, "train_step", setting),
                mb(ours["memory_bytes"].get("train_step")),
                mb(ours["memory_bytes"].get("forward")),
                mb(model["model_bytes"]),
                f"{model['parameters'] / 1e6:.2f} M",
                f"{model['flops']['forward'] / 1e9:.0f}",
                "" if compilation is None else f"{compilation:.0f}",
            ]
        )
    return table(
        ["network", "forward", "backward", "training step", "training MB", "inference MB", "model MB", "parameters"]
        + ["GFLOP forward", "compilation s"],
        rows,
    ) + ("\n\nMemory is XLA's own account: arguments, results and temporaries.")


def _settings(results: dict[str, Any]) -> str:
    rows = []
    for name, model in results["models"].items():
        for setting, ours in model.get("ours", {}).items():
            if "train_step" in model["seconds"]:
                sizes = (ours[what].get("train_step") for what in ("memory_bytes", "temporary_bytes"))
                rows.append([name, setting, _time(model, "train_step", setting), *map(mb, sizes)])
    return table(["network", "setting", "training step", "training MB", "of it temporary"], rows)


def _against(results: dict[str, Any]) -> str:
    before, runs = results.get("baseline_ratios", {}), results.get("ratios", {})
    rows = []
    for found in comparisons(results):
        show = ms if found.unit == "ms" else functools.partial(mb, digits=int(found.key.startswith("pooling")))
        ratio = f"{found.ratio:.3g}"
        if found.key in runs:
            ratios = runs[found.key]
            ratio = f"{statistics.median(ratios):.3g} ({min(ratios):.3g} to {max(ratios):.3g})"
        row = [found.key, found.unit, show(found.ours), f"{show(found.theirs)} ({found.variant})", ratio]
        rows.append([*row, f"{before[found.key]:.3g}" if found.key in before else ""] if before else row)
    text = table(["what", "unit", "ours", "PyTorch's best", "ratio", *(["before"] if before else [])], rows)
    if runs:
        text += "\n\nA ratio is the median of those of the benchmarks, with the least and the greatest."
    if "pooling" in results:
        text += f"\n\nPooling and unpooling are of one image of {results['pooling']['channels']} channels."
    return text


def _time(model: dict[str, Any], what: str, contender: str) -> str:
    """Returns a median, with its spread if that is known."""
    spread = model.get("spread", {}).get(what, {}).get(contender)
    return ms(model["seconds"].get(what, {}).get(contender), spread)


def _input(results: dict[str, Any]) -> str:
    rates: dict[str, dict[int, float]] = results["input_images_per_second"]
    consumed, wanted = {}, {}
    for name, model in results["models"].items():
        times = model.get("seconds", {}).get("train_step", {})
        if best := best_of(times, theirs=False):
            consumed[name] = results["train_batch"] / times[best]
    if consumed:
        fastest = max(consumed.values())
        wanted = {"twice what this device consumes": 2 * fastest, "what 8 devices of this kind consume": 8 * fastest}
    if feed := results.get("feed_images_per_second", 0.0):
        wanted[f"--feed={feed:g}"] = feed
    needs = [
        [label, _rate(rate), *(_workers_for(rate, found) for found in rates.values())] for label, rate in wanted.items()
    ]
    delivered = [
        [_count(count), *(f"{found[count]:.0f}" for found in rates.values())] for count in next(iter(rates.values()))
    ]
    sources = [f"from {source}" for source in rates]
    text = "The pipeline delivers, in images/s:\n\n" + table(["worker processes", *sources], delivered)
    if consumed:
        listed = ", ".join(f"{rate:.3g} images/s (`{name}`)" for name, rate in consumed.items())
        text = f"Training consumes {listed}. {text}"
    if wanted:
        text += (
            "\n\nSo many worker processes deliver what the fastest of the networks needs; those marked ~ have not been "
            "run, and suppose the rate per process of the most that have been:\n\n"
        ) + table(["needed", "images/s", *sources], needs)
    return text


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
