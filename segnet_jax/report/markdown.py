"""Writes the report as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from segnet_jax.report.comparison import Comparison, differing_conditions
from segnet_jax.report.published import METRICS, SHORT_NAMES, PublishedRow, published_rows, rows_of

_INTRODUCTION = """\
Scores in %: global accuracy (G), class average accuracy (C), mean IoU (mIoU) and boundary F1 (BF). The BF of runs
follows the paper's text and matches boundary pixels many to one; the authors' script matches them one to one and gives
lower values, so a run's BF and the paper's compare only roughly."""


def to_markdown(comparisons: Sequence[Comparison], faults: Sequence[str] = (), picture: str = "") -> str:
    """Returns the report as Markdown.

    Args:
      comparisons: one or more.
      faults: a sentence for each directory that could not be read.
      picture: the plot's file name; "" leaves it out.
    """
    parts = ["# Runs and published results", _INTRODUCTION, _score_table(comparisons)]
    if picture:
        parts.append(f"![Scores of the runs and of the papers]({picture})")
    parts.append("## Differences from the paper's conditions")
    for comparison in comparisons:
        parts += [f"### {comparison.label}", *_conditions(comparison)]
    for heading, rows in _context_tables(comparisons).items():
        parts += [f"## {heading}", _context_table(comparisons, rows)]
    if faults:
        parts += ["## Left out", "\n".join(f"- {fault}" for fault in faults)]
    return "\n\n".join(parts) + "\n"


def _score_table(comparisons: Sequence[Comparison]) -> str:
    lines = _header("", "split", "iterations", SHORT_NAMES.values())
    for comparison in comparisons:
        row, conditions, scores = comparison.row, comparison.conditions, comparison.scores
        name = f"**{comparison.label}**" + (f" ({len(comparison.runs)} seeds)" if len(comparison.runs) > 1 else "")
        ours = [_spread(*scores[metric]) if metric in scores else "-" for metric in METRICS]
        lines.append(_line(name, f"{conditions['data']} {conditions['split']}", f"{conditions['iterations']:,}", ours))
        if row is None:
            continue
        iterations = row.conditions.get("iterations")
        source = f"{row.conditions['data']} {comparison.published_split}"
        theirs = map(_percent, map(comparison.published.get, METRICS))
        lines.append(_line(row.label, source, f"{iterations:,}" if iterations else "-", theirs))
        both = scores.keys() & comparison.published.keys()
        differences = {metric: f"{scores[metric][0] - comparison.published[metric]:+z.1f}" for metric in both}
        lines.append(_line("difference", "", "", [differences.get(metric, "-") for metric in METRICS]))
    return "\n".join(lines)


def _conditions(comparison: Comparison) -> Iterator[str]:
    row, network = comparison.row, comparison.conditions["network"]
    if row is None:
        yield f"The papers have no row for the network `{network}`; `DIR=ROW` compares the run with any row."
        return
    yield f"Compared with `{row.id}`: {row.label}."
    if note := row.conditions.get("note"):
        yield f"In the paper: {note}."
    if differing := differing_conditions(comparison):
        yield "\n".join(_header("condition", "run", "paper") + [_line(*line) for line in differing])
    else:
        yield "All conditions that the paper tells are the same."
    if others := [f"`{other.id}`" for other in rows_of(network) if other is not row]:
        yield f"Other rows of this network, which `DIR=ROW` chooses: {', '.join(others)}."


def _context_tables(comparisons: Sequence[Comparison]) -> dict[str, list[PublishedRow]]:
    """Returns by heading the tables of the compared rows, and those with class accuracies on the same data."""
    compared = [comparison.row for comparison in comparisons if comparison.row]
    data = {(row.paper, row.conditions["data"]) for row in compared}
    tables: dict[str, list[PublishedRow]] = {}
    for row in published_rows():
        tables.setdefault(f"{row.source}: {row.title}", []).append(row)
    return {
        heading: rows
        for heading, rows in tables.items()
        if any(row in compared for row in rows)
        or any(row.class_accuracies and (row.paper, row.conditions["data"]) in data for row in rows)
    }


def _context_table(comparisons: Sequence[Comparison], rows: Sequence[PublishedRow]) -> str:
    """Returns the rows' class accuracies and scores; where there are classes, those of runs on the same ones first."""
    classes = list(dict.fromkeys(name for row in rows for name in row.class_accuracies.get("test", {})))
    columns = dict.fromkeys((split, metric) for row in rows for split in row.scores for metric in row.scores[split])
    several = len({split for split, _ in columns}) > 1
    names = [SHORT_NAMES[metric] + several * f" ({split})" for split, metric in columns]
    lines = _header("row", "id", classes, names)
    for comparison in comparisons:
        if classes and comparison.class_accuracies.keys() == set(classes):
            means = [comparison.class_accuracies[name] for name in classes]
            means += [comparison.scores.get(metric, (None,))[0] for _, metric in columns]
            cells = ["-" if mean is None else f"{mean:.1f}" for mean in means]
            lines.append(_line(f"**{comparison.label}**", "", cells))
    for row in rows:
        values = [row.class_accuracies.get("test", {}).get(name) for name in classes]
        values += [row.scores.get(split, {}).get(metric) for split, metric in columns]
        lines.append(_line(row.label.replace(f", {row.source}", ""), f"`{row.id}`", map(_percent, values)))
    return "\n".join(lines)


def _spread(mean: float, deviation: float | None) -> str:
    return f"{mean:.2f}" + ("" if deviation is None else f" ± {deviation:.2f}")


def _percent(value: float | None) -> str:
    """Formats a percentage as the papers print it, with two decimals where there are two."""
    return "-" if value is None else f"{value:.1f}" if round(value, 1) == value else f"{value:.2f}"


def _header(*cells: str | Iterable[str]) -> list[str]:
    line = _line(*cells)
    return [line, "|" + "---|" * (line.count("|") - 1)]


def _line(*cells: str | Iterable[str]) -> str:
    flat = [text for cell in cells for text in ([cell] if isinstance(cell, str) else cell)]
    return "| " + " | ".join(text.replace("|", "\\|") for text in flat) + " |"
