"""Tests for segnet_jax/data/records/index.py."""

import hashlib
import json
from dataclasses import replace

import pytest
from etils import epath

from segnet_jax.data.class_table import ClassTable
from segnet_jax.data.datasets.camvid import CAMVID11
from segnet_jax.data.records.index import RecordIndex, RecordSplit, Shard, read_folder, read_index
from segnet_jax.errors import InputError

SHARDS = (
    Shard("train-00000-of-00002.array_record", 3, 70_000, "ab" * 32, ((2, 4, 6), (1, 5, 6))),
    Shard("train-00001-of-00002.array_record", 2, 65_536, "cd" * 32, ((2, 5, 6),)),
)
SOURCE = {"data.name": "folder", "data.val_fraction": 0.1, "data.scene_size": [90, 120]}
TRAIN = RecordSplit(5, 3, "f" * 8, SOURCE, SHARDS)
VAL = RecordSplit(2, 64, "", {}, (Shard("val-00000-of-00001.array_record", 2, 9, "ef" * 32, ((2, 4, 6),)),))
INDEX = RecordIndex("street", CAMVID11, (3, 1), "zstd", {"train": TRAIN, "val": VAL})


def message(values):
    text = values if isinstance(values, str) else json.dumps(values)
    with pytest.raises(InputError) as error:
        RecordIndex.from_json(text, "F/index.json")
    return str(error.value)


def test_index_survives_its_file():
    assert RecordIndex.from_json(INDEX.to_json(), "") == INDEX
    table = ClassTable.from_entries("own", [{"name": "a b", "id": 7}, {"name": "void", "id": 1, "ignored": True}])
    other = replace(INDEX, class_table=table)
    assert RecordIndex.from_json(other.to_json(), "").class_table == table


def test_index_file_is_for_reading():
    lines = INDEX.to_json().splitlines()
    assert lines[1:3] == ['  "format": "segnet_jax records",', '  "version": 1,']
    # Arrays of numbers take a line each.
    assert [line.strip() for line in lines if "[2, 4, 6]" in line] == ["[2, 4, 6],", "[2, 4, 6]"]
    assert not [line for line in lines if line.strip().rstrip(",").isdecimal()]


def test_index_has_one_order_of_splits():
    turned = replace(INDEX, splits={"val": VAL, "train": TRAIN})
    assert turned.to_json() == INDEX.to_json()
    assert list(RecordIndex.from_json(turned.to_json(), "").splits) == ["train", "val"]


def test_split_plan_bytes_and_digest():
    assert TRAIN.plan("train") == {SHARDS[0].file: range(3), SHARDS[1].file: range(3, 5)}
    assert RecordSplit(4, 2, "", {}).plan("a b") == {
        "a b-00000-of-00002.array_record": range(2),
        "a b-00001-of-00002.array_record": range(2, 4),
    }
    assert TRAIN.bytes == 135_536
    assert TRAIN.digest == hashlib.sha256(("ab" * 32 + "cd" * 32).encode()).hexdigest()


def test_index_of_another_version_is_refused():
    values = json.loads(INDEX.to_json())
    text = message({"format": values["format"], "version": 2, "whatever": 1})
    assert text.startswith("F/index.json is of version 2 and this program reads version 1; prepare the records anew")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda v: v.pop("class_table"), "'class_table' is missing"),
        (lambda v: v.update(format="other"), "its format is 'other'"),
        (lambda v: v["splits"]["train"].pop("fingerprint"), "'fingerprint'"),
        (lambda v: v["splits"]["train"].update(examples=6), "the shards of train do not make up its 6 examples"),
        (lambda v: v["splits"]["train"].update(examples_per_shard=0), "train has no examples"),
        (lambda v: v["splits"]["val"]["shards"][0].update(file="../x"), "the shards of val"),
        (lambda v: v["splits"]["val"]["shards"][0].update(shapes=[[1, 4, 6]]), "the shards of val"),
        (lambda v: v.update(splits=[1]), "items"),
        (lambda v: v["class_table"].update(classes=[]), "0 classes"),
    ],
)
def test_index_names_its_damage(change, reason):
    values = json.loads(INDEX.to_json())
    change(values)
    text = message(values)
    assert text.startswith("F/index.json is no index of records or damaged (")
    assert reason in text
    assert text.endswith("copy it again, or delete the folder and prepare the records anew.")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", INDEX.to_json()[:-20]])
def test_index_refuses_other_files(text):
    assert message(text).startswith("F/index.json is no index of records or damaged (")


def test_read_folder_joins_finished_and_unfinished_splits(tmp_path):
    folder = epath.Path(tmp_path)
    assert read_folder(folder) is None
    for path in (folder, folder / "nowhere"):
        with pytest.raises(InputError, match=r"holds no records, as it has no index\.json; correct the path, or prep"):
            read_index(path)
    # A former release kept a list of the finished shards in there.
    part = replace(INDEX, splits={"train": replace(TRAIN, shards=SHARDS[:1]), "val": replace(VAL, shards=())})
    (tmp_path / "unfinished.json").write_text(part.to_json())
    bare = replace(TRAIN, shards=())
    assert read_index(folder).splits == {"train": bare, "val": replace(VAL, shards=())}
    (tmp_path / "index.json").write_text(replace(INDEX, splits={"val": VAL}).to_json())
    assert read_index(folder) == replace(INDEX, splits={"train": bare, "val": VAL})
