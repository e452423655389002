"""Reads the ArrayRecord files that `python -m segnet_jax.prepare` has written."""

from __future__ import annotations

import bisect
import contextlib
import itertools
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import grain
from etils import epath

from segnet_jax.data.augment import Example
from segnet_jax.data.class_table import ClassTable
from segnet_jax.data.records import storage
from segnet_jax.data.records.index import Shard, read_index, unfinished_message
from segnet_jax.data.records.shard import decode
from segnet_jax.errors import InputError
from segnet_jax.runtime.files import locked, user_cache_dir, write_errors

_log = logging.getLogger("segnet_jax")


class Records:
    """One split of a folder of records: the very examples of the data set that it was made from.

    The folder may lie in an object store, such as gs://BUCKET/FOLDER. Its shards are then copied into the user's cache
    directory, once, and read from there: training reads each of them in every epoch.

    Attributes:
      name: of the data set that the records were made from.
      split: "train", "val", ...
      class_table: the classes, from the index.
      modalities: the number of channels of each modality of the images.
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
        folder = epath.Path(root)
        index = read_index(folder)
        if split not in index.splits:
            raise InputError(
                f"{folder} has no split {split!r}; use one of {', '.join(index.splits)}, or add it with "
                f"python -m segnet_jax.prepare --output={folder} --split={split}."
            )
        shards = self._shards = index.splits[split].shards
        if not shards:
            raise InputError(unfinished_message(folder, index))
        if class_table is not None and class_table.classes != index.class_table.classes:
            raise InputError(
                f"data.classes is not the class table that {folder} was prepared with "
                f"({', '.join(index.class_table.names)}); leave data.classes empty, or prepare the records anew."
            )
        self.name, self.split = index.name, split
        self.class_table, self.modalities = index.class_table, index.modalities
        self._digest = index.splits[split].digest
        self._starts = [0, *itertools.accumulate(shard.examples for shard in shards)]
        runs = [run for shard in shards for run in shard.shapes]
        self._run_ends = list(itertools.accumulate(count for count, _, _ in runs))
        self._run_shapes = [(height, width) for _, height, width in runs]
        self._files = _local_files(folder, shards)
        parts = [_Part(file, 0, n.examples, n.examples) for file, n in zip(self._files, shards, strict=True)]
        try:
            self._source = grain.sources.ArrayRecordDataSource(parts)
        except RuntimeError as error:  # as grain says of a system that ArrayRecord is not built for
            raise InputError(f"{folder} cannot be read here ({error}); set data.name to that of the files.") from error

    def __len__(self) -> int:
        """Returns the number of examples."""
        return self._starts[-1]

    def __getitem__(self, index: int) -> Example:
        """Reads an example.

        Returns:
          {"image": uint8 [H, W, channels], "label": uint8 [H, W], "name": str}; the arrays cannot be written to.

        Raises:
          InputError: the shard is damaged or has gone.
        """
        index = range(len(self))[index]
        try:
            return decode(self._source[index])
        except (RuntimeError, ValueError) as error:
            shard = bisect.bisect_right(self._starts, index) - 1
            raise InputError(
                f"{self._files[shard]}: record {index - self._starts[shard]} cannot be read "
                f"({str(error).partition(';')[0]}); delete this file and copy or prepare it again."
            ) from error

    def shape(self, index: int) -> tuple[int, int]:
        """Returns the (height, width) of an image, from the index."""
        return self._run_shapes[bisect.bisect_right(self._run_ends, range(len(self))[index])]

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
    path = folder / shard.file
    size = storage.size_of(path)
    if size == shard.bytes:
        return None
    found = "is missing" if size is None else f"has {size} bytes and not the {shard.bytes} of the index"
    return f"{path} {found}; copy it again, or run the same python -m segnet_jax.prepare command again."


def _local_files(folder: epath.Path, shards: Sequence[Shard]) -> list[str]:
    """Returns the paths of the shards on this machine; those in an object store are copied if they have not been."""
    if storage.is_remote(folder):
        return _copies(folder, shards)
    for shard in shards:
        if (fault := size_fault(folder, shard)) is not None:
            raise InputError(fault)
    return [os.fspath(folder / shard.file) for shard in shards]


def _copies(folder: epath.Path, shards: Sequence[Shard]) -> list[str]:
    cache = user_cache_dir() / "records"
    # Named by their contents: records that lie in two places are copied once, and new ones under an old name anew.
    targets = [cache / f"{shard.sha256}.array_record" for shard in shards]
    with contextlib.ExitStack() as stack:
        with write_errors(cache, "set the environment variable XDG_CACHE_HOME to a folder that can"):
            cache.mkdir(parents=True, exist_ok=True)
            # Of several processes of a machine one copies, and the others find the copies.
            stack.enter_context(locked(cache / ".lock"))
        missing = [
            (folder / shard.file, path, shard.sha256)
            for shard, path in zip(shards, targets, strict=True)
            if not (path.is_file() and path.stat().st_size == shard.bytes)
        ]
        if missing:
            _log.info("Copying %d shards from %s to %s, once.", len(missing), folder, cache)
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(storage.download, *zip(*missing, strict=True)))
    return [os.fspath(path) for path in targets]
