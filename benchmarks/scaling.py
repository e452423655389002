"""Predicts weak scaling: the share of its speed that a device keeps when many train together (docs/scaling.md).

python -m benchmarks.scaling [--images=4] [--utilization=0.5]
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

DEVICES = (8, 64, 512)

# Of `segnet` with 11 classes at 360x480. Parameters and statistics are float32 whatever the activations are.
PARAMETERS = 29_441_419
BATCH_NORMS = 25
BATCH_NORM_CHANNELS = 7_936
# Forward and backward pass, as `benchmarks.workload.Workload.flops("gradient")` counts them, of which a third is
# forward.
FLOPS_PER_IMAGE = 630.07e9
BACKWARD_SHARE = 2 / 3

GRADIENT_BYTES = 4 * PARAMETERS
# Mean and mean of squares of every channel, once in the forward pass and, as their derivative, once in the backward.
STATISTICS_REDUCTIONS = 2 * BATCH_NORMS
STATISTICS_BYTES = 2 * 4 * 2 * BATCH_NORM_CHANNELS
# The running averages of mean and variance, reduced with the gradients.
AVERAGES_BYTES = 4 * 2 * BATCH_NORM_CHANNELS


class Level(NamedTuple):
    """A level of the interconnect: groups of the level below (devices, at the first) and their links."""

    members: int  # groups that it connects
    bandwidth: float  # bytes/s that a device sends, and at the same time receives


class Machine(NamedTuple):
    """A kind of accelerator with its interconnect."""

    name: str  # in the tables
    peak: float  # nominal FLOP/s of one device
    levels: Callable[[int], Sequence[Level]]  # of so many devices, the innermost first
    latency: Callable[[int], float]  # seconds of an all-reduce of almost nothing between so many devices


def all_reduce_seconds(size: float, levels: Sequence[Level]) -> float:
    """Returns the seconds of a hierarchical ring all-reduce, without latency.

    `size` are the bytes that each device holds; the innermost level comes first. Each level scatters the sum of its
    part over its members before the next one begins, and gathers it afterwards, so each sends 2 (n - 1) / n of a part
    that is n times smaller one level further out.
    """
    seconds = 0.0
    for level in levels:
        seconds += 2 * (level.members - 1) / level.members * size / level.bandwidth
        size /= level.members
    return seconds


def _h200_levels(devices: int) -> list[Level]:
    inside = min(devices, 8)
    return [Level(inside, 450e9), Level(devices // inside, 50e9)]


def _h200_latency(devices: int) -> float:
    nodes = max(devices // 8, 1)
    inside = (min(devices, 8) - 1) * 0.6e-6 * (1.8 if nodes > 1 else 1.0)
    return 6.8e-6 + 2 * (inside + math.log2(nodes) * 5.0e-6)


def _v5e_levels(devices: int) -> list[Level]:
    inside = min(devices, 256)
    return [Level(inside, 200e9 if inside == 256 else 100e9), Level(devices // inside, 3.125e9)]


def _v5e_latency(devices: int) -> float:
    rows = 2 ** (int(math.log2(min(devices, 256))) // 2)
    columns = min(devices, 256) // rows
    return (rows + columns) * 1e-6 + (50e-6 if devices > 256 else 0.0)


MACHINES = (
    Machine("H200, float32 (TF32)", 494.5e12, _h200_levels, _h200_latency),
    Machine("H200, bfloat16", 989.5e12, _h200_levels, _h200_latency),
    Machine("TPU v5e", 197e12, _v5e_levels, _v5e_latency),
)


class Prediction(NamedTuple):
    """The parts of a step on each of so many devices, in seconds."""

    compute: float  # forward and backward pass
    gradients: float  # all-reduce of gradients and running averages
    statistics: float  # BatchNorm's all-reduces, which nothing can overlap with: the next layer waits for them

    @property
    def without_overlap(self) -> float:
        """The efficiency if the gradients are reduced when all of them are computed."""
        return self.compute / (self.compute + self.statistics + self.gradients)

    @property
    def with_overlap(self) -> float:
        """The efficiency if the gradients are reduced during the backward pass, as far as that is long enough."""
        exposed = max(0.0, self.gradients - BACKWARD_SHARE * self.compute)
        return self.compute / (self.compute + self.statistics + exposed)


def predict(machine: Machine, devices: int, *, images: int = 4, utilization: float = 0.5) -> Prediction:
    """Predicts one step of `segnet` on so many images of 360x480 a device, at a share of its nominal peak."""
    levels, latency = machine.levels(devices), machine.latency(devices)
    return Prediction(
        compute=images * FLOPS_PER_IMAGE / (machine.peak * utilization),
        gradients=all_reduce_seconds(GRADIENT_BYTES + AVERAGES_BYTES, levels) + latency,
        statistics=all_reduce_seconds(STATISTICS_BYTES, levels) + STATISTICS_REDUCTIONS * latency,
    )


def table(images: int = 4, utilization: float = 0.5) -> str:
    """Returns the predictions in Markdown."""
    lines = [
        "| machine | devices | compute | gradients | statistics | efficiency, no overlap | efficiency, overlap |",
        "|---|---|---|---|---|---|---|",
    ]
    for machine in MACHINES:
        for devices in DEVICES:
            step = predict(machine, devices, images=images, utilization=utilization)
            cells = [
                machine.name,
                str(devices),
                *(f"{1e3 * part:.2f} ms" for part in (step.compute, step.gradients, step.statistics)),
                f"{step.without_overlap:.0%}",
                f"{step.with_overlap:.0%}",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description="Predicts the weak scaling of segnet; docs/scaling.md explains how.")
    parser.add_argument("--images", type=int, default=4, help="images of 360x480 on each device (default 4)")
    parser.add_argument("--utilization", type=float, default=0.5, help="share of the nominal peak (default 0.5)")
    arguments = parser.parse_args()
    if arguments.images < 1 or not 0 < arguments.utilization <= 1:
        parser.error("--images must be at least 1, and --utilization above 0 and at most 1.")
    print(table(arguments.images, arguments.utilization))


if __name__ == "__main__":
    main()
