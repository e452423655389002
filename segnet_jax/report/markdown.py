"""The report as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from segnet_jax.report.comparison import Comparison, differing_conditions
from segnet_jax.report.published import METRICS, SHORT_NAMES, PublishedRow, plain_name, published_rows, rows_of

_INTRODUCTION = """\
Scores in %: global accuracy (G), class average accuracy (C), mean IoU (mIoU) and boundary F1 (BF). The BF of runs
follows the paper's text and matches boundary pixels many to one; the authors' script matches them one to one and reads
lower, so that a run's BF and the paper's compare only roughly."""


def to_markdown(comparisons: Sequence[Comparison], faults: Sequence[str] = (), picture: str = "") -> str:
    """The report as Markdown; `picture` is the plot's file name, "" leaves it out."""
    parts = ["# Runs beside the published results", _INTRODUCTION, _score_table(comparisons)]
    if picture:
        parts.append(f"![Scores of the runs and of the papers]({picture})")
    parts.append("## What differs from the paper's conditions")
    for comparison in comparisons:
        parts += [f"### {comparison.label}", *_conditions(comparison)]
    context = _context_tables(comparisons)
    for table, rows in context.items():
        parts += [f"## {table}", _class_table(comparisons, rows) or _row_table(rows)]
    if faults:
        parts += ["## Left out", "\n".join(f"- {fault}" for fault in faults)]
    return "\n\n".join(parts) + "\n"


def _score_table(comparisons: Sequence[Comparison]) -> str:
    lines = _header(["", "split", "iterations", *SHORT_NAMES.values()])
    for comparison in comparisons:
        run, row, scores = comparison.runs[0], comparison.row, comparison.scores
        name = f"**{comparison.label}**" + (f" ({len(comparison.runs)} seeds)" if len(comparison.runs) > 1 else "")
        ours = [_spread(scores.get(metric)) for metric in METRICS]
        lines.append(_line(name, f"{run.data} {run.split}", f"{run.step:,}", ours))
        if row is None:
            continue
        published = comparison.published
        iterations = row.conditions.get("iterations")
        source = f"{row.conditions['data']} {comparison.published_split}"
        theirs = map(_percent, map(published.get, METRICS))
        lines.append(_line(row.label, source, f"{iterations:,}" if iterations else "-", theirs))
        differences = [
            f"{scores[metric][0] - published[metric]:+.1f}" if metric in scores and metric in published else "-"
            for metric in METRICS
        ]
        lines.append(_line("difference", "", "", differences))
    return "\n".join(lines)


def _conditions(comparison: Comparison) -> Iterator[str]:
    row = comparison.row
    if row is None:
        model = comparison.runs[0].model
        yield f"No published row is of the network `{model}`; `DIR=ROW` holds the run against one all the same."
        return
    yield f"Held against `{row.id}`: {row.label}."
    if note := row.conditions.get("note"):
        yield f"The paper's: {note}."
    if differing := differing_conditions(comparison):
        yield "\n".join(_header(["condition", "run", "paper"]) + [_line(*line) for line in differing])
    else:
        yield "Nothing that the paper tells of differs."
    if others := [f"`{other.id}`" for other in rows_of(comparison.runs[0].model) if other is not row]:
        yield f"Other rows of this network, which `DIR=ROW` chooses: {', '.join(others)}."


def _context_tables(comparisons: Sequence[Comparison]) -> dict[str, list[PublishedRow]]:
    """By heading, the tables that the runs' rows are from, and those on the same data with accuracies by class."""
    tables: dict[str, list[PublishedRow]] = {}
    rows = [comparison.row for comparison in comparisons if comparison.row]
    wanted = {(row.paper, row.table) for row in rows}
    data = {(row.paper, row.conditions["data"]) for row in rows}
    wanted |= {
        (row.paper, row.table)
        for row in published_rows()
        if row.class_accuracies and (row.paper, row.conditions.get("data")) in data
    }
    for row in published_rows():
        if (row.paper, row.table) in wanted:
            tables.setdefault(f"{row.source}: {row.title}", []).append(row)
    return tables


def _row_table(rows: Sequence[PublishedRow]) -> str:
    columns = {(split, metric): None for row in rows for split in row.scores for metric in row.scores[split]}
    several = len({split for split, _ in columns}) > 1
    names = [SHORT_NAMES[metric] + (f" ({split})" if several else "") for split, metric in columns]
    lines = _header(["row", "id", *names])
    for row in rows:
        values = [row.scores.get(split, {}).get(metric) for split, metric in columns]
        name = row.label.replace(f", {row.source}", "")
        lines.append(_line(name, f"`{row.id}`", map(_percent, values)))
    return "\n".join(lines)


def _class_table(comparisons: Sequence[Comparison], rows: Sequence[PublishedRow]) -> str:
    """Class accuracies of the runs on the same classes, and of the rows; "" if the rows have none."""
    names = list(dict.fromkeys(name for row in rows for name in row.class_accuracies.get("test", {})))
    if not names:
        return ""
    lines = _header(["accuracy by class", *names, *SHORT_NAMES.values()])
    for comparison in comparisons:
        reports = [run.report["classes"] for run in comparison.runs]
        found = [{plain_name(entry["name"]): entry["accuracy"] for entry in classes} for classes in reports]
        if found[0].keys() != {plain_name(name) for name in names}:
            continue
        means = []
        for name in map(plain_name, names):
            values = [accuracies[name] for accuracies in found if accuracies[name] is not None]
            means.append(100 * sum(values) / len(values) if values else None)
        scores = comparison.scores
        means += [scores[metric][0] if metric in scores else None for metric in METRICS]
        lines.append(_line(f"**{comparison.label}**", ["-" if mean is None else f"{mean:.1f}" for mean in means]))
    for row in rows:
        values = [row.class_accuracies.get("test", {}).get(name) for name in names]
        values += [row.scores.get("test", {}).get(metric) for metric in METRICS]
        lines.append(_line(row.method, map(_percent, values)))
    return "\n".join(lines)


def _spread(values: tuple[float, float | None] | None) -> str:
    if values is None:
        return "-"
    mean, deviation = values
    return f"{mean:.2f}" + ("" if deviation is None else f" ± {deviation:.2f}")


def _percent(value: float | None) -> str:
    """As the papers print it: two decimals where there are two."""
    return "-" if value is None else f"{value:.1f}" if round(value, 1) == value else f"{value:.2f}"


def _header(names: Sequence[str]) -> list[str]:
    return [_line(*names), "|" + "---|" * len(names)]


def _line(*cells: str | Iterable[str]) -> str:
    flat = [text for cell in cells for text in ([cell] if isinstance(cell, str) else cell)]
    return "| " + " | ".join(text.replace("|", "\\|") for text in flat) + " |"
