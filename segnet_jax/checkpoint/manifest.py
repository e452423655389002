"""The manifest beside a checkpoint's arrays, by which damage is found.

A manifest is a JSON object: the caller's metadata, the metrics, and for every array its dtype, shape
and CRC-32. It carries a CRC-32 of its own. Checkpoint readers alone return a flipped bit of an array
as another number, and a lost part of one as zeros; the manifest is what finds them.
"""

import json
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

METRIC = "mean_iou"
# The key of the metadata that holds the number of the training phase, where there are several.
STAGE = "stage"

_FORMAT = 1
_COMMIT_MARKER = "commit_success.txt"  # the last file that Orbax writes into a checkpoint

Metrics = Mapping[str, float | None]
Manifest = dict[str, Any]
Leaves = dict[tuple[str, ...], Any]


class CheckpointScore(NamedTuple):
    """Orders checkpoints.

    Attributes:
      stage: number of the training phase; the networks of phases differ, and their scores do not compare.
      score: mean IoU; None where there is none.
    """

    stage: int
    score: float | None


class DamagedError(Exception):
    """A checkpoint that cannot be read as it was written; the message is the reason."""


def find_steps(directory: Path) -> list[int]:
    """Lists the steps that have a directory of their own in `directory`, ascending."""
    if not directory.is_dir():
        return []
    names = (path.name for path in directory.iterdir() if path.is_dir())
    return sorted(int(name) for name in names if re.fullmatch(r"0|[1-9][0-9]*", name))


def read_manifest(path: Path) -> Manifest:
    """Reads the manifest in the checkpoint directory `path`.

    Read by hand, since Orbax would make all processes of a run wait for each other.

    Raises:
      DamagedError: the checkpoint is not finished, or its manifest is not as it was written.
    """
    if not (path / _COMMIT_MARKER).is_file():
        raise DamagedError(f"its commit marker {_COMMIT_MARKER} is missing")
    try:
        return verify((path / "record" / "metadata").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise DamagedError("its record is missing or not readable") from error


def flatten(tree: Any) -> Leaves:
    """Returns the leaves of a pytree of dicts, lists and the like by the names on the way to them."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {tuple(jax.tree_util.keystr((key,), simple=True) for key in path): leaf for path, leaf in leaves}


def make_manifest(leaves: Leaves, metadata: dict[str, Any], metrics: Metrics | None) -> Manifest:
    """Makes the manifest of these arrays, exactly as it will be read back (tuples become lists).

    Raises:
      TypeError: JSON cannot hold something in `metadata` or `metrics`.
    """
    described = {"/".join(path): _describe(leaf, crc32=True) for path, leaf in leaves.items()}
    return json.loads(json.dumps({"format": _FORMAT, "metadata": metadata, "metrics": metrics, "leaves": described}))


def add_checksum(manifest: Manifest) -> Manifest:
    """Returns the manifest with its own checksum, ready to be written as JSON."""
    return manifest | {"crc32": _checksum(manifest)}


def verify(text: str) -> Manifest:
    """Parses a manifest that `add_checksum` made, and compares it with its checksum.

    Raises:
      DamagedError: it is not as it was written.
    """
    try:
        manifest = json.loads(text)
        whole = manifest.pop("crc32") == _checksum(manifest) and manifest["format"] == _FORMAT
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise DamagedError("its record is not readable") from error
    if not whole:
        raise DamagedError("its record does not match its checksum")
    return manifest


def check_arrays(manifest: Manifest, leaves: Leaves) -> None:
    """Compares every array with the manifest, bit by bit.

    Raises:
      DamagedError: one differs; the message names it.
    """
    for path, leaf in leaves.items():
        name = "/".join(path)
        if manifest["leaves"].get(name) != _describe(leaf, crc32=True):
            raise DamagedError(f"the array {name} does not match its checksum")


def find_differences(manifest: Manifest, expected: Leaves, *, partial: bool = False) -> list[str]:
    """Lists what keeps a checkpoint from fitting, one text per array: missing, left over, other shape.

    Args:
      manifest: of the checkpoint.
      expected: arrays or `jax.ShapeDtypeStruct`s by their path.
      partial: whether the checkpoint may hold more than is expected.
    """
    wanted = {"/".join(path): _describe(leaf) for path, leaf in expected.items()}
    found = manifest["leaves"]
    differences = []
    for name in sorted(wanted.keys() | (set() if partial else found.keys())):
        want, have = _shown(wanted.get(name)), _shown(found.get(name))
        if want != have:
            differences.append(f"{name}: expected {want}, found {have}")
    return differences


def checkpoint_score(manifest: Manifest) -> CheckpointScore:
    """Returns phase and score of a checkpoint."""
    return CheckpointScore(manifest["metadata"].get(STAGE, 0), (manifest["metrics"] or {}).get(METRIC))


def best_of(scores: Mapping[int, CheckpointScore]) -> int | None:
    """Returns the step of the highest score in the last phase that has one, the later of equals; None without any."""
    ranked = [(*found, step) for step, found in scores.items() if found.score is not None]
    return max(ranked)[-1] if ranked else None


def last_steps_of_stages(scores: Mapping[int, CheckpointScore]) -> set[int]:
    """Returns the last step of each phase."""
    return set({scores[step].stage: step for step in sorted(scores)}.values())


def _describe(leaf: Any, *, crc32: bool = False) -> Manifest:
    description: Manifest = {"dtype": str(leaf.dtype), "shape": list(leaf.shape)}
    if crc32:
        data = np.ascontiguousarray(leaf).reshape(-1).view(np.uint8)
        description["crc32"] = zlib.crc32(data.data)
    return description


def _shown(description: Manifest | None) -> str:
    return f"{description['dtype']} {description['shape']}" if description else "none"


def _checksum(manifest: Manifest) -> int:
    return zlib.crc32(json.dumps(manifest, sort_keys=True).encode())
