"""Index of a folder of records: its splits, their shards, and the checksums of these."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from etils import epath

from segnet_jax.data.class_table import ClassTable
from segnet_jax.data.dataset import default_modality_names
from segnet_jax.data.records import storage
from segnet_jax.errors import InputError

INDEX_FILE = "index.json"
FORMAT = "segnet_jax records"
# The version of each type of images: what reads version 1 alone refuses the other.
_VERSIONS = {"uint8": 1, "float32": 2}


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

    def plan(self, name: str) -> dict[str, range]:
        """Returns the examples of each shard by its file name, in order, if the split's name is `name`."""
        starts = range(0, self.examples, self.examples_per_shard)
        return {
            f"{name}-{number:05d}-of-{len(starts):05d}.array_record": range(
                start, min(start + self.examples_per_shard, self.examples)
            )
            for number, start in enumerate(starts)
        }


@dataclass(frozen=True)
class RecordIndex:
    """Description of a folder of records.

    Attributes:
      name: of the data set.
      class_table: its classes.
      modalities: the number of channels of each modality of its images.
      modality_names: what they are.
      compression: of the shards, see `shard.COMPRESSIONS`.
      splits: by name.
      image_dtype: "uint8" or "float32".
    """

    name: str
    class_table: ClassTable
    modalities: tuple[int, ...]
    modality_names: tuple[str, ...]
    compression: str
    splits: Mapping[str, RecordSplit]
    image_dtype: str = "uint8"

    def to_json(self) -> str:
        """Returns the index as text; `from_json` inverts it."""
        # In one order, however the splits came in.
        order = {"train": 0, "val": 1, "test": 2}
        names = sorted(self.splits, key=lambda name: (order.get(name, 3), name))
        values = {
            "format": FORMAT,
            "version": _VERSIONS[self.image_dtype],
            "name": self.name,
            "class_table": self.class_table.to_dict(),
            "modalities": self.modalities,
            "modality_names": self.modality_names,
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
            dtypes = {version: dtype for dtype, version in _VERSIONS.items()}
            if values["format"] != FORMAT or values["version"] not in dtypes:
                known = " or ".join(map(str, dtypes))
                raise ValueError(f"it is {values['format']}, version {values['version']}, not {FORMAT}, {known}")
            splits = {
                name: RecordSplit(**{**entry, "shards": tuple(map(_shard, entry["shards"]))})
                for name, entry in values["splits"].items()
            }
            table = ClassTable.from_dict(values["class_table"])
            modalities = tuple(values["modalities"])
            # Records of before there were others than RGB and depth do not name them.
            names = tuple(values.get("modality_names", default_modality_names(modalities)))
            dtype = dtypes[values["version"]]
            return cls(values["name"], table, modalities, names, values["compression"], splits, dtype)
        except (ValueError, KeyError, TypeError, InputError) as error:
            raise InputError(
                f"{path} is no index of records or damaged ({str(error).rstrip('.')}); copy it again, or delete the "
                "folder and prepare the records anew."
            ) from error


def _shard(entry: Mapping[str, Any]) -> Shard:
    return Shard(**{**entry, "shapes": tuple(map(tuple, entry["shapes"]))})


def read_index(folder: epath.Path) -> RecordIndex:
    """Reads the index of a folder.

    Raises:
      InputError: if the folder holds no records, or the index is damaged.
    """
    text = storage.read_text(folder / INDEX_FILE)
    if text is None:
        raise InputError(
            f"{folder} holds no records, as it has no {INDEX_FILE}; correct the path, or prepare them with "
            f"python -m segnet_jax.prepare --output={folder}."
        )
    return RecordIndex.from_json(text, folder / INDEX_FILE)


def unfinished_message(folder: epath.Path, split: str) -> str:
    """Returns the error message of a split whose preparation has not been finished."""
    return (
        f"{folder} holds a half-finished preparation of {split}; run the same python -m segnet_jax.prepare command "
        "again, which goes on where it stopped."
    )
