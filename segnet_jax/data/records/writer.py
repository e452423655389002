"""Writes data sets into folders of records, by several processes."""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import hashlib
import multiprocessing
import operator
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any

from etils import epath
from tqdm import tqdm

from segnet_jax.data.dataset import Dataset, modalities_of
from segnet_jax.data.records import storage
from segnet_jax.data.records.index import (
    INDEX_FILE,
    UNFINISHED_FILE,
    RecordIndex,
    RecordSplit,
    Shard,
    read_folder,
    read_index,
    unfinished_message,
)
from segnet_jax.data.records.reader import size_fault
from segnet_jax.data.records.shard import COMPRESSIONS, describe_shard, encode, write_shard
from segnet_jax.errors import InputError
from segnet_jax.runtime.files import locked, write_errors


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
      The index of the folder's finished splits.

    Raises:
      InputError: the folder holds something else, it cannot be written, or an example cannot be read.
    """
    folder = epath.Path(output)
    with storage.errors(folder, "written"):
        folder.mkdir(parents=True, exist_ok=True)
    with _lock(folder):
        index = _plan(folder, datasets, source or {}, examples_per_shard, compression)
        splits, names = dict(index.splits), storage.names_in(folder)
        shards: dict[str, Shard] = {}
        tasks: list[Callable[[], Shard]] = []
        for dataset in datasets:
            split = splits[dataset.split]
            shards |= {shard.file: shard for shard in split.shards if size_fault(folder, shard) is None}
            for file, examples in split.plan(dataset.split).items():
                if file in names and not split.shards:
                    # A shard has got its name when it was whole.
                    tasks.append(functools.partial(describe_shard, dataset, examples, folder / file))
                elif file not in shards:
                    compression = index.compression
                    tasks.append(functools.partial(write_shard, dataset, examples, folder / file, compression))
        _store(folder / UNFINISHED_FILE, index, {name: split for name, split in splits.items() if not split.shards})
        total, done = sum(map(len, datasets)), sum(shard.examples for shard in shards.values())
        with _progress_bar(show_progress, total=total, initial=done, unit=" examples") as bar:
            for shard in _run(tasks, workers):
                shards[shard.file] = shard
                bar.update(shard.examples)
        for dataset in datasets:
            files = splits[dataset.split].plan(dataset.split)
            splits[dataset.split] = replace(splits[dataset.split], shards=tuple(shards[file] for file in files))
        finished = {name: split for name, split in splits.items() if split.shards}
        _store(folder / INDEX_FILE, index, finished)
        _store(folder / UNFINISHED_FILE, index, {name: splits[name] for name in splits.keys() - finished})
    return replace(index, splits=finished)


def default_examples_per_shard(length: int) -> int:
    """Returns 64, or as many more as keep a split of `length` examples to 256 shards."""
    return max(64, -(-length // 256))


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
    path = epath.Path(folder)
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

    faults, total = [], sum(shard.bytes for shard in shards)
    with (
        concurrent.futures.ThreadPoolExecutor(workers) as pool,
        _progress_bar(show_progress and total > 0, total=total, unit="B", unit_scale=True) as bar,
    ):
        for shard, fault in zip(shards, pool.map(check, shards), strict=True):
            faults += [fault] if fault else []
            bar.update(shard.bytes)
    if not all(split.shards for split in index.splits.values()):
        faults.append(unfinished_message(path, index))
    return faults


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
    folder: epath.Path, datasets: Sequence[Dataset], source: Mapping[str, Any], per_shard: int, compression: str
) -> RecordIndex:
    """Returns the index of the folder with the splits to be prepared; refuses another data set than the folder's."""
    known = read_folder(folder)
    if known is None:
        # A preparation that was killed at once leaves the latter.
        others = sorted(n for n in storage.names_in(folder) if n[0] != "." and n != f"{UNFINISHED_FILE}.tmp")
        if others:
            raise InputError(
                f"{folder} holds files that are no records, such as {others[0]}; choose an empty folder as --output."
            )
    first = datasets[0]
    compression = compression or (known.compression if known else next(iter(COMPRESSIONS)))
    index = RecordIndex(first.name, first.class_table, modalities_of(first), compression, {})
    if known is not None:
        _refuse_another(folder, known, index, ("name", "class_table", "modalities", "compression"))
        index = known
    splits = dict(index.splits)
    for dataset in datasets:
        before, length = splits.get(dataset.split), len(dataset)
        default = before.examples_per_shard if before else default_examples_per_shard(length)
        split = RecordSplit(length, per_shard or default, _fingerprint_of(dataset), dict(source))
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


def _refuse_another(folder: epath.Path, known: Any, new: Any, fields: Sequence[str]) -> None:
    for field in fields:
        before, now = getattr(known, field), getattr(new, field)
        if before != now:
            what = {
                "class_table": "another class table",
                "fingerprint": "other images, or images that have changed since",
                "examples": f"another number of examples ({before}, and now {now})",
            }.get(field, f"another {field} ({before}, and now {now})")
            raise InputError(
                f"{folder} holds records of {what}; give the settings that it was begun with, choose another --output, "
                "or delete the folder."
            )


def _store(path: epath.Path, index: RecordIndex, splits: Mapping[str, RecordSplit]) -> None:
    """Writes the index of these splits if the file holds another; without splits there is no such file."""
    before = storage.read_text(path)
    text = replace(index, splits=splits).to_json() if splits else None
    if text is not None and text != before:
        storage.write_text(path, text)
    elif text is None and before is not None:
        with storage.errors(path, "written"):
            path.unlink()


def _run(tasks: Sequence[Callable[[], Shard]], workers: int) -> Iterator[Shard]:
    """Yields the results of the tasks, in order."""
    if min(workers, len(tasks)) < 2:
        yield from map(operator.call, tasks)
        return
    # Not by fork: JAX has threads.
    context = multiprocessing.get_context("spawn")
    pool = concurrent.futures.ProcessPoolExecutor(workers, context, _start_worker)
    try:
        for result in [pool.submit(operator.call, task) for task in tasks]:
            yield result.result()
    except BrokenProcessPool as error:
        raise InputError(
            "A worker process died, perhaps for want of memory; run the same command again, with fewer --workers."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    # A terminal sends Ctrl-C to all processes; the first one answers it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # A worker of concurrent.futures whose parent was killed would wait for its next task for ever.
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _progress_bar(is_shown: bool, **options: Any) -> tqdm:
    # Into a file it writes every ten seconds.
    interval = 0.1 if sys.stderr.isatty() else 10.0
    return tqdm(disable=not is_shown, mininterval=interval, dynamic_ncols=True, **options)
