"""Reads the ArrayRecord files that `python -m segnet_jax.prepare` has written."""

from __future__ import annotations

import functools
import hashlib
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import grain
from etils import epath

from segnet_jax.data.class_table import ClassTable
from segnet_jax.data.records import storage
from segnet_jax.data.records.index import Shard, read_index, unfinished_message
from segnet_jax.data.records.shard import decode
from segnet_jax.data.resize import Example
from segnet_jax.errors import InputError
from segnet_jax.runtime.files import locked, user_cache_dir, write_errors

_log = logging.getLogger("segnet_jax")


class Records:
    """One split of a folder of records: the very examples of the data set that it was made from.

    The folder may lie in an object store, such as gs://BUCKET/FOLDER. Its shards are then copied into the user's cache
    directory, once, and read from there: training reads each of them in every epoch.

    Attributes: those of `Dataset`, from the index. The arrays of an example cannot be written to.
    """

    def __init__(self, root: str, split: str, class_table: ClassTable | None = None) -> None:
        """Reads the index and checks that the shards have their full size; their contents are checked when read.

        Args:
          root: the folder.
          split: one of those that were prepared.
          class_table: the classes that the records must have; None takes those that they have.

        Raises:
          InputError: there are no finished records, none of this split or of other classes, a shard is missing or cut
            short, or the storage cannot be read.
        """
        folder = storage.folder_at(root)
        index = read_index(folder)
        if split not in index.splits:
            raise InputError(
                f"{folder} has no split {split!r}; use one of {', '.join(index.splits)}, or add it with "
                f"python -m segnet_jax.prepare --output={folder} --split={split}."
            )
        shards = index.splits[split].shards
        if not shards:
            raise InputError(unfinished_message(folder, split))
        if class_table is not None and class_table.classes != index.class_table.classes:
            raise InputError(
                f"data.classes is not the class table that {folder} was prepared with "
                f"({', '.join(index.class_table.names)}); leave data.classes empty, or prepare the records anew."
            )
        self.name, self.split = index.name, split
        self.class_table = index.class_table
        self.modalities, self.modality_names = index.modalities, index.modality_names
        self._digest = hashlib.sha256("".join(shard.sha256 for shard in shards).encode()).hexdigest()
        self._examples_per_shard = index.splits[split].examples_per_shard
        self._shapes = [
            (height, width) for shard in shards for count, height, width in shard.shapes for _ in range(count)
        ]
        self._files = _local_files(folder, shards)
        parts = [_Part(file, 0, n.examples, n.examples) for file, n in zip(self._files, shards, strict=True)]
        self._source = grain.sources.ArrayRecordDataSource(parts)

    def __len__(self) -> int:
        return len(self._shapes)

    def __getitem__(self, index: int) -> Example:
        index = range(len(self))[index]
        try:
            return decode(self._source[index])
        except (RuntimeError, ValueError) as error:
            shard, record = divmod(index, self._examples_per_shard)
            raise InputError(
                f"{self._files[shard]}: record {record} cannot be read ({str(error).partition(';')[0]}); delete this "
                "file and copy or prepare it again."
            ) from error

    def shape(self, index: int) -> tuple[int, int]:
        """Returns the (height, width) of an image, from the index."""
        return self._shapes[index]

    def fingerprint(self) -> str:
        """Returns a digest of the contents, the same wherever the records lie."""
        return self._digest


@dataclass(frozen=True)
class _Part:
    """A file as ArrayRecord's data source takes it, which then need not open it to count its records."""

    filename: str
    skip: int
    take: int
    examples_in_shard: int


def size_fault(folder: epath.Path, shard: Shard) -> str | None:
    """Returns a sentence if a shard is missing or of another size than in the index, else None."""
    size = storage.size_of(folder / shard.file)
    if size == shard.bytes:
        return None
    found = "is missing" if size is None else f"has {size} bytes and not the {shard.bytes} of the index"
    return f"{folder / shard.file} {found}; copy it again, or run the same python -m segnet_jax.prepare command again."


def _local_files(folder: epath.Path, shards: Sequence[Shard]) -> list[str]:
    """Returns the paths of the shards on this machine; those in an object store are copied if they have not been."""
    if not storage.is_remote(folder):
        if faults := [fault for shard in shards if (fault := size_fault(folder, shard))]:
            raise InputError(faults[0])
        return [os.fspath(folder / shard.file) for shard in shards]
    cache = user_cache_dir() / "records"
    with write_errors(cache, "make room there, or set the environment variable XDG_CACHE_HOME to another folder"):
        cache.mkdir(parents=True, exist_ok=True)
        # Of several processes of a machine one copies, and the others find the copies.
        with locked(cache / ".lock"), ThreadPoolExecutor(8) as pool:
            return list(pool.map(functools.partial(_local_copy, folder, cache), shards))


def _local_copy(folder: epath.Path, cache: Path, shard: Shard) -> str:
    # Named by their contents: records that lie in two places are copied once, and new ones under an old name anew.
    target = cache / f"{shard.sha256}.array_record"
    if not target.is_file():
        _log.info("Copying %s to %s, once.", folder / shard.file, target)
        with storage.written_aside(epath.Path(target)) as local:
            storage.copy(folder / shard.file, epath.Path(local))
            if storage.sha256_of(epath.Path(local)) != shard.sha256:
                raise InputError(
                    f"{folder / shard.file} is damaged, as its checksum is not that of the index; copy it there again, "
                    "or prepare the records anew."
                )
    return os.fspath(target)
