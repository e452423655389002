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
from collections.abc import Sequence
from pathlib import Path

from segnet_jax.errors import InputError
from segnet_jax.report.comparison import Comparison, compare
from segnet_jax.report.markdown import to_markdown
from segnet_jax.report.published import published_rows


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
    from segnet_jax.report.plot import draw

    text, picture = folder / "report.md", folder / "report.png"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        draw(comparisons, picture)
        text.write_text(to_markdown(comparisons, faults, picture.name), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{folder} cannot be written ({error.strerror or error}); choose another --output.") from error
    return text, picture


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
