"""Looks through a whole data set, and says what it holds and what is wrong with it.

    python -m segnet_jax.data.check --config=configs/camvid_segnet.py --config.data.root=CAMVID
    python -m segnet_jax.data.check --root=FOLDER --write=mine.py

Reports the images of each split, their sizes, how often each class occurs and the class weights that follow, and every
file that is missing, cannot be read or does not fit, and images that occur twice, by their decoded pixels. `--output`
gets `check.json`, `sheet-SPLIT.png` (images with their labels) and `classes.png`. The exit status is 0 if nothing keeps
the data set from being used as it is, else 1.

With --root FOLDER is one's own images and masks. All masks are looked at, and --write makes a configuration of their
classes and sizes, which python -m segnet_jax.main --config=mine.py takes as it is.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from segnet_jax.command import make_parser, run_command
from segnet_jax.errors import InputError
from segnet_jax.flags import read_config
from segnet_jax.runtime.files import write_atomically, write_errors
from segnet_jax.runtime.workers import available_cores

if TYPE_CHECKING:
    from segnet_jax.data.check.summary import Summary
    from segnet_jax.data.dataset import Dataset


def main(arguments: Sequence[str] | None = None) -> int:
    """Checks a data set and writes what it found; returns the exit status."""
    parser = _parser()
    options, overrides = parser.parse_known_args(arguments)
    if not (options.root or options.config or overrides):
        parser.error("what is to be checked? Give --config=FILE, or --root=FOLDER for your own images and masks.")
    return run_command(lambda: _check(options, overrides), "Stopped; the same command begins anew.")


def _check(options: argparse.Namespace, overrides: list[str]) -> int:
    # Imported here, so that --help and mistakes on the command line are answered at once.
    from tqdm import tqdm

    from segnet_jax.config import check_values, default_file
    from segnet_jax.data.check.config_file import config_text
    from segnet_jax.data.check.from_config import complete_folder, open_splits
    from segnet_jax.data.check.inspection import inspect
    from segnet_jax.data.check.summary import Summary
    from segnet_jax.data.from_config import configured_splits

    if options.workers < 1:
        raise InputError(f"--workers={options.workers} must be at least 1.")
    _refuse_unwritable(options)
    file = options.config or (str(default_file().with_name("folder.py")) if options.root else "")
    config = read_config(file, overrides)
    check_values(config)
    notes: list[str] = []
    if options.root:
        notes, survey = complete_folder(config, options.root, options.workers, show_progress=True)
        print(f"{survey.masks} masks hold {len(survey.pixels)} values.", file=sys.stderr)
    datasets, faults, left_out = open_splits(config)
    summary = Summary(datasets, faults, left_out, configured_splits(config))
    with tqdm(total=sum(map(len, datasets)), unit=" examples") as bar:
        for dataset, inspections in inspect(datasets, options.workers):
            for inspection in inspections:
                summary.add(dataset.split, inspection)
            bar.update(len(inspections))
    for fault in summary.faults:
        print(f"error: {fault}", file=sys.stderr)
    print("\n".join([summary.to_text(), *notes, ""]))
    if options.write:
        path = options.write
        with write_errors(path, "choose a file in an existing folder that has room"):
            write_atomically(path, config_text(config, path, summary))
        print(f"Written: {path}; correct the names of its classes, and train with")
        print(f"python -m segnet_jax.main --config={path} --workdir=runs/{path.stem}")
    _write_output(options.output, datasets, summary)
    if summary.faults:
        print(f"{len(summary.faults)} faults, which were named above, are in check.json too.", file=sys.stderr)
    return 1 if summary.faults else 0


def _refuse_unwritable(options: argparse.Namespace) -> None:
    """Raises InputError if a file cannot be written in the end, before hours of reading."""
    path = options.write
    if path is None:
        return
    if not options.root:
        raise InputError(f"--write={path} needs --root=FOLDER, the folder that the configuration is for.")
    if path.suffix != ".py":
        raise InputError(f"--write={path} must end in .py, as a configuration is a Python file.")
    if not path.parent.is_dir():
        raise InputError(f"--write={path}: the folder {path.parent} does not exist; make it, or choose another.")
    if path.exists() and not options.overwrite:
        raise InputError(f"{path} exists; choose another name, or give --overwrite to replace it.")


def _write_output(output: Path, datasets: Sequence[Dataset], summary: Summary) -> None:
    """Writes `check.json` and the pictures into the folder `output`, which is made."""
    from segnet_jax.data.check.pictures import draw_classes, draw_sheet
    from segnet_jax.visualize import save_picture

    with write_errors(output, "choose another --output"):
        output.mkdir(parents=True, exist_ok=True)
        write_atomically(output / "check.json", json.dumps(summary.to_dict(), indent=2))
    print(f"Written: {output / 'check.json'}")
    for dataset in datasets:
        if (sheet := draw_sheet(dataset, summary.splits[dataset.split])) is not None:
            save_picture(sheet, output / f"sheet-{dataset.split}.png")
            print(f"Written: {output / f'sheet-{dataset.split}.png'}")
    try:
        chart = draw_classes(summary)
    except InputError as error:  # without matplotlib
        print(f"No classes.png: {error}", file=sys.stderr)
        return
    save_picture(chart, output / "classes.png")
    print(f"Written: {output / 'classes.png'}")


def _parser() -> argparse.ArgumentParser:
    epilog = "--config.KEY=VALUE overrides a key of the configuration, such as --config.data.root=CAMVID."
    parser = make_parser("data.check", __doc__, epilog)
    parser.add_argument("--config", default="", help="the configuration file, whose data.* keys name the data set")
    parser.add_argument("--root", default="", help="a folder of your own images and masks")
    parser.add_argument("--write", type=Path, default=None, metavar="FILE.py", help="a configuration to write for it")
    parser.add_argument("--overwrite", action="store_true", help="replace the file that --write names, if it exists")
    parser.add_argument("--output", type=Path, default=Path("check"), metavar="DIR", help="by default check")
    parser.add_argument("--workers", type=int, default=available_cores(), help="processes; by default one a core")
    return parser


if __name__ == "__main__":
    sys.exit(main())
