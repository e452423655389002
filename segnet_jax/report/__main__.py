"""Compares evaluated runs with the numbers in the papers, as Markdown and as a plot.

    python -m segnet_jax.report --runs DIR[=ROW] [DIR[=ROW] ...] [--output=FOLDER] [--split=SPLIT]
    python -m segnet_jax.report --list

Writes `report.md` and `report.png`. A run is compared with the row of its network on its data set; DIR=ROW chooses
another, by an id that --list prints. The newest evaluation of a run counts. Evaluations of other kinds, such as with a
dense CRF, with stochastic passes or of the first images only, are lines of their own. Runs that differ only in their
seed become one line, with mean and standard deviation.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from segnet_jax.command import make_parser, run_command
from segnet_jax.errors import InputError
from segnet_jax.report.comparison import compare
from segnet_jax.report.markdown import to_markdown
from segnet_jax.report.published import published_rows
from segnet_jax.runtime.files import write_errors


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = make_parser("report", __doc__)
    parser.add_argument("--runs", action="extend", nargs="+", metavar="DIR[=ROW]", help="evaluated work directories")
    parser.add_argument("--output", type=Path, default=Path("."), help="folder for the report; default: this one")
    parser.add_argument("--split", default="", help="evaluated split; default: test, or val if there is no other")
    parser.add_argument("--list", action="store_true", help="print the ids of the published rows")
    options = parser.parse_args(arguments)
    if options.list:
        print("\n".join(f"{row.id:<52} {row.label}" for row in published_rows() if row.scores))
        return 0
    if not options.runs:
        parser.error("--runs names no work directory.")
    return run_command(lambda: _write_report(options.runs, options.split, options.output.expanduser()))


def _write_report(runs: Sequence[str], split: str, folder: Path) -> int:
    comparisons, faults = compare(runs, split)
    for fault in faults:
        print(fault, file=sys.stderr)
    if not comparisons:
        raise InputError("There is no evaluated run among the directories; name one with --runs DIR.")
    # Only the plot needs matplotlib.
    from segnet_jax.report.plot import draw

    text, picture = folder / "report.md", folder / "report.png"
    with write_errors(folder, "choose another --output"):
        folder.mkdir(parents=True, exist_ok=True)
        draw(comparisons, picture)
        text.write_text(to_markdown(comparisons, faults, picture.name), encoding="utf-8")
    print(f"Written: {text}\nWritten: {picture}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
