"""Writes a data set into sharded ArrayRecord files, which are read many times faster than images.

python -m segnet_jax.prepare --config=configs/camvid_segnet.py --config.data.root=CAMVID --output=FOLDER
python -m segnet_jax.prepare --output=FOLDER --verify

Training reads FOLDER with --config.data.name=records --config.data.root=FOLDER, and gives the same network to the bit.
FOLDER can be in an object store, such as gs://BUCKET/FOLDER. A preparation that was stopped or killed goes on when the
same command is given again.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Self, TextIO

import ml_collections
from absl import flags
from ml_collections import config_flags
from tqdm import tqdm

from segnet_jax.data.records.index import RecordIndex
from segnet_jax.data.records.shard import COMPRESSIONS
from segnet_jax.data.records.writer import prepare_records, verify_records
from segnet_jax.errors import InputError

# What makes a data set, besides its files and its class table.
_SETTINGS = {
    "synthetic": ("seed", "data.scene_size", "data.train_scenes", "data.eval_scenes"),
    "folder": ("data.root", "data.val_fraction", "data.mask_suffix"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Prepares or verifies; returns the exit status."""
    options, rest = _parser().parse_known_args(arguments)
    output = os.path.expanduser(options.output)
    try:
        if options.workers < 1:
            raise InputError(f"--workers={options.workers} must be at least 1.")
        # The settings of the preparation may stand there, and mean nothing.
        if options.verify and (unknown := [option for option in rest if not option.startswith("--config.")]):
            raise InputError(f"--verify takes no {unknown[0]}; leave it out.")
        if options.verify:
            return _verify(output, options.workers)
        config = _read_config([f"--config={options.config}"] * bool(options.config) + rest)
        index = _prepare(config, output, options)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped; the same command goes on with the shards that are finished.", file=sys.stderr)
        return 130
    print(f"{output} holds {index.name}: {_contents(index)}.")
    print(f"Train on it with --config.data.name=records --config.data.root={output}")
    return 0


class Progress:
    """A bar on a terminal, a line now and then in a file.

    Args:
      unit: what is counted; "bytes" are shown as MB.
      stream: where to, by default stderr.
      every: seconds between two lines.
      clock: seconds, from any starting point.
    """

    def __init__(
        self,
        unit: str,
        *,
        stream: TextIO | None = None,
        every: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._unit, self._scale = ("MB", 1e6) if unit == "bytes" else (unit, 1.0)
        self._every, self._clock = every, clock
        self._stream = stream or sys.stderr
        self._bar: Any = None
        self._first: tuple[float, int] | None = None
        self._shown = -1
        self._due = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, done: int, total: int) -> None:
        """Shows that `done` of `total` are done; the first call says what an earlier run had done."""
        now = self._clock()
        if self._first is None:
            self._first, self._due = (now, done), now
            if self._stream.isatty():
                scaled = self._scale != 1
                unit = {"unit": "B" if scaled else f" {self._unit}", "unit_scale": scaled}
                self._bar = tqdm(total=total, initial=done, file=self._stream, dynamic_ncols=True, **unit)
        if self._bar is not None:
            self._bar.update(done - self._bar.n)
        elif done != self._shown and (now >= self._due or done == total):
            start, before = self._first
            text = f"{done / self._scale:.0f}/{total / self._scale:.0f} {self._unit}"
            if done > before and now > start:
                rate = (done - before) / (now - start)
                text += f"  {rate / self._scale:.3g}/s  {(total - done) / rate:.0f} s left"
            print(text, file=self._stream, flush=True)
            self._shown, self._due = done, now + self._every


def _prepare(config: ml_collections.ConfigDict, output: str, options: argparse.Namespace) -> RecordIndex:
    # Imported here, so that --help and mistakes on the command line are answered at once.
    from segnet_jax.config import check_values, flatten
    from segnet_jax.data.from_config import build_dataset

    check_values(config)
    wanted = options.split.split(",") if options.split else [config.data.train_split, config.data.eval_split]
    datasets = [build_dataset(config, split) for split in dict.fromkeys(wanted)]
    values = flatten(config)
    settings = ["data.name", *_SETTINGS.get(config.data.name, ("data.root",))]
    if config.data.depth:
        settings += ["data.depth"] + ["data.depth_max"] * (config.data.name == "folder")
    settings += ["data.max_images"] * bool(config.data.max_images)
    with Progress("examples") as progress:
        return prepare_records(
            datasets,
            output,
            source={key: values[key] for key in settings},
            workers=options.workers,
            examples_per_shard=options.examples_per_shard,
            compression=options.compression,
            report=progress,
        )


def _verify(output: str, workers: int) -> int:
    with Progress("bytes") as progress:
        faults = verify_records(output, workers=workers, report=progress)
    for fault in faults:
        print(f"error: {fault}", file=sys.stderr)
    if not faults:
        print(f"{output}: every checksum is right.")
    return 1 if faults else 0


def _contents(index: RecordIndex) -> str:
    return ", ".join(
        f"{name} {split.examples} examples in {split.num_shards} shards of {split.bytes / 1e6:.0f} MB together"
        for name, split in index.splits.items()
    )


def _read_config(arguments: list[str]) -> ml_collections.ConfigDict:
    from segnet_jax.flags import parse_flags

    arguments = ["prepare", *arguments]
    flag_values = flags.FlagValues()
    config_flags.DEFINE_config_file(
        "config", None, "The configuration.", lock_config=True, flag_values=flag_values, sys_argv=arguments
    )
    parse_flags(arguments, flag_values)
    return flag_values.config


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m segnet_jax.prepare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        epilog="--config.KEY=VALUE overrides a key of the configuration, such as --config.data.root=CAMVID.",
    )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parser.add_argument("--output", required=True, help="the folder for the records")
    parser.add_argument("--config", default="", help="the configuration file, whose data.* keys name the data set")
    parser.add_argument("--split", default="", help="names, separated by commas; by default those of the configuration")
    parser.add_argument("--workers", type=int, default=cores, help="processes; by default one for each core")
    parser.add_argument("--examples_per_shard", type=int, default=0, help="by default 64, and more for large data sets")
    parser.add_argument("--compression", default="", choices=["", *COMPRESSIONS], help="zstd (the default) or none")
    parser.add_argument("--verify", action="store_true", help="only compare the shards' checksums with the index")
    return parser


if __name__ == "__main__":
    sys.exit(main())
