"""The index of a folder of records: its splits, their shards, and the checksums of these."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from etils import epath

from segnet_jax.data.class_table import ClassTable
from segnet_jax.data.records import storage
from segnet_jax.errors import InputError

INDEX_FILE = "index.json"
UNFINISHED_FILE = "unfinished.json"
"""The index of the splits that are being prepared, without their shards: what was asked for, written at the start."""

FORMAT, VERSION = "segnet_jax records", 1


@dataclass(frozen=True)
class Shard:
    """One file of records.

    Attributes:
      file: its name in the folder.
      examples: how many it holds.
      bytes: its size.
      sha256: its checksum, in hexadecimal.
      shapes: (count, height, width) of examples of one size in a row, in order.
    """

    file: str
    examples: int
    bytes: int
    sha256: str
    shapes: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class RecordSplit:
    """One split: examples 0 to M - 1 are in the first shard, M to 2 M - 1 in the second, and so on.

    Attributes:
      examples: how many it has.
      examples_per_shard: M; the last shard may hold fewer.
      fingerprint: changes with the files that it was made from.
      source: the settings of the data set that it was made from, by the keys of the configuration.
      shards: all of them, in order; none while the split is being prepared.
    """

    examples: int
    examples_per_shard: int
    fingerprint: str
    source: Mapping[str, Any]
    shards: tuple[Shard, ...] = ()

    @property
    def bytes(self) -> int:
        """The size of all shards."""
        return sum(shard.bytes for shard in self.shards)

    @property
    def digest(self) -> str:
        """A digest of the contents of all shards."""
        return hashlib.sha256("".join(shard.sha256 for shard in self.shards).encode()).hexdigest()

    def plan(self, name: str) -> dict[str, range]:
        """Returns the examples of each shard by its file name, in order, if the split's name is `name`."""
        starts = range(0, self.examples, self.examples_per_shard)
        return {
            f"{name}-{number:05d}-of-{len(starts):05d}.array_record": range(
                start, min(start + self.examples_per_shard, self.examples)
            )
            for number, start in enumerate(starts)
        }

    @classmethod
    def from_dict(cls, name: str, values: Mapping[str, Any]) -> RecordSplit:
        """Inverts `dataclasses.asdict`; raises ValueError, KeyError or TypeError if `values` is no split."""
        split = cls(**{**values, "shards": ()})
        if min(split.examples, split.examples_per_shard) < 1:
            raise ValueError(f"{name} has no examples")
        expected = {file: len(examples) for file, examples in split.plan(name).items()}
        shards = []
        for entry in values["shards"]:
            shapes = tuple((int(count), int(height), int(width)) for count, height, width in entry["shapes"])
            shard = Shard(**{**entry, "shapes": shapes})
            if not shard.examples == sum(count for count, _, _ in shapes) == expected.pop(shard.file, None):
                raise ValueError(f"the shards of {name} do not make up its {split.examples} examples")
            shards.append(shard)
        return replace(split, shards=tuple(shards))


@dataclass(frozen=True)
class RecordIndex:
    """The description of a folder of records.

    Attributes:
      name: of the data set.
      class_table: its classes.
      modalities: the number of channels of each modality of its images.
      compression: of the shards, see `shard.COMPRESSIONS`.
      splits: by name.
    """

    name: str
    class_table: ClassTable
    modalities: tuple[int, ...]
    compression: str
    splits: Mapping[str, RecordSplit]

    def to_json(self) -> str:
        """Returns the index as text; `from_json` inverts it."""
        # In one order, however the splits came in.
        order = {"train": 0, "val": 1, "test": 2}
        names = sorted(self.splits, key=lambda name: (order.get(name, 3), name))
        values = {
            "format": FORMAT,
            "version": VERSION,
            "name": self.name,
            "class_table": self.class_table.to_dict(),
            "modalities": self.modalities,
            "compression": self.compression,
            "splits": {name: asdict(self.splits[name]) for name in names},
        }
        text = json.dumps(values, indent=2)
        # Each array of numbers on one line.
        return re.sub(r"\[\s+(\d[\d,\s]*?)\s+\]", lambda found: f"[{' '.join(found[1].split())}]", text) + "\n"

    @classmethod
    def from_json(cls, text: str, path: object) -> RecordIndex:
        """Returns the index that `to_json` wrote to the file `path`.

        Raises:
          InputError: if the text is damaged, no index, or one of another version.
        """
        try:
            values = json.loads(text)
            if values["format"] != FORMAT:
                raise ValueError(f"its format is {values['format']!r}")
            version = values["version"]
            if version == VERSION:
                splits = {name: RecordSplit.from_dict(name, entry) for name, entry in values["splits"].items()}
                table = ClassTable.from_dict(values["class_table"])
                return cls(values["name"], table, tuple(values["modalities"]), values["compression"], splits)
        except (ValueError, KeyError, TypeError, AttributeError, InputError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise InputError(
                f"{path} is no index of records or damaged ({reason.rstrip('.')}); copy it again, or delete the folder "
                "and prepare the records anew."
            ) from error
        raise InputError(
            f"{path} is of version {version!r} and this program reads version {VERSION}; prepare the records anew, or "
            "use the release of segnet_jax that wrote them."
        )


def read_folder(folder: epath.Path) -> RecordIndex | None:
    """Reads the index of a folder, with splits that are being prepared; returns None if there is neither.

    Raises:
      InputError: if it is damaged.
    """
    unfinished, finished = (
        RecordIndex.from_json(text, folder / name) if (text := storage.read_text(folder / name)) is not None else None
        for name in (UNFINISHED_FILE, INDEX_FILE)
    )
    if unfinished is None:
        return finished
    splits = {name: replace(split, shards=()) for name, split in unfinished.splits.items()}
    return replace(unfinished, splits=splits | dict(finished.splits if finished else {}))


def read_index(folder: epath.Path) -> RecordIndex:
    """As `read_folder`, but raises InputError if the folder holds no records."""
    index = read_folder(folder)
    if index is None:
        raise InputError(
            f"{folder} holds no records, as it has no {INDEX_FILE}; correct the path, or prepare them with "
            f"python -m segnet_jax.prepare --output={folder}."
        )
    return index


def unfinished_message(folder: epath.Path, index: RecordIndex) -> str:
    """Returns the error message of a folder with a split whose preparation has not been finished."""
    names = storage.names_in(folder)
    plans = {name: split.plan(name) for name, split in index.splits.items()}
    counts = ", ".join(f"{len(plan.keys() & names)} of {len(plan)} of {name}" for name, plan in plans.items())
    return (
        f"{folder} holds a half-finished preparation (shards: {counts}); run the same "
        "python -m segnet_jax.prepare command again, which goes on where it stopped."
    )
