"""The manifest beside a checkpoint's arrays, by which damage is found.

A manifest is a JSON object: the caller's metadata, the metrics, and for every array its dtype, shape
and CRC-32. It carries a CRC-32 of its own. Checkpoint readers alone return a flipped bit of an array
as another number, and a lost part of one as zeros; the manifest is what finds them.
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
        raise DamagedError("its manifest is missing or not readable") from error


def flatten(tree: Any) -> Leaves:
    """Returns the leaves of a pytree by the names on the way to them; empty nodes leave no trace.

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
    """Returns a leaf as a NumPy array; a Python number takes the dtype that JAX would give it."""
    array = np.asarray(leaf)
    if isinstance(leaf, bool | int | float) and not isinstance(leaf, np.generic):
        array = array.astype(jax.dtypes.canonicalize_dtype(array.dtype))
    return array


def make_manifest(leaves: Leaves, metadata: dict[str, Any], metrics: Metrics | None) -> Manifest:
    """Makes the manifest of these arrays, exactly as it will be read back (tuples become lists).

    Raises:
      TypeError: JSON cannot hold something in `metadata` or `metrics`.
    """
    described = {"/".join(path): _describe(leaf, crc32=True) for path, leaf in leaves.items()}
    manifest = {"format": _FORMAT, "metadata": metadata, "metrics": metrics, "leaves": described}
    return json.loads(json.dumps(manifest, default=_as_number))


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
        raise DamagedError("its manifest is not readable") from error
    if not whole:
        raise DamagedError("its manifest does not match its checksum")
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
      expected: arrays, `jax.ShapeDtypeStruct`s or Python numbers by their path.
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


def finite_score(metrics: Metrics | None) -> float | None:
    """Returns the number by which the best checkpoint is chosen, or None where it is not a finite one."""
    value = (metrics or {}).get(METRIC)
    return value if value is not None and math.isfinite(value) else None


def checkpoint_score(manifest: Manifest) -> CheckpointScore:
    """Returns phase and score of a checkpoint."""
    return CheckpointScore(manifest["metadata"].get(STAGE, 0), finite_score(manifest["metrics"]))


def best_of(scores: Mapping[int, CheckpointScore]) -> int | None:
    """Returns the step of the highest score in the last phase that has one, the later of equals; None without any."""
    ranked = [(*found, step) for step, found in scores.items() if found.score is not None]
    return max(ranked)[-1] if ranked else None


def last_steps_of_stages(scores: Mapping[int, CheckpointScore]) -> set[int]:
    """Returns the last step of each phase."""
    return set({scores[step].stage: step for step in sorted(scores)}.values())


def _describe(leaf: Any, *, crc32: bool = False) -> Manifest:
    array = leaf if hasattr(leaf, "dtype") else as_array(leaf)
    description: Manifest = {"dtype": str(array.dtype), "shape": list(array.shape)}
    if crc32:
        data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        description["crc32"] = zlib.crc32(data.data)
    return description


def _shown(description: Manifest | None) -> str:
    return f"{description['dtype']} {description['shape']}" if description else "none"


def _checksum(manifest: Manifest) -> int:
    return zlib.crc32(json.dumps(manifest, sort_keys=True).encode())


def _as_number(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a checkpoint's metadata cannot hold {value!r}")
