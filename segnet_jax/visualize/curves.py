"""Draws how loss, learning rate and scores of a run went."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from segnet_jax.visualize.figure import new_figure, render, style_steps
from segnet_jax.visualize.scalars import Series, running_mean

# Fractions, drawn in %.
_SCORES = {
    "mean_iou": "mean IoU",
    "class_accuracy": "class accuracy (C)",
    "global_accuracy": "global accuracy (G)",
    "boundary_f1": "boundary F1 (BF)",
}
_PALE = "#b9cde4"
# A loss of twice as many reports is drawn with means of neighbouring ones.
_MEANS = 50
# Up to so many points are marked, and a single one is seen.
_MARKED = 40
_COLUMNS = 5


def draw_curves(scalars: Mapping[str, Series]) -> Image.Image:
    """Draws a panel for each of the loss, the learning rate, the scores of the evaluated split, and its other numbers.

    A long loss is drawn pale, under the mean of neighbouring reports. The scores are in %; numbers that are none, such
    as the error of a reconstruction, have panels of their own.

    Args:
      scalars: as `scalars.read_scalars` returns them.

    Raises:
      InputError: if matplotlib is not installed.
    """
    panels: list[tuple[str, dict[str, Series]]] = []
    if loss := scalars.get("train/loss"):
        window = len(loss.steps) // _MEANS
        if window < 2:
            panels.append(("training loss", {"": loss}))
        else:
            mean = Series(running_mean(loss.steps, window), running_mean(loss.values, window))
            panels.append(("training loss", {"each report": loss, f"mean of {window} reports": mean}))
    if rate := scalars.get("train/learning_rate"):
        panels.append(("learning rate", {"": rate}))
    for split in _evaluated_splits(scalars):
        found = {name.partition("/")[2]: series for name, series in scalars.items() if name.startswith(f"{split}/")}
        scores = {title: _percent(found.pop(key)) for key, title in _SCORES.items() if key in found}
        if scores:
            panels.append((f"{split} scores, %", scores))
        panels += [(f"{split} {key.replace('_', ' ')}", {"": series}) for key, series in found.items()]
    figure = new_figure(8.6, 0.4 + 2.5 * len(panels))
    last_step = max(series.steps[-1] for series in scalars.values())
    for axes, (title, curves) in zip(figure.subplots(len(panels), 1, squeeze=False)[:, 0], panels, strict=True):
        for label, series in curves.items():
            _draw_curve(axes, series, label=label, color=_PALE if label == "each report" else None)
        axes.set_title(title, fontsize=11, loc="left")
        style_steps(axes, last_step, ticks=9)
        if title.endswith("%"):
            axes.set_ylim(0, 100)
        elif min(np.nanmin(series.values) for series in curves.values()) >= 0:
            axes.set_ylim(bottom=0)
        if len(curves) > 1:
            axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=len(curves), frameon=False, fontsize=9)
    axes.set_xlabel("step")
    return render(figure)


def draw_class_curves(scalars: Mapping[str, Series]) -> dict[str, Image.Image]:
    """Draws the IoU of each class over time, in % and in a small panel of its own, for each evaluated split.

    A class that has no IoU yet, as it is neither in the ground truth nor in the predictions, has no panel.

    Args:
      scalars: as `scalars.read_scalars` returns them.

    Returns:
      The pictures by split; {} without an evaluation.

    Raises:
      InputError: if matplotlib is not installed.
    """
    pictures = {}
    for split in _evaluated_splits(scalars):
        prefix = f"{split}_iou/"
        classes = {name.removeprefix(prefix): _percent(s) for name, s in scalars.items() if name.startswith(prefix)}
        if classes:
            pictures[split] = _draw_small_panels(classes, f"IoU of each class on {split}, %, the last beside its name")
    return pictures


def _draw_small_panels(classes: Mapping[str, Series], title: str) -> Image.Image:
    columns = min(_COLUMNS, len(classes))
    rows = -(-len(classes) // columns)
    figure = new_figure(0.4 + 2.2 * columns, 0.9 + 1.5 * rows)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    last_step = max(series.steps[-1] for series in classes.values())
    for number, (axes, (name, series)) in enumerate(zip(panels, classes.items(), strict=False)):
        _draw_curve(axes, series)
        axes.set_title(f"{_shortened(name)}  {series.values[-1]:.1f}", fontsize=9, loc="left")
        axes.set_ylim(0, 100)
        style_steps(axes, last_step, ticks=5)
        # The outer panels have numbers, for all.
        axes.tick_params(labelsize=8, labelleft=number % columns == 0, labelbottom=number + columns >= len(classes))
    for axes in panels[len(classes) :]:
        axes.set_visible(False)
    figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    figure.supxlabel("step", fontsize=9)
    return render(figure)


def _draw_curve(axes: Any, series: Series, **style: Any) -> None:
    mark = {"marker": "o", "markersize": 3.5} if len(series.steps) <= _MARKED else {}
    axes.plot(series.steps, series.values, **mark, **style)


def _evaluated_splits(scalars: Mapping[str, Series]) -> list[str]:
    groups = dict.fromkeys(name.partition("/")[0] for name in scalars)
    return [group for group in groups if group != "train" and not group.endswith("_iou")]


def _percent(series: Series) -> Series:
    return Series(series.steps, 100 * series.values)


def _shortened(name: str) -> str:
    return name if len(name) <= 22 else f"{name[:21]}…"
