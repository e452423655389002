"""Draws the scores of each class in an evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from segnet_jax.visualize.figure import new_figure, render, style_bars

_IOU, _ACCURACY, _PIXELS = "#1f5fa8", "#8fb8de", "#9aa0a6"
_BAR = 0.38


def draw_class_bars(classes: Sequence[Mapping[str, Any]], title: str) -> Image.Image:
    """Draws IoU and accuracy of each class, in %, and beside them its share in the labelled pixels.

    "none" stands where a class has no score, as it occurs neither in the ground truth nor, for the IoU, in the
    predictions.

    Args:
      classes: for each class its `name`, `iou`, `accuracy` (fractions or None) and `pixels`, as an evaluation's report
        has them.
      title: of the picture.

    Raises:
      InputError: if matplotlib is not installed.
    """
    count = len(classes)
    figure = new_figure(9.0, 1.3 + 0.4 * count)
    scores, shares = figure.subplots(1, 2, sharey=True, width_ratios=(3, 1))
    for key, shift, color, label in (
        ("iou", -_BAR / 2, _IOU, "IoU"),
        ("accuracy", _BAR / 2, _ACCURACY, "accuracy (share of the class's pixels that are right)"),
    ):
        values = [entry[key] for entry in classes]
        places = [k + shift for k in range(count)]
        bars = scores.barh(places, [100 * (value or 0) for value in values], _BAR, color=color, label=label)
        texts = ["none" if value is None else f"{100 * value:.1f}" for value in values]
        scores.bar_label(bars, texts, padding=3, fontsize=8)
    labelled = max(sum(entry["pixels"] for entry in classes), 1)
    percent = [100 * entry["pixels"] / labelled for entry in classes]
    bars = shares.barh(range(count), percent, _BAR, color=_PIXELS)
    texts = [f"{value:.1f}" if value else "none" for value in percent]
    shares.bar_label(bars, texts, padding=3, fontsize=8)
    shares.set_xlim(0, 1.25 * max(percent))
    scores.set_xlim(0, 109)
    scores.set_xticks(range(0, 101, 20))
    scores.set_xlabel("score, %")
    shares.set_xlabel("labelled pixels, %")
    scores.set_yticks(range(count), [entry["name"] for entry in classes], fontsize=9)
    scores.set_ylim(count - 0.4, -0.6)
    for axes in (scores, shares):
        style_bars(axes)
    figure.suptitle(title, fontsize=11)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return render(figure)
