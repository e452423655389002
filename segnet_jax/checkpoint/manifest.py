"""The record beside a checkpoint's arrays, by which they are recognised and proved.

A record is a JSON object: the caller's metadata, the metrics, and for every array its dtype, shape
and CRC-32. It is sealed with a CRC-32 of its own. Checkpoint readers alone return a flipped bit of
an array as another number, and a lost part of one as zeros; the record is what finds them.
"""

import json
import math
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

METRIC = "mean_iou"
# Of the metadata: the number of the stage of training, where there are several.
STAGE = "stage"

_FORMAT = 1
_COMMIT_MARKER = "commit_success.txt"  # the last file that Orbax writes into a checkpoint

Metrics = Mapping[str, float | None]
Manifest = dict[str, Any]
Leaves = dict[tuple[str, ...], Any]


class CheckpointScore(NamedTuple):
    """By what checkpoints are compared.

    Attributes:
      stage: of training, whose networks differ, so that their scores do not compare.
      score: None where there is none.
    """

    stage: int
    score: float | None


class DamagedError(Exception):
    """A checkpoint that cannot be read as it was written; the message is the reason."""


def find_steps(directory: Path) -> list[int]:
    """The steps that have a directory of their own in `directory`, ascending."""
    if not directory.is_dir():
        return []
    names = (path.name for path in directory.iterdir() if path.is_dir())
    return sorted(int(name) for name in names if re.fullmatch(r"0|[1-9][0-9]*", name))


def read_manifest(path: Path) -> Manifest:
    """The record in the checkpoint directory `path`.

    Read by hand, since Orbax would make all processes of a run wait for each other.

    Raises:
      DamagedError: the checkpoint is not finished, or its record is not as it was written.
    """
    if not (path / _COMMIT_MARKER).is_file():
        raise DamagedError(f"its commit marker {_COMMIT_MARKER} is missing")
    try:
        return verify((path / "record" / "metadata").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise DamagedError("its record is missing or not readable") from error


def flatten(tree: Any) -> Leaves:
    """The leaves of a pytree by the names on the way to them; empty nodes leave no trace.

    Raises:
      ValueError: a leaf has no name of its own (the tree is a single leaf, or two names clash).
    """
    leaves = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        names = tuple(jax.tree_util.keystr((key,), simple=True) for key in path)
        if not names or names in leaves:
            raise ValueError(f"the leaf at {jax.tree_util.keystr(path)!r} has no name of its own")
        leaves[names] = leaf
    return leaves


def as_array(leaf: Any) -> np.ndarray:
    """A leaf as a NumPy array; a Python number takes the dtype that JAX would give it."""
    array = np.asarray(leaf)
    if isinstance(leaf, bool | int | float) and not isinstance(leaf, np.generic):
        array = array.astype(jax.dtypes.canonicalize_dtype(array.dtype))
    return array


def make_manifest(leaves: Leaves, metadata: dict[str, Any], metrics: Metrics | None) -> Manifest:
    """The record of these arrays, exactly as it will be read back (tuples become lists).

    Raises:
      TypeError: JSON cannot hold something in `metadata` or `metrics`.
    """
    described = {"/".join(path): _describe(leaf, crc32=True) for path, leaf in leaves.items()}
    record = {"format": _FORMAT, "metadata": metadata, "metrics": metrics, "leaves": described}
    return json.loads(json.dumps(record, default=_as_number))


def add_checksum(record: Manifest) -> Manifest:
    """The record with its own checksum, ready to be written as JSON."""
    return record | {"crc32": _checksum(record)}


def verify(text: str) -> Manifest:
    """The record in `text`, which `seal` made.

    Raises:
      DamagedError: it is not as it was written.
    """
    try:
        record = json.loads(text)
        whole = record.pop("crc32") == _checksum(record) and record["format"] == _FORMAT
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise DamagedError("its record is not readable") from error
    if not whole:
        raise DamagedError("its record does not match its checksum")
    return record


def check_arrays(record: Manifest, leaves: Leaves) -> None:
    """Compares every array with the record, bit by bit.

    Raises:
      DamagedError: one differs; the message names it.
    """
    for path, leaf in leaves.items():
        name = "/".join(path)
        if record["leaves"].get(name) != _describe(leaf, crc32=True):
            raise DamagedError(f"the array {name} does not match its checksum")


def find_differences(record: Manifest, expected: Leaves) -> list[str]:
    """What keeps a checkpoint from fitting, one text per array: missing, left over, other shape.

    Args:
      record: the record of the checkpoint.
      expected: arrays, `jax.ShapeDtypeStruct`s or Python numbers by their path.
    """
    wanted = {"/".join(path): _describe(leaf) for path, leaf in expected.items()}
    found = record["leaves"]
    differences = []
    for name in sorted(wanted.keys() | found.keys()):
        want, have = _shown(wanted.get(name)), _shown(found.get(name))
        if want != have:
            differences.append(f"{name}: expected {want}, found {have}")
    return differences


def finite_score(metrics: Metrics | None) -> float | None:
    """The number by which the best checkpoint is chosen, or None where it is not a finite one."""
    value = (metrics or {}).get(METRIC)
    return value if value is not None and math.isfinite(value) else None


def checkpoint_score(record: Manifest) -> CheckpointScore:
    """Stage and score of a checkpoint."""
    return CheckpointScore(record["metadata"].get(STAGE, 0), finite_score(record["metrics"]))


def best_of(standings: Mapping[int, CheckpointScore]) -> int | None:
    """The step with the highest score of the last stage that has one, the later one of equals; None without any."""
    ranked = [(*found, step) for step, found in standings.items() if found.score is not None]
    return max(ranked)[-1] if ranked else None


def last_steps_of_stages(standings: Mapping[int, CheckpointScore]) -> set[int]:
    """The last step of each stage."""
    return set({standings[step].stage: step for step in sorted(standings)}.values())


def _describe(leaf: Any, *, crc32: bool = False) -> Manifest:
    array = leaf if hasattr(leaf, "dtype") else as_array(leaf)
    description: Manifest = {"dtype": str(array.dtype), "shape": list(array.shape)}
    if crc32:
        data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        description["crc32"] = zlib.crc32(data.data)
    return description


def _shown(description: Manifest | None) -> str:
    return f"{description['dtype']} {description['shape']}" if description else "none"


def _checksum(record: Manifest) -> int:
    return zlib.crc32(json.dumps(record, sort_keys=True).encode())


def _as_number(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a checkpoint's metadata cannot hold {value!r}")
