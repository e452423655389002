"""Writes data sets into folders of records: by several processes, and onwards from where an earlier one was stopped."""

from __future__ import annotations

import concurrent.futures
import contextlib
import hashlib
import multiprocessing
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from etils import epath

from segnet_jax.data.dataset import Dataset, modalities_of
from segnet_jax.data.records import storage
from segnet_jax.data.records.index import (
    INDEX_FILE,
    UNFINISHED_FILE,
    RecordIndex,
    RecordSplit,
    Shard,
    read_index,
    read_unfinished,
    unfinished_message,
)
from segnet_jax.data.records.reader import size_fault
from segnet_jax.data.records.shard import COMPRESSIONS, encode, write_shard
from segnet_jax.errors import InputError
from segnet_jax.runtime.files import locked

Report = Callable[[int, int], None]
"""Is told now and then how many examples are done, and of how many."""


def prepare_records(
    datasets: Sequence[Dataset],
    output: str,
    *,
    source: Mapping[str, Any] | None = None,
    workers: int = 1,
    examples_per_shard: int = 0,
    compression: str = "",
    report: Report = lambda done, total: None,
) -> RecordIndex:
    """Writes splits of a data set as records, so that `Records` gives the very same examples.

    What is in the folder already stays, be it of an interrupted preparation or of splits that were prepared before, if
    it was made of the same files in the same way; the result is the same to the byte as that of a single undisturbed
    preparation.

    Args:
      datasets: one or more splits.
      output: the folder, made if it does not exist; it may lie in an object store.
      source: the settings that the data set was made with, for people who read the index.
      workers: processes; 1 takes none but this one.
      examples_per_shard: 0 takes that of an earlier preparation of the split, or else the default.
      compression: one of `COMPRESSIONS`; "" takes that of what is in the folder, or else zstd.
      report: is told of the progress.

    Returns:
      What the folder holds.

    Raises:
      InputError: the folder holds something else, it cannot be written, or an example cannot be read.
    """
    if workers < 1:
        raise InputError(f"workers={workers} must be at least 1.")
    if examples_per_shard < 0:
        raise InputError(f"examples_per_shard={examples_per_shard} must be at least 1, or 0 for the default.")
    if compression and compression not in COMPRESSIONS:
        raise InputError(f"compression={compression!r} is not known; choose one of {', '.join(COMPRESSIONS)}.")
    folder = epath.Path(output)
    with storage.errors(folder, "written"):
        folder.mkdir(parents=True, exist_ok=True)
    with _local_folder(folder) as local:
        index = _plan(folder, datasets, source or {}, examples_per_shard, compression)
        tasks = [
            _Task(dataset.split, number, split.file_of(dataset.split, number), split.range_of(number))
            for dataset in datasets
            for split in [index.splits[dataset.split]]
            for number in sorted(set(range(split.num_shards)) - {_number_of(shard) for shard in split.shards})
        ]
        wanted = [index.splits[dataset.split] for dataset in datasets]
        total = sum(split.examples for split in wanted)
        done = sum(shard.examples for split in wanted for shard in split.shards)
        report(done, total)
        if tasks:
            # Before the first shard, so that nobody takes what follows for something else.
            storage.write_text(folder / UNFINISHED_FILE, index.to_json())
        job = _Job({dataset.split: dataset for dataset in datasets}, folder, local, index.compression)
        with contextlib.closing(_run(job, tasks, workers, lambda count: report(done + count, total))) as results:
            for name, shard in results:
                index = index.with_shards(name, [*index.splits[name].shards, shard])
                storage.write_text(folder / UNFINISHED_FILE, index.to_json())
        report(total, total)
        _finish(folder, index)
    return index.finished()


