"""The index of a folder of records: its shards, what they hold, and how to tell that they are whole."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from etils import epath

from segnet_jax.data.class_table import ClassTable
from segnet_jax.data.records import storage
from segnet_jax.errors import InputError

INDEX_FILE = "index.json"
UNFINISHED_FILE = "unfinished.json"
"""The index of a preparation that is under way: it lists the shards that are finished."""

FORMAT, VERSION = "segnet_jax records", 1


@dataclass(frozen=True)
class Shard:
    """One file of records.

    Attributes:
      file: its name in the folder.
      examples: how many it holds.
      bytes: its size.
      sha256: the digest of its bytes, in hexadecimal.
      shapes: (count, height, width) of examples of one size in a row, in order.
    """

    file: str
    examples: int
    bytes: int
    sha256: str
    shapes: tuple[tuple[int, int, int], ...]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Shard:
        """Inverts `dataclasses.asdict`; raises ValueError, KeyError or TypeError if `values` is no such thing."""
        shapes = tuple((int(count), int(height), int(width)) for count, height, width in values["shapes"])
        shard = cls(str(values["file"]), int(values["examples"]), int(values["bytes"]), str(values["sha256"]), shapes)
        if "/" in shard.file or sum(count for count, _, _ in shapes) != shard.examples:
            raise ValueError(f"the entry of {shard.file} contradicts itself")
        return shard


@dataclass(frozen=True)
class RecordSplit:
    """One split: examples 0 to M - 1 are in the first shard, M to 2 M - 1 in the second, and so on.

    Attributes:
      examples: how many it has.
      examples_per_shard: M; the last shard may hold fewer.
      fingerprint: tells whether the files that it was made from have changed; "" if the data set cannot tell.
      source: the settings of the data set that it was made from, by the keys of the configuration.
      shards: those that are finished, in order.
    """

    examples: int
    examples_per_shard: int
    fingerprint: str
    source: Mapping[str, Any]
    shards: tuple[Shard, ...] = ()

    @property
    def num_shards(self) -> int:
        """How many shards it has when it is finished."""
        return -(-self.examples // self.examples_per_shard)

    @property
    def is_finished(self) -> bool:
        """Whether no shard is missing from the list."""
        return len(self.shards) == self.num_shards

    @property
    def bytes(self) -> int:
        """The size of the finished shards."""
        return sum(shard.bytes for shard in self.shards)

    @property
    def digest(self) -> str:
        """A digest of the contents of the finished shards."""
        return hashlib.sha256("".join(shard.sha256 for shard in self.shards).encode()).hexdigest()

    def range_of(self, number: int) -> range:
        """The examples of a shard."""
        return range(self.examples)[number * self.examples_per_shard : (number + 1) * self.examples_per_shard]

    def file_of(self, name: str, number: int) -> str:
        """The file name of a shard of this split, whose name is `name`."""
        return f"{name}-{number:05d}-of-{self.num_shards:05d}.array_record"

    @classmethod
    def from_dict(cls, name: str, values: Mapping[str, Any]) -> RecordSplit:
        """Inverts `dataclasses.asdict`; raises ValueError, KeyError or TypeError if `values` is no such thing."""
        shards = tuple(Shard.from_dict(entry) for entry in values["shards"])
        counts = int(values["examples"]), int(values["examples_per_shard"])
        split = cls(*counts, str(values["fingerprint"]), dict(values["source"]), shards)
        if min(counts) < 1:
            raise ValueError(f"{name} has no examples")
        expected = {split.file_of(name, k): len(split.range_of(k)) for k in range(split.num_shards)}
        if any(expected.pop(shard.file, None) != shard.examples for shard in shards):
            raise ValueError(f"the shards of {name} do not make up its {split.examples} examples")
        return split


@dataclass(frozen=True)
class RecordIndex:
    """What a folder of records holds.

    Attributes:
      name: of the data set.
      class_table: its classes.
      modalities: the number of channels of each modality of its images.
      compression: of the shards, see `record_shard.COMPRESSIONS`.
      splits: by name.
    """

    name: str
    class_table: ClassTable
    modalities: tuple[int, ...]
    compression: str
    splits: Mapping[str, RecordSplit]

    def with_shards(self, name: str, shards: Sequence[Shard]) -> RecordIndex:
        """The index with these shards of a split, in order."""
        split = replace(self.splits[name], shards=tuple(sorted(shards, key=lambda shard: shard.file)))
        return replace(self, splits={**self.splits, name: split})

    def finished(self) -> RecordIndex:
        """The index without the splits that lack a shard."""
        return replace(self, splits={name: split for name, split in self.splits.items() if split.is_finished})

    def to_json(self) -> str:
        """The index as text; `from_json` inverts it."""
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
        """The index that `to_json` wrote.

        Args:
          text: of the file.
          path: of the file, for messages.

        Raises:
          InputError: if it is damaged, no index, or one of another version.
        """
        try:
            values = json.loads(text)
            if values["format"] != FORMAT:
                raise ValueError(f"its format is {values['format']!r}")
            version = values["version"]
            if version == VERSION:
                splits = {name: RecordSplit.from_dict(name, entry) for name, entry in values["splits"].items()}
                table = ClassTable.from_dict(values["class_table"])
                modalities = tuple(int(channels) for channels in values["modalities"])
                return cls(str(values["name"]), table, modalities, str(values["compression"]), splits)
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


def read_index(folder: epath.Path) -> RecordIndex:
    """The index of a folder whose preparation has been finished.

    Raises:
      InputError: if there is none, or it cannot be used.
    """
    text = storage.read_text(folder / INDEX_FILE)
    if text is not None:
        return RecordIndex.from_json(text, folder / INDEX_FILE)
    if (unfinished := read_unfinished(folder)) is None:
        raise InputError(
            f"{folder} holds no records, as it has no {INDEX_FILE}; correct the path, or prepare them with "
            f"python -m segnet_jax.prepare --output={folder}."
        )
    raise InputError(unfinished_message(folder, unfinished))


def read_unfinished(folder: epath.Path) -> RecordIndex | None:
    """The index of a preparation that is under way or was interrupted; None if there is none."""
    text = storage.read_text(folder / UNFINISHED_FILE)
    return None if text is None else RecordIndex.from_json(text, folder / UNFINISHED_FILE)


def unfinished_message(folder: epath.Path, index: RecordIndex) -> str:
    """What to say of a folder whose preparation has not been finished."""
    counts = ", ".join(f"{len(split.shards)} of {split.num_shards} of {name}" for name, split in index.splits.items())
    return (
        f"{folder} holds a half-finished preparation (shards: {counts}); run the same "
        "python -m segnet_jax.prepare command again, which goes on where it stopped."
    )
