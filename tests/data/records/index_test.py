"""Tests for segnet_jax/data/records/index.py."""

import json
from dataclasses import replace

import pytest
from etils import epath

from segnet_jax.data.class_table import ClassTable
from segnet_jax.data.datasets.camvid import CAMVID11
from segnet_jax.data.records.index import RecordIndex, RecordSplit, Shard, read_index
from segnet_jax.errors import InputError

SHARDS = (
    Shard("train-00000-of-00002.array_record", 3, 70_000, "ab" * 32, ((2, 4, 6), (1, 5, 6))),
    Shard("train-00001-of-00002.array_record", 2, 65_536, "cd" * 32, ((2, 5, 6),)),
)
SOURCE = {"data.name": "folder", "data.val_fraction": 0.1, "data.scene_size": [90, 120]}
TRAIN = RecordSplit(5, 3, "f" * 8, SOURCE, SHARDS)
VAL = RecordSplit(4, 2, "", {})
INDEX = RecordIndex("street", CAMVID11, (3, 1), ("rgb", "depth"), "zstd", {"val": VAL, "train": TRAIN})


def test_index_survives_its_file():
    assert RecordIndex.from_json(INDEX.to_json(), "") == INDEX
    table = ClassTable.from_entries("own", [{"name": "a b", "id": 7}, {"name": "void", "id": 1, "ignored": True}])
    other = replace(INDEX, class_table=table)
    assert RecordIndex.from_json(other.to_json(), "").class_table == table


def test_index_file_is_for_reading():
    lines = INDEX.to_json().splitlines()
    assert lines[1:3] == ['  "format": "segnet_jax records",', '  "version": 1,']
    # Arrays of numbers take a line each.
    assert [line.strip() for line in lines if "[2, 4, 6]" in line] == ["[2, 4, 6],"]
    assert not [line for line in lines if line.strip().rstrip(",").isdecimal()]
    # The splits have one order.
    assert list(json.loads(INDEX.to_json())["splits"]) == ["train", "val"]


def test_split_plan():
    assert TRAIN.plan("train") == {SHARDS[0].file: range(3), SHARDS[1].file: range(3, 5)}
    assert VAL.plan("a b") == {
        "a b-00000-of-00002.array_record": range(2),
        "a b-00001-of-00002.array_record": range(2, 4),
    }


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[]", "list indices"),
        (INDEX.to_json()[:-20], ""),
        (
            INDEX.to_json().replace('"version": 1', '"version": 3'),
            "it is segnet_jax records, version 3, not segnet_jax records, 1 or 2",
        ),
        (INDEX.to_json().replace("class_table", "table"), "'class_table'"),
        (INDEX.to_json().replace("fingerprint", "digest"), "'digest'"),
        (INDEX.to_json().replace("Sky", "Road"), "to two classes"),
    ],
)
def test_index_names_its_damage(tmp_path, text, reason):
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(InputError) as error:
        read_index(epath.Path(tmp_path))
    message = str(error.value)
    assert message.startswith(f"{tmp_path}/index.json is no index of records or damaged (")
    assert reason in message
    assert message.endswith("copy it again, or delete the folder and prepare the records anew.")


def test_index_of_before_modalities_had_names():
    values = json.loads(INDEX.to_json())
    del values["modality_names"]
    assert RecordIndex.from_json(json.dumps(values), "") == INDEX
    normals = replace(INDEX, modalities=(3,), modality_names=("normals",))
    assert RecordIndex.from_json(normals.to_json(), "") == normals
