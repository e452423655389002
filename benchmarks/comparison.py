"""Puts measurements of ours beside PyTorch's best."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

LABELS = {
    "forward": "inference",
    "train_forward": "loss",
    "gradient": "gradient",
    "train_step": "training step",
    "deterministic_step": "deterministic step",
}


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
        # Of the loss alone nobody has a use.
        for what in ("forward", "gradient", "train_step", "deterministic_step"):
            times = model.get("seconds", {}).get(what, {})
            yield from _compare(f"{name}/{LABELS[what]}", what, times, "ms")
        for what, label in (("forward", "inference memory"), ("train_step", "training memory")):
            sizes = {contender: sizes[what] for contender, sizes in memory_bytes(model).items() if what in sizes}
            yield from _compare(f"{name}/{label}", what, sizes, "MB")
    if "pooling" in results:
        times, sizes = results["pooling"]["seconds"], results["pooling"]["index_bytes"]
        best = min((name for name in times if name != "ours"), key=times.__getitem__)
        yield Comparison("pooling and unpooling", times["ours"], times[best], best, "ms")
        yield Comparison("pooling indices", sizes["ours"], sizes["torch"], "torch", "MB")


def memory_bytes(model: dict[str, Any]) -> dict[str, dict[str, int]]:
    """Returns the memory of a network's programs by contender and measure."""
    ours = {setting: costs["memory_bytes"] for setting, costs in model.get("ours", {}).items()}
    return ours | model.get("torch_memory_bytes", {})


def is_torch(contender: str) -> bool:
    """Tells whether that is the name of a form of PyTorch."""
    return contender.startswith("torch")


def best_of(values: dict[str, float], *, theirs: bool) -> str:
    """Returns the contender with the least, of PyTorch's or of ours; "" if there is none."""
    return min((name for name in values if is_torch(name) == theirs), key=values.__getitem__, default="")


def _compare(key: str, what: str, values: dict[str, Any], unit: str) -> Iterator[Comparison]:
    best = best_of(values, theirs=True)
    if best:
        for name, value in values.items():
            if not is_torch(name):
                # Settings are of training.
                yield Comparison(key if what == "forward" else f"{key}/{name}", value, values[best], best, unit)
