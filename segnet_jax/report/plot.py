"""The plot of runs beside published rows."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segnet_jax.errors import InputError
from segnet_jax.report.comparison import Comparison, differing_conditions
from segnet_jax.report.published import METRICS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TITLES = {
    "global_accuracy": "Global accuracy (G)",
    "class_accuracy": "Class average accuracy (C)",
    "mean_iou": "Mean IoU",
    "boundary_f1": "Boundary F1 (BF)",
}
_RUN, _PAPER, _INK = "#1f5fa8", "#c3c7cc", "#333333"
_BAR = 0.36


def draw(comparisons: Sequence[Comparison], path: Path) -> None:
    """Draws a panel per score, in it a pair of bars per comparison: the runs', and the paper's below.

    Args:
      comparisons: one or more.
      path: of the PNG.

    Raises:
      InputError: if matplotlib is not installed.
      OSError: if the file cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError(
            "The plot needs matplotlib; install it with pip install -r requirements-report.txt."
        ) from error

    metrics = [
        metric
        for metric in METRICS
        if any(metric in comparison.scores or metric in comparison.published for comparison in comparisons)
    ]
    # Above each other, the name of a run's bar and of the paper's.
    labels = [label for comparison in comparisons for label in (_run_label(comparison), _paper_label(comparison))]
    lines = max(label.count("\n") + 1 for label in labels)
    figure = Figure(figsize=(4.6 + 2.6 * len(metrics), 1.6 + (0.4 + 0.4 * lines) * len(comparisons)), dpi=110)
    FigureCanvasAgg(figure)
    figure.set_layout_engine("constrained", w_pad=0.08, h_pad=0.08)
    panels: Sequence[Axes] = figure.subplots(1, len(metrics), sharex=True, sharey=True, squeeze=False)[0]
    for axes, metric in zip(panels, metrics, strict=True):
        handles = _draw_panel(axes, comparisons, metric)
    places = [y + side for y in range(len(comparisons)) for side in (-_BAR / 2, _BAR / 2)]
    panels[0].set_yticks(places, labels, fontsize=9, color=_INK)
    for text in panels[0].get_yticklabels()[::2]:
        text.set(color=_RUN, fontweight="bold")
    panels[0].set_ylim(len(comparisons) - 0.5, -0.5)
    figure.legend(handles=handles, loc="outside upper center", ncols=2, frameon=False, fontsize=11)
    if any(differing_conditions(comparison) for comparison in comparisons):
        note = "Runs and papers differ in their conditions, which the text beside this picture lists."
        figure.supxlabel(note, fontsize=9, color=_INK)
    figure.savefig(path)


def _draw_panel(axes: Axes, comparisons: Sequence[Comparison], metric: str) -> list[Any]:
    places = range(len(comparisons))
    ours = [comparison.scores.get(metric) for comparison in comparisons]
    theirs = [comparison.published.get(metric) for comparison in comparisons]
    runs = axes.barh([y - _BAR / 2 for y in places], [x[0] if x else 0 for x in ours], _BAR, color=_RUN, label="run")
    papers = axes.barh([y + _BAR / 2 for y in places], [x or 0 for x in theirs], _BAR, color=_PAPER, label="paper")
    for y, run, paper in zip(places, ours, theirs, strict=True):
        end, text = 0.0, "none"
        if run is not None:
            end, text = run[0] + (run[1] or 0), f"{run[0]:.1f}" + ("" if run[1] is None else f" ± {run[1]:.1f}")
            if run[1] is not None:
                axes.errorbar(run[0], y - _BAR / 2, xerr=run[1], color=_INK, capsize=3, linewidth=1)
        axes.text(end + 1.5, y - _BAR / 2, text, va="center", fontsize=9, color=_RUN, fontweight="bold")
        text = "none" if paper is None else f"{paper:.1f}"
        axes.text((paper or 0) + 1.5, y + _BAR / 2, text, va="center", fontsize=9, color=_INK)
    axes.set_title(_TITLES[metric], fontsize=11, color=_INK)
    axes.set_xlim(0, 118)
    axes.set_xticks(range(0, 101, 25), [f"{x} %" for x in range(0, 101, 25)], fontsize=8, color=_INK)
    axes.tick_params(length=0)
    axes.grid(axis="x", color="#e4e6e8", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.spines["left"].set_color("#9aa0a6")
    return [runs, papers]


def _run_label(comparison: Comparison) -> str:
    run = comparison.runs[0]
    seeds = f", {len(comparison.runs)} seeds" if len(comparison.runs) > 1 else ""
    return _wrap(comparison.label, f"{run.data} {run.split}, {run.step:,} iterations{seeds}")


def _paper_label(comparison: Comparison) -> str:
    row = comparison.row
    if row is None:
        return "no published row"
    return _wrap(row.label, f"{row.conditions['data']} {comparison.published_split}")


def _wrap(*texts: str) -> str:
    return "\n".join(line for text in texts for line in textwrap.wrap(text, 46))
