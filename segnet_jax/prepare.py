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
from collections.abc import Sequence

import ml_collections

from segnet_jax.command import make_parser, run_command
from segnet_jax.data.records.shard import COMPRESSIONS
from segnet_jax.data.records.writer import prepare_records, verify_records
from segnet_jax.errors import InputError
from segnet_jax.flags import read_config
from segnet_jax.runtime.workers import available_cores


def main(arguments: Sequence[str] | None = None) -> int:
    """Prepares or verifies records; returns the exit status."""
    options, rest = _parser().parse_known_args(arguments)
    stopped = "Stopped; the same command goes on with the shards that are finished."
    return run_command(lambda: _run(options, rest), stopped)


def _run(options: argparse.Namespace, rest: list[str]) -> int:
    if options.workers < 1:
        raise InputError(f"--workers={options.workers} must be at least 1.")
    if options.examples_per_shard < 0:
        raise InputError(f"--examples_per_shard={options.examples_per_shard} must be at least 1, or 0.")
    config = read_config(options.config, rest)
    output = os.path.expanduser(options.output)
    return _verify(output, options.workers) if options.verify else _prepare(config, output, options)


def _prepare(config: ml_collections.ConfigDict, output: str, options: argparse.Namespace) -> int:
    # Imported here, so that --help and mistakes on the command line are answered at once.
    from segnet_jax.config import check_values
    from segnet_jax.data.from_config import build_dataset, configured_splits, dataset_settings

    check_values(config)
    names = options.split.split(",") if options.split else configured_splits(config)
    datasets = [build_dataset(config, split, at_own_size=True) for split in dict.fromkeys(names)]
    examples = ", ".join(f"{dataset.split} {len(dataset)} examples" for dataset in datasets)
    print(f"Preparing {datasets[0].name} in {output}: {examples}.", file=sys.stderr)
    index = prepare_records(
        datasets,
        output,
        source=dataset_settings(config),
        workers=options.workers,
        examples_per_shard=options.examples_per_shard,
        compression=options.compression,
        show_progress=True,
    )
    contents = ", ".join(
        f"{name} {split.examples} examples in {len(split.shards)} shards"
        for name, split in index.splits.items()
        if split.shards
    )
    print(f"{output} holds {index.name}: {contents}.")
    print(f"Train on it with --config.data.name=records --config.data.root={output}")
    return 0


def _verify(output: str, workers: int) -> int:
    faults = verify_records(output, workers=workers, show_progress=True)
    for fault in faults:
        print(f"error: {fault}", file=sys.stderr)
    if not faults:
        print(f"{output}: every checksum is right.")
    return 1 if faults else 0


def _parser() -> argparse.ArgumentParser:
    epilog = "--config.KEY=VALUE overrides a key of the configuration, such as --config.data.root=CAMVID."
    parser = make_parser("prepare", __doc__, epilog)
    parser.add_argument("--output", required=True, help="the folder for the records")
    parser.add_argument("--config", default="", help="the configuration file, whose data.* keys name the data set")
    parser.add_argument("--split", default="", help="names, separated by commas; by default those of the configuration")
    parser.add_argument(
        "--workers", type=int, default=available_cores(), help="processes; by default one for each core"
    )
    parser.add_argument("--examples_per_shard", type=int, default=0, help="by default 64, and more for large data sets")
    parser.add_argument("--compression", default="", choices=["", *COMPRESSIONS], help="zstd (the default) or none")
    parser.add_argument("--verify", action="store_true", help="only compare the shards' checksums with the index")
    return parser


if __name__ == "__main__":
    sys.exit(main())
