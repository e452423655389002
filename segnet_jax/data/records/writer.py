"""Writes data sets into folders of records, by several processes."""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from etils import epath
from tqdm import tqdm

from segnet_jax.data.dataset import Dataset, image_dtype_of, modalities_of, modality_names_of
from segnet_jax.data.records import storage
from segnet_jax.data.records.index import (
    INDEX_FILE,
    RecordIndex,
    RecordSplit,
    Shard,
    read_index,
    unfinished_message,
)
from segnet_jax.data.records.reader import size_fault
from segnet_jax.data.records.shard import COMPRESSIONS, describe_shard, encode, write_shard
from segnet_jax.errors import InputError
from segnet_jax.runtime.files import locked, write_errors
from segnet_jax.runtime.workers import run_tasks


def prepare_records(
    datasets: Sequence[Dataset],
    output: str,
    *,
    source: Mapping[str, Any] | None = None,
    workers: int = 1,
    examples_per_shard: int = 0,
    compression: str = "",
    show_progress: bool = False,
) -> RecordIndex:
    """Writes splits of a data set as records, so that `Records` gives the very same examples.

    Shards and splits that are in the folder already are kept, if they were made of the same files in the same way. The
    files depend neither on the number of processes nor on how often the preparation was stopped.

    Args:
      datasets: one or more splits.
      output: the folder, made if it does not exist; it may lie in an object store.
      source: the settings that the data set was made with, for people who read the index.
      workers: processes; 1 takes none but this one.
      examples_per_shard: 0 takes that of an earlier preparation of the split, or else the default.
      compression: one of `COMPRESSIONS`; "" takes that of the records in the folder, or else zstd.
      show_progress: whether to show a progress bar on stderr.

    Returns:
      The index of the folder.

    Raises:
      InputError: the folder holds something else, it cannot be written, or an example cannot be read.
    """
    folder = storage.folder_at(output)
    with storage.errors(folder, "written"):
        folder.mkdir(parents=True, exist_ok=True)
    with _lock(folder):
        names = storage.names_in(folder)
        known = read_index(folder) if INDEX_FILE in names else None
        # A preparation that was killed at once leaves index.json.tmp.
        others = sorted(name for name in names if name[0] != "." and not name.endswith(".tmp"))
        if known is None and others:
            raise InputError(
                f"{folder} holds files that are no records, such as {others[0]}; choose an empty folder as --output."
            )
        index = _plan(folder, known, datasets, source or {}, examples_per_shard, compression)
        if index != known:
            _store(folder, index)
        shards: dict[str, Shard] = {}
        tasks: list[Callable[[], Shard]] = []
        for dataset in datasets:
            split = index.splits[dataset.split]
            # A shard has got its name when it was whole.
            whole = names if known and dataset.split in known.splits else set()
            shards |= {shard.file: shard for shard in split.shards if size_fault(folder, shard) is None}
            for file, examples in split.plan(dataset.split).items():
                if file in whole and not split.shards:
                    tasks.append(functools.partial(describe_shard, dataset, examples, folder / file))
                elif file not in shards:
                    tasks.append(functools.partial(write_shard, dataset, examples, folder / file, index.compression))
        total, done = sum(map(len, datasets)), sum(shard.examples for shard in shards.values())
        with tqdm(total=total, initial=done, unit=" examples", disable=not show_progress) as bar:
            for shard in run_tasks(tasks, workers):
                shards[shard.file] = shard
                bar.update(shard.examples)
        splits = dict(index.splits)
        for dataset in datasets:
            split = splits[dataset.split]
            splits[dataset.split] = replace(split, shards=tuple(shards[file] for file in split.plan(dataset.split)))
        finished = replace(index, splits=splits)
        if finished != index:
            _store(folder, finished)
    return finished


def verify_records(folder: str, *, workers: int = 8, show_progress: bool = False) -> list[str]:
    """Compares every shard of a folder with the index.

    Args:
      folder: on a disk or in an object store.
      workers: files that are read at a time.
      show_progress: whether to show a progress bar on stderr.

    Returns:
      A sentence for each shard that is missing or damaged, and one if a split has not been finished.

    Raises:
      InputError: if the folder holds no records.
    """
    path = storage.folder_at(folder)
    index = read_index(path)
    shards = [shard for split in index.splits.values() for shard in split.shards]

    def check(shard: Shard) -> str | None:
        fault = size_fault(path, shard)
        if fault is None and storage.sha256_of(path / shard.file) != shard.sha256:
            fault = (
                f"{path / shard.file} is damaged, as its checksum is not that of the index; copy it again, or delete "
                "it and run the same python -m segnet_jax.prepare command again."
            )
        return fault

    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        checked = tqdm(pool.map(check, shards), total=len(shards), unit=" shards", disable=not show_progress)
        faults = [fault for fault in checked if fault is not None]
    unfinished = [name for name, split in index.splits.items() if not split.shards]
    return faults + [unfinished_message(path, name) for name in unfinished]


@contextlib.contextmanager
def _lock(folder: epath.Path) -> Iterator[None]:
    """Keeps other preparations out of a folder on a disk; object stores have no locks."""
    if storage.is_remote(folder):
        yield
        return
    taken = f"Another process is preparing records in {folder}; wait for it or stop it, or choose another --output."
    path = Path(folder) / ".lock"
    with write_errors(folder), locked(path, taken):
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _plan(
    folder: epath.Path,
    known: RecordIndex | None,
    datasets: Sequence[Dataset],
    source: Mapping[str, Any],
    examples_per_shard: int,
    compression: str,
) -> RecordIndex:
    """Returns the folder's index `known` with the splits to be prepared; refuses another data set than the folder's."""
    first = datasets[0]
    compression = compression or (known.compression if known else next(iter(COMPRESSIONS)))
    index = RecordIndex(
        first.name,
        first.class_table,
        modalities_of(first),
        modality_names_of(first),
        compression,
        {},
        image_dtype_of(first),
    )
    if known is not None:
        fields = ("name", "class_table", "modalities", "modality_names", "image_dtype", "compression")
        _refuse_another(folder, known, index, fields)
        index = known
    splits = dict(index.splits)
    for dataset in datasets:
        before, length = splits.get(dataset.split), len(dataset)
        # By default 64, or as many more as keep a split to 256 shards.
        default = before.examples_per_shard if before else max(64, -(-length // 256))
        split = RecordSplit(length, examples_per_shard or default, _fingerprint_of(dataset), source)
        if before is not None:
            _refuse_another(folder, before, split, ("examples", "fingerprint", "examples_per_shard"))
        splits.setdefault(dataset.split, split)
    return replace(index, splits=splits)


def _fingerprint_of(dataset: Dataset) -> str:
    """Returns a digest of the data set's files or, without any, of three of its examples."""
    if hasattr(dataset, "fingerprint"):
        return dataset.fingerprint()
    chosen = sorted({0, len(dataset) // 2, len(dataset) - 1})
    return hashlib.sha256(b"".join(encode(dataset[index]) for index in chosen)).hexdigest()


def _refuse_another(folder: epath.Path, known: object, new: object, fields: Sequence[str]) -> None:
    for field in fields:
        if getattr(known, field) != getattr(new, field):
            what = "images, or images that have changed since" if field == "fingerprint" else field
            raise InputError(
                f"{folder} holds records of other {what}; give the settings that it was begun with, choose another "
                "--output, or delete the folder."
            )


def _store(folder: epath.Path, index: RecordIndex) -> None:
    with storage.errors(folder, "written"), storage.written_aside(folder / INDEX_FILE) as local:
        local.write_text(index.to_json(), encoding="utf-8")
