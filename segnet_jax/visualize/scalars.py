"""Reads the numbers that a run wrote into `metrics.jsonl`."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segnet_jax.errors import InputError


@dataclass(frozen=True)
class Series:
    """A number over time: steps, int64 [N], ascending, and values, float64 [N], NaN where it was not finite."""

    steps: np.ndarray
    values: np.ndarray


def read_scalars(path: Path) -> dict[str, Series]:
    """Reads all numbers by name, such as `train/loss`, `val/mean_iou` and `val_iou/road`, in the file's order.

    Of a step that was written twice, as it may be where a run was stopped and resumed, the last line counts. A last
    line that has no end yet is left out: a run is writing it, or was killed there.

    Args:
      path: `metrics.jsonl` of a work directory.

    Raises:
      InputError: if the file cannot be read or is empty, or a line is damaged.
    """
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); name the work directory of a run.") from error
    found: dict[str, dict[int, float]] = {}
    for number, line in enumerate(lines, 1):
        try:
            entries = json.loads(line)
            step = int(entries["step"])
            values = {
                name: math.nan if value is None else float(value) for name, value in entries.items() if "/" in name
            }
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"Line {number} of {path} is damaged; restore a copy, or delete the line.") from error
        for name, value in values.items():
            found.setdefault(name, {})[step] = value
    if not found:
        raise InputError(f"{path} holds no numbers yet; wait for the run's first report.")
    return {
        name: Series(np.array(sorted(points), np.int64), np.array([points[step] for step in sorted(points)]))
        for name, points in found.items()
    }


def running_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Returns the means of each `window` neighbouring values, float64 [N - window + 1]; NaN where one of them is."""
    return np.lib.stride_tricks.sliding_window_view(values, window).mean(axis=-1)
