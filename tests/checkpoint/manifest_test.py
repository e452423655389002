"""Tests for segnet_jax/checkpoint/manifest.py."""

import json
import zlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segnet_jax.checkpoint.manifest import (
    CheckpointScore,
    DamagedError,
    Leaves,
    add_checksum,
    best_of,
    check_arrays,
    checkpoint_score,
    find_differences,
    find_steps,
    flatten,
    last_steps_of_stages,
    make_manifest,
    read_manifest,
    verify,
)

LEAVES = {
    ("params", "kernel"): np.array([[1.0, -2.0]], np.float32),
    ("opt_state", "0", "count"): np.array(3, np.int32),
}


def test_flatten_names_leaves_by_the_path_to_them() -> None:
    tree = {"params": {"conv1_1": {"kernel": 1}}, "opt_state": ([2, 3], (), None), "empty": {}}
    assert flatten(tree) == {
        ("params", "conv1_1", "kernel"): 1,
        ("opt_state", "0", "0"): 2,
        ("opt_state", "0", "1"): 3,
    }


def test_make_manifest_holds_dtype_shape_and_crc() -> None:
    record = make_manifest(LEAVES, {"size": (3, 4)}, {"mean_iou": 0.5})
    assert record["metadata"] == {"size": [3, 4]}
    assert record["metrics"] == {"mean_iou": 0.5}
    assert record["leaves"] == {
        "params/kernel": {
            "dtype": "float32",
            "shape": [1, 2],
            "crc32": zlib.crc32(bytes.fromhex("0000803f000000c0")),
        },
        "opt_state/0/count": {"dtype": "int32", "shape": [], "crc32": zlib.crc32(b"\x03\0\0\0")},
    }


def test_make_manifest_takes_the_values_whatever_their_layout_in_memory() -> None:
    array = np.arange(12, dtype=np.int16).reshape(3, 4)
    records = [make_manifest({("a",): a}, {}, None) for a in (array, np.asfortranarray(array))]
    assert records[0] == records[1]
    assert records[0] != make_manifest({("a",): array.reshape(4, 3)}, {}, None)
    assert records[0] != make_manifest({("a",): array.view(np.uint16)}, {}, None)
    for other in (np.zeros((0, 3), np.float32), np.array([1.5, 2.5], jnp.bfloat16), np.arange(9)[::2]):
        record = make_manifest({("a",): other}, {}, None)
        assert record["leaves"]["a"]["crc32"] == zlib.crc32(other.tobytes())


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 7))
def test_verify_finds_any_flipped_bit(position: int, bit: int) -> None:
    record = make_manifest(LEAVES, {"name": "ü", "rate": 0.1}, None)
    data = bytearray(json.dumps(add_checksum(record)).encode())
    assert verify(data.decode()) == record
    data[position % len(data)] ^= 1 << bit
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return  # read_manifest finds it
    try:
        same = json.loads(text) == add_checksum(record)
    except ValueError:
        same = False
    if not same:  # e.g. a capital letter in an escape sequence says the same
        with pytest.raises(DamagedError):
            verify(text)


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", '{"crc32": 1}', '{"format": 1}', "\ud800"])
def test_verify_refuses_what_is_not_a_record(text: str) -> None:
    with pytest.raises(DamagedError, match="record"):
        verify(text)
    with pytest.raises(DamagedError, match="record"):
        verify(json.dumps(add_checksum(make_manifest(LEAVES, {}, None) | {"format": 2})))


def test_read_manifest_refuses_a_missing_or_damaged_file(tmp_path: Path) -> None:
    record = make_manifest(LEAVES, {"a": 1}, None)
    with pytest.raises(DamagedError, match="commit marker commit_success.txt is missing"):
        read_manifest(tmp_path)
    (tmp_path / "commit_success.txt").write_text("")
    with pytest.raises(DamagedError, match="record is missing or not readable"):
        read_manifest(tmp_path)
    (tmp_path / "record").mkdir()
    (tmp_path / "record" / "metadata").write_bytes(b"\xff")
    with pytest.raises(DamagedError, match="record is missing or not readable"):
        read_manifest(tmp_path)
    (tmp_path / "record" / "metadata").write_text(json.dumps(add_checksum(record)))
    assert read_manifest(tmp_path) == record


def test_find_steps_ignores_other_names(tmp_path: Path) -> None:
    for name in ("0", "10", "9", "07", "-1", "3.orbax-checkpoint-tmp", "4.replaced", "x", "1e3"):
        (tmp_path / name).mkdir()
    (tmp_path / "11").write_text("a file")
    assert find_steps(tmp_path) == [0, 9, 10]
    assert find_steps(tmp_path / "missing") == []


def test_check_arrays_finds_other_values_dtypes_and_shapes() -> None:
    record = make_manifest(LEAVES, {}, None)
    check_arrays(record, {path: leaf.copy() for path, leaf in LEAVES.items()})
    negated = -LEAVES["params", "kernel"]
    for wrong in (negated, LEAVES["params", "kernel"].astype(np.float64), LEAVES["params", "kernel"].T):
        with pytest.raises(DamagedError, match="params/kernel does not match its checksum"):
            check_arrays(record, LEAVES | {("params", "kernel"): wrong})


def test_find_differences_names_each_array_that_differs() -> None:
    record = make_manifest(LEAVES, {}, None)
    fits: Leaves = {
        ("params", "kernel"): jax.ShapeDtypeStruct((1, 2), jnp.float32),
        ("opt_state", "0", "count"): np.zeros((), np.int32),
    }
    assert find_differences(record, fits) == []
    other: Leaves = {
        ("params", "kernel"): jnp.zeros((1, 3), jnp.bfloat16),
        ("params", "bias"): np.zeros(2),
    }
    assert find_differences(record, other) == [
        "opt_state/0/count: expected none, found int32 []",
        "params/bias: expected float64 [2], found none",
        "params/kernel: expected bfloat16 [1, 3], found float32 [1, 2]",
    ]


def test_best_of_takes_the_latest_of_the_highest_scores_of_the_last_stage_that_has_one() -> None:
    def best(scores: dict[int, float | None]) -> int | None:
        return best_of({step: CheckpointScore(0, score) for step, score in scores.items()})

    assert best({3: None}) is None
    assert best({0: 0.5, 1: 0.2, 2: None}) == 0
    assert best({9: 0.5, 10: 0.5, 2: 0.5}) == 10
    stages = {2: (0, 0.9), 4: (1, 0.4), 6: (1, 0.3), 8: (2, None)}
    scores = {step: CheckpointScore(*values) for step, values in stages.items()}
    assert best_of(scores) == 4
    assert last_steps_of_stages(scores) == {2, 6, 8}


def test_checkpoint_score_reads_stage_and_score() -> None:
    assert checkpoint_score(make_manifest({}, {"stage": 3}, {"mean_iou": 0.25})) == (3, 0.25)
    assert checkpoint_score(make_manifest({}, {}, {"loss": 1.0})) == checkpoint_score(make_manifest({}, {}, None))
    assert checkpoint_score(make_manifest({}, {}, None)) == (0, None)
