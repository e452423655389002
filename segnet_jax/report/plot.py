"""Draws the scores of runs and of published rows."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from segnet_jax.report.comparison import Comparison, differing_conditions
from segnet_jax.report.published import METRICS
from segnet_jax.visualize.figure import GRID_COLOR, new_figure

_TITLES = {
    "global_accuracy": "Global accuracy (G)",
    "class_accuracy": "Class average accuracy (C)",
    "mean_iou": "Mean IoU",
    "boundary_f1": "Boundary F1 (BF)",
}
_RUN, _PAPER = "#1f5fa8", "#c3c7cc"
_BAR = 0.36


def draw(comparisons: Sequence[Comparison], path: Path) -> None:
    """Draws a panel for each score into the PNG `path`, with two bars for each comparison: the runs' above the paper's.

    Raises:
      InputError: if matplotlib is not installed.
      OSError: if the file cannot be written.
    """
    known = {metric for comparison in comparisons for metric in (*comparison.scores, *comparison.published)}
    metrics = [metric for metric in METRICS if metric in known]
    labels = [label for comparison in comparisons for label in (_run_label(comparison), _paper_label(comparison))]
    lines = max(label.count("\n") + 1 for label in labels)
    figure = new_figure(4.6 + 2.6 * len(metrics), 1.6 + (0.4 + 0.4 * lines) * len(comparisons))
    panels = figure.subplots(1, len(metrics), sharex=True, sharey=True, squeeze=False)[0]
    for axes, metric in zip(panels, metrics, strict=True):
        ours = [comparison.scores.get(metric, (None, None)) for comparison in comparisons]
        theirs = [(comparison.published.get(metric), None) for comparison in comparisons]
        for name, scores, shift, color in (("run", ours, -_BAR / 2, _RUN), ("paper", theirs, _BAR / 2, _PAPER)):
            bars = axes.barh(
                [y + shift for y in range(len(scores))],
                [mean or 0 for mean, _ in scores],
                _BAR,
                xerr=[deviation or 0 for _, deviation in scores],
                color=color,
                label=name,
            )
            axes.bar_label(bars, [_score_label(*score) for score in scores], padding=4, fontsize=9)
        axes.set_title(_TITLES[metric], fontsize=11)
        axes.set_xlim(0, 118)
        axes.set_xticks(range(0, 101, 25), [f"{x} %" for x in range(0, 101, 25)], fontsize=8)
        axes.grid(axis="x", color=GRID_COLOR)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "bottom"]].set_visible(False)
    places = [y + shift for y in range(len(comparisons)) for shift in (-_BAR / 2, _BAR / 2)]
    panels[0].set_yticks(places, labels, fontsize=9)
    panels[0].set_ylim(len(comparisons) - 0.5, -0.5)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=2, frameon=False, fontsize=11)
    if any(map(differing_conditions, comparisons)):
        figure.supxlabel("Runs and papers differ in their conditions; report.md lists them.", fontsize=9)
    figure.savefig(path)


def _score_label(mean: float | None, deviation: float | None) -> str:
    return "none" if mean is None else f"{mean:.1f}" + ("" if deviation is None else f" ± {deviation:.1f}")


def _run_label(comparison: Comparison) -> str:
    conditions, seeds = comparison.conditions, len(comparison.runs)
    about = f"{conditions['data']} {conditions['split']}, {conditions['iterations']:,} iterations"
    return _wrap(comparison.label, about + (f", {seeds} seeds" if seeds > 1 else ""))


def _paper_label(comparison: Comparison) -> str:
    row = comparison.row
    return _wrap(row.label, f"{row.conditions['data']} {comparison.published_split}") if row else "no published row"


def _wrap(*texts: str) -> str:
    return "\n".join(line for text in texts for line in textwrap.wrap(text, 46))
