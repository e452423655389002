"""Evaluated runs beside the numbers that the papers publish, as Markdown and as a plot.

    python -m segnet_jax.report --runs=DIR[@STEP][=ROW] [DIR ...] [--output=FOLDER] [--split=SPLIT]
    python -m segnet_jax.report --list

Writes `report.md` and `report.png`. The newest evaluation of a run counts; DIR@STEP chooses that of another step.
Evaluations of other kinds, such as with a dense CRF, with stochastic passes or of the first images only, are lines of
their own. A run is held against the row of its network whose conditions are nearest; DIR=ROW chooses another, by an id
that --list prints, and DIR@STEP=ROW does both. Runs that differ in their seed alone become one line, with mean and
standard deviation.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from segnet_jax.comparison import Comparison, compare, differing_conditions
from segnet_jax.errors import InputError
from segnet_jax.published import METRICS, SHORT_NAMES, PublishedRow, plain_name, published_rows, rows_of

_INTRODUCTION = """\
Scores in %: global accuracy (G), class average accuracy (C), mean IoU (mIoU) and boundary F1 (BF). The BF of runs
follows the paper's text and matches boundary pixels many to one; the authors' script matches them one to one and reads
lower, so that a run's BF and the paper's compare only roughly."""


def write_report(comparisons: Sequence[Comparison], faults: Sequence[str], folder: Path) -> tuple[Path, Path]:
    """Writes `report.md` and `report.png` into `folder`, which is made if it does not exist; returns their paths.

    Args:
      comparisons: one or more.
      faults: a sentence for each directory that could not be read.
      folder: where to.

    Raises:
      InputError: if matplotlib is missing, or the files cannot be written.
    """
    # Drawing is the one thing here that needs another package than the rest of the program.
    from segnet_jax.report_plot import draw

    text, picture = folder / "report.md", folder / "report.png"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        draw(comparisons, picture)
        text.write_text(to_markdown(comparisons, faults, picture.name), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{folder} cannot be written ({error.strerror or error}); choose another --output.") from error
    return text, picture


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


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    description, usage = (__doc__ or "").split("\n\n", 1)
    parser = argparse.ArgumentParser(
        prog="python -m segnet_jax.report",
        description=description,
        epilog=usage,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="%(prog)s --runs=DIR[@STEP][=ROW] [DIR[@STEP][=ROW] ...] [--output=FOLDER] [--split=SPLIT] | --list",
    )
    parser.add_argument(
        "--runs", action="append", nargs="+", default=[], metavar="DIR[@STEP][=ROW]", help="work directories"
    )
    parser.add_argument("more", nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, default=Path("."), help="the folder to write into; default: this one")
    parser.add_argument("--split", default="", help="of the runs; default: test, or val where that is all there is")
    parser.add_argument("--list", action="store_true", help="print the published rows and their ids")
    options = parser.parse_intermixed_args(arguments)
    if options.list:
        for row in published_rows():
            print(f"{row.id:<52} {row.label}")
        return 0
    directories = [name for names in options.runs for name in names] + options.more
    if not directories:
        parser.error("--runs=DIR names no work directory.")
    try:
        comparisons, faults = compare(directories, options.split)
        for fault in faults:
            print(fault, file=sys.stderr)
        if not comparisons:
            raise InputError("There is no evaluated run among the directories; name one with --runs=DIR.")
        for path in write_report(comparisons, faults, options.output.expanduser()):
            print(f"Written: {path}")
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
