"""Tells what share of a device the networks use, by batch, and what deterministic steps cost, as Markdown tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.cells import mb, ms, table
from benchmarks.comparison import best_of, is_torch, memory_bytes

_HEADER = ("network", "what", "contender", "images", "images/s", "MFU", "peak MB")


def utilization(results: dict[str, Any]) -> str:
    """Returns the MFU and the memory of the fastest of ours and of PyTorch's; "" if none has been measured."""
    rows = []
    for name, model in results["models"].items():
        for theirs in (False, True):
            for what, label, images in (
                ("forward", "inference", 1),
                ("train_step", "training step", results["train_batch"]),
            ):
                times = model.get("seconds", {}).get(what, {})
                if best := best_of(times, theirs=theirs):
                    size = memory_bytes(model).get(best, {}).get(what)
                    rows.append([name, label, *_row(results, name, what, best, images, times[best], size)])
            measured = [found for found in _batches(results, name) if is_torch(found[0]) == theirs]
            if measured:
                fastest = max(measured, key=lambda found: found[1] / found[2])
                rows.append([name, "training step, best batch", *_row(results, name, "train_step", *fastest)])
    if not rows:
        return ""
    return (
        "MFU is the rate of the plain algorithm's operations over the measured rate of matrix products; algorithms "
        "that need fewer operations can exceed 100 %. Memory is XLA's account of the program on one side, the peak of "
        "PyTorch's allocator on the other.\n\n" + table(_HEADER, rows)
    )


def batches(results: dict[str, Any]) -> str:
    """Returns a row for every number of images that a training step was tried with; "" if there is none."""
    rows = [
        [name, "training step", *_row(results, name, "train_step", *found)]
        for name in results["models"]
        for found in _batches(results, name)
    ]
    lacking = [
        f"{contender} has not enough memory for {batch} images of `{name}`"
        for name, found in results.get("batches", {}).items()
        for batch, contenders in found.get("exhausted", {}).items()
        for contender in contenders
    ]
    text = table(_HEADER, rows) if rows else ""
    return "\n\n".join([text, f"{'; '.join(lacking)}."] if lacking else [text])


def deterministic(results: dict[str, Any]) -> str:
    """Returns the times of training steps with and without deterministic algorithms; "" if there are none."""
    rows, lacking = [], set()
    for name, model in results["models"].items():
        for contender, seconds in model.get("seconds", {}).get("deterministic_step", {}).items():
            before = model["seconds"].get("train_step", {}).get(contender)
            ratio = "" if before is None else f"{seconds / before:.3g}"
            rows.append([name, contender, ms(before), ms(seconds), ratio])
        for operations in model.get("torch_nondeterministic", {}).values():
            lacking.update(operations)
    if not rows:
        return ""
    text = table(["network", "contender", "any algorithms, ms", "deterministic, ms", "ratio"], rows)
    text += (
        "\n\nOurs by XLA's `xla_gpu_exclude_nondeterministic_ops`, PyTorch's by "
        "`torch.use_deterministic_algorithms(True, warn_only=True)`"
    )
    if lacking:
        names = ", ".join(sorted(lacking))
        text += f", under which it says that {names} have no deterministic form, and runs them all the same"
    return f"{text}."


def _batches(results: dict[str, Any], name: str) -> Iterator[tuple[str, int, float, float | None]]:
    """Yields contender, images, seconds and bytes of every training step of a network that was tried."""
    found = results.get("batches", {}).get(name, {})
    for batch, times in found.get("seconds", {}).items():
        for contender, seconds in times.items():
            yield contender, int(batch), seconds, found["memory_bytes"][batch].get(contender)


def _row(
    results: dict[str, Any], name: str, what: str, contender: str, images: int, seconds: float, size: float | None
) -> list[str]:
    flops = results["models"][name]["flops"]["forward" if what == "forward" else "gradient"]
    share = flops * images / seconds / results["matmul_flops_per_second"]
    return [contender, str(images), f"{images / seconds:.3g}", f"{share:.0%}", mb(size)]