def default_examples_per_shard(length: int) -> int:
    """64, or as many more as keep a split of `length` examples to 256 shards."""
    return max(64, -(-length // 256))


def verify_records(folder: str, *, workers: int = 8, report: Report = lambda done, total: None) -> list[str]:
    """Compares every shard of a folder with the index.

    Args:
      folder: on a disk or in an object store.
      workers: files that are read at a time.
      report: is told of the progress, in bytes.

    Returns:
      A sentence for each shard that is missing or damaged.

    Raises:
      InputError: if there is no finished index.
    """
    path = epath.Path(folder)
    shards = [shard for split in read_index(path).splits.values() for shard in split.shards]
    total = sum(shard.bytes for shard in shards)

    def check(shard: Shard) -> str | None:
        fault = size_fault(path, shard)
        if fault is None and storage.sha256_of(path / shard.file) != shard.sha256:
            fault = (
                f"{path / shard.file} is damaged, as its checksum is not that of the index; copy it again, or delete "
                "it and run the same python -m segnet_jax.prepare command again."
            )
        return fault

    faults, done = [], 0
    report(done, total)
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        for shard, fault in zip(shards, pool.map(check, shards), strict=True):
            faults += [fault] if fault else []
            done += shard.bytes
            report(done, total)
    if (unfinished := read_unfinished(path)) is not None:
        faults.append(unfinished_message(path, unfinished))
    return faults


@contextlib.contextmanager
def _local_folder(folder: epath.Path) -> Iterator[Path]:
    """Where shards are written before they are whole: in the folder itself, under other names, if it is on a disk."""
    if storage.is_remote(folder):
        with tempfile.TemporaryDirectory(prefix="segnet_jax_records_") as temporary:
            yield Path(temporary)
        return
    lock = Path(folder) / ".lock"
    taken = f"Another process is preparing records in {folder}; wait for it or stop it, or choose another --output."
    with contextlib.ExitStack() as stack:
        with storage.errors(folder, "written"):
            stack.enter_context(locked(lock, taken))
        try:
            yield Path(folder)
        finally:
            lock.unlink(missing_ok=True)


def _plan(
    folder: epath.Path, datasets: Sequence[Dataset], source: Mapping[str, Any], per_shard: int, compression: str
) -> RecordIndex:
    """The index of the folder as it is, with those shards that are there, and the splits to come."""
    known = read_unfinished(folder)
    if known is None and storage.size_of(folder / INDEX_FILE) is not None:
        known = read_index(folder)
    if known is None:
        _refuse_other_files(folder)
    first = datasets[0]
    compression = compression or (known.compression if known else next(iter(COMPRESSIONS)))
    index = RecordIndex(first.name, first.class_table, modalities_of(first), compression, {})
    if known is not None:
        _refuse_another(folder, known, index, ("name", "class_table", "modalities", "compression"))
        index = known
    for dataset in datasets:
        before = index.splits.get(dataset.split)
        length = len(dataset)
        default = before.examples_per_shard if before else default_examples_per_shard(length)
        split = RecordSplit(length, per_shard or default, _fingerprint_of(dataset), dict(source))
        shards: list[Shard] = []
        if before is not None:
            _refuse_another(folder, before, split, ("examples", "fingerprint", "examples_per_shard"))
            split = before
            shards = [shard for shard in before.shards if size_fault(folder, shard) is None]
        index = RecordIndex(
            index.name, index.class_table, index.modalities, index.compression, {**index.splits, dataset.split: split}
        ).with_shards(dataset.split, shards)
    return index


def _refuse_other_files(folder: epath.Path) -> None:
    """Raises InputError if a folder without an index holds anything; hidden files do not count."""
    with storage.errors(folder, "read"):
        try:
            names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
        except FileNotFoundError:  # an object store has no empty folders
            return
    # What a preparation leaves that was killed while it wrote its first index.
    names = [name for name in names if name != f"{UNFINISHED_FILE}.tmp"]
    if names:
        raise InputError(
            f"{folder} holds files that are no records, such as {names[0]}; choose an empty folder as --output."
        )


def _fingerprint_of(dataset: Dataset) -> str:
    """Differs between data sets of different examples: by their files or, without any, by three of the examples."""
    if hasattr(dataset, "fingerprint"):
        return dataset.fingerprint()
    chosen = sorted({0, len(dataset) // 2, len(dataset) - 1})
    return hashlib.sha256(b"".join(encode(dataset[index]) for index in chosen)).hexdigest()


def _refuse_another(folder: epath.Path, known: Any, new: Any, fields: Sequence[str]) -> None:
    words = {"class_table": "another class table", "fingerprint": "other images, or images that have changed since"}
    for field in fields:
        before, now = getattr(known, field), getattr(new, field)
        if before != now:
            name = {"examples": "number of examples"}.get(field, field)
            what = words.get(field) or f"another {name} ({before}, and now {now})"
            raise InputError(
                f"{folder} holds records of {what}; give the settings that it was begun with, choose another --output, "
                "or delete the folder."
            )


def _finish(folder: epath.Path, index: RecordIndex) -> None:
    """Makes the index of what is finished the folder's own."""
    finished = index.finished()
    text = finished.to_json()
    if storage.read_text(folder / INDEX_FILE) != text:
        storage.write_text(folder / INDEX_FILE, text)
    # Splits that an earlier command began and this one was not about are left to the former.
    if len(finished.splits) == len(index.splits) and storage.size_of(folder / UNFINISHED_FILE) is not None:
        with storage.errors(folder, "written"):
            (folder / UNFINISHED_FILE).unlink()


def _number_of(shard: Shard) -> int:
    return int(shard.file.split("-")[-3])


@dataclass(frozen=True)
class _Task:
    """One shard to be written."""

    split: str
    number: int
    file: str
    examples: range


@dataclass(frozen=True)
class _Job:
    """What every task needs."""

    datasets: Mapping[str, Dataset]
    folder: epath.Path
    local: Path
    compression: str

    def run(self, task: _Task, on_example: Callable[[], None]) -> tuple[str, Shard]:
        """Writes a shard; it gets its name when it is whole."""
        temporary = self.local / f"{task.file}.tmp"
        shard = write_shard(self.datasets[task.split], task.examples, temporary, self.compression, on_example)
        target = self.folder / task.file
        if storage.is_remote(target):
            storage.upload(temporary, target)
        else:
            with storage.errors(target, "written"):
                os.replace(temporary, target)
        return task.split, Shard(task.file, shard.examples, shard.bytes, shard.sha256, shard.shapes)


def _run(
    job: _Job, tasks: Sequence[_Task], workers: int, on_progress: Callable[[int], None]
) -> Generator[tuple[str, Shard], None, None]:
    """Runs the tasks; gives each result as it comes."""
    workers = min(workers, len(tasks))
    if workers < 2:
        count = 0

        def on_example() -> None:
            nonlocal count
            count += 1
            on_progress(count)

        for task in tasks:
            yield job.run(task, on_example)
        return
    # Not by fork: JAX has threads.
    context = multiprocessing.get_context("spawn")
    counter, stopped = context.Value("q", 0), context.Value("b", 0)
    pool = concurrent.futures.ProcessPoolExecutor(workers, context, _start_worker, (job, counter, stopped))
    try:
        with _interrupts_held():
            waiting = {pool.submit(_run_in_worker, task) for task in tasks}
        while waiting:
            finished, waiting = concurrent.futures.wait(waiting, 0.2, concurrent.futures.FIRST_COMPLETED)
            on_progress(counter.value)
            for future in finished:
                yield future.result()
    except BrokenProcessPool as error:
        raise InputError(
            "A worker process died, perhaps for want of memory; run the same command again, with fewer --workers."
        ) from error
    finally:
        stopped.value = 1
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Holds Ctrl-C back from this thread for a moment, and from the processes that it starts meanwhile for good.

    A terminal sends it to all processes; the first of them is to see to the others.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_worker: tuple[_Job, Any, Any] | None = None


class _StoppedError(Exception):
    """The preparation has ended without this worker."""


def _start_worker(job: _Job, counter: Any, stopped: Any) -> None:
    global _worker
    _worker = job, counter, stopped
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Ends this process once its parent has been killed; nobody would take its results."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _run_in_worker(task: _Task) -> tuple[str, Shard]:
    assert _worker is not None
    job, counter, stopped = _worker

    def on_example() -> None:
        if stopped.value:
            raise _StoppedError
        with counter.get_lock():
            counter.value += 1

    return job.run(task, on_example)
