"""Tests for segnet_jax/data/records/reader.py."""

import hashlib
import itertools
import logging
import pickle
import shutil

import jax
import numpy as np
import pytest
from PIL import Image

from segnet_jax.data.augment import Augmentation
from segnet_jax.data.class_table import ClassTable
from segnet_jax.data.color_changes import ColorChanges
from segnet_jax.data.datasets.folder import Folder
from segnet_jax.data.datasets.synthetic import SYNTHETIC, SyntheticScenes
from segnet_jax.data.first_reading import check_examples
from segnet_jax.data.pipeline import eval_batches, train_batches
from segnet_jax.data.records.reader import Records
from segnet_jax.data.records.writer import prepare_records
from segnet_jax.errors import InputError
from segnet_jax.report.runs import read_runs
from segnet_jax.training.loop import train_and_evaluate
from tests.helpers.buckets import gs_in_memory
from tests.helpers.record_folders import assert_same_examples
from tests.helpers.tiny_config import make_tiny_config


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Scenes as PNG files: 16 for training, 6 for validation."""
    root = tmp_path_factory.mktemp("files")
    for split, length in (("train", 16), ("val", 6)):
        scenes = SyntheticScenes(split, (16, 24), length)
        for kind in ("images", "masks"):
            (root / split / kind).mkdir(parents=True)
        for example in map(scenes.__getitem__, range(length)):
            Image.fromarray(example["image"]).save(root / split / "images" / f"{example['name']}.png")
            Image.fromarray(example["label"]).save(root / split / "masks" / f"{example['name']}.png")
    return root


CLASSES = tuple(
    {"name": entry.name, "id": entry.id, "color": entry.color, "ignored": entry.ignored} for entry in SYNTHETIC.classes
)


def files_of(folder, split="train"):
    return Folder(folder, split, ClassTable.from_entries("folder", CLASSES))


@pytest.fixture(scope="module")
def prepared(folder, tmp_path_factory):
    """The same as records, four a shard."""
    root = tmp_path_factory.mktemp("records")
    prepare_records([files_of(folder), files_of(folder, "val")], str(root), examples_per_shard=4)
    return root


@pytest.fixture
def root(prepared, tmp_path):
    """A copy to be damaged."""
    return shutil.copytree(prepared, tmp_path / "records")


def message(root, split="train", **options):
    with pytest.raises(InputError) as error:
        Records(str(root), split, **options)
    return str(error.value)


def test_records_need_no_other_settings(folder, prepared):
    for split in ("train", "val"):
        records = Records(str(prepared), split)
        assert_same_examples(records, files_of(folder, split))
        assert_same_examples(pickle.loads(pickle.dumps(records)), files_of(folder, split))


def test_records_are_found_by_position(prepared):
    records = Records(str(prepared), "train")
    np.testing.assert_array_equal(records[-1]["image"], records[15]["image"])
    assert records.shape(-1) == (16, 24)
    for index in (16, -17):
        with pytest.raises(IndexError):
            records[index]
        with pytest.raises(IndexError):
            records.shape(index)


def drawn_from(dataset, **options):
    augmentation = Augmentation(
        scale=(0.7, 1.4), crop_size=(11, 13), flip=True, colors=ColorChanges(brightness=0.3, hue=0.1)
    )
    drawn = train_batches(dataset, seed=5, augmentation=augmentation, batch_size=6, **options)
    first = list(itertools.islice(drawn, 5))
    drawn.close()
    return first


def test_records_give_the_batches_of_the_files(folder, prepared):
    records, files = Records(str(prepared), "train"), files_of(folder)
    expected = drawn_from(files)
    in_order = [list(eval_batches(dataset, image_size=(9, 9), batch_size=6)) for dataset in (records, files)]
    # Worker processes take the data set along.
    for found in (drawn_from(records), drawn_from(records, num_workers=2)):
        for batch, other in zip(found + in_order[0], expected + in_order[1], strict=True):
            assert batch.keys() == other.keys()
            for key, array in batch.items():
                np.testing.assert_array_equal(array, other[key])


@pytest.mark.ci
def test_records_train_like_the_files(folder, prepared, tmp_path):
    states = []
    for name, root in (("folder", folder), ("records", prepared)):
        config = make_tiny_config()
        config.data.name, config.data.root = name, str(root)
        config.data.classes = CLASSES if name == "folder" else ()
        config.augment.scale, config.augment.crop_size = (0.8, 1.2), (16, 24)
        config.augment.contrast = 0.2
        config.loss.class_weights = "median_frequency"
        config.train.duration, config.train.eval_every = "3 steps", "0 steps"
        states.append(train_and_evaluate(config, tmp_path / name))
    assert jax.tree.structure(states[0]) == jax.tree.structure(states[1])
    for leaf, other in zip(*map(jax.tree.leaves, states), strict=True):
        np.testing.assert_array_equal(leaf, other)
    reports = [read_runs(tmp_path / name)[0].report for name in ("folder", "records")]
    assert {**reports[0], "data": ""} == {**reports[1], "data": ""}
    # A report on records says what they were made from.
    assert read_runs(tmp_path / "records")[0].conditions["data"] == folder.name


def test_records_fingerprint_is_that_of_the_contents(prepared, root, folder, tmp_path):
    fingerprint = Records(str(prepared), "train").fingerprint()
    assert Records(str(root), "train").fingerprint() == fingerprint
    assert Records(str(prepared), "val").fingerprint() != fingerprint
    prepare_records([Folder(folder, "train", SYNTHETIC)], str(tmp_path / "other"), examples_per_shard=5)
    assert Records(str(tmp_path / "other"), "train").fingerprint() != fingerprint


def test_records_refuse_other_classes(prepared):
    Records(str(prepared), "train", ClassTable.from_entries("folder", CLASSES))
    text = message(prepared, class_table=ClassTable.from_entries("folder", CLASSES[:-1]))
    assert text.startswith(f"data.classes is not the class table that {prepared} was prepared with (sky, building, ")
    assert text.endswith("leave data.classes empty, or prepare the records anew.")


def test_records_name_a_missing_folder(tmp_path):
    assert message(tmp_path).startswith(f"{tmp_path} holds no records, as it has no index.json; correct the path, or")


def test_records_refuse_a_missing_or_short_shard_at_once(root):
    path = root / "train-00002-of-00004.array_record"
    data = path.read_bytes()
    path.write_bytes(data[:-7])
    assert message(root).startswith(f"{path} has {len(data) - 7} bytes and not the {len(data)} of the index; copy it")
    path.unlink()
    assert message(root).startswith(f"{path} is missing; copy it again, or run the same python -m segnet_jax.prepa")
    Records(str(root), "val")


def test_records_name_a_damaged_shard(root):
    path = root / "train-00002-of-00004.array_record"
    data = bytearray(path.read_bytes())
    data[1500:1600] = bytes(100)
    path.write_bytes(data)
    with pytest.raises(InputError) as error:
        check_examples(Records(str(root), "train"))
    text = str(error.value)
    assert text.startswith(f"{path}: record ")
    assert text.endswith("; delete this file and copy or prepare it again.")
    assert "\n" not in text


def test_records_copy_a_bucket_once(prepared, folder, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO, logger="segnet_jax")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache = tmp_path / "segnet_jax" / "records"
    with gs_in_memory() as (store, opened):
        prepare_records([files_of(folder), files_of(folder, "val")], "gs://bucket/street", examples_per_shard=4)
        opened.clear()
        records = Records("gs://bucket/street", "train")
        assert_same_examples(records, files_of(folder))
        assert sum(path.endswith(".array_record") for path, _ in opened) == 4
        assert caplog.text.count("Copying gs://bucket/street/train-0000") == 4
        opened.clear()
        again = Records("gs://bucket/street", "train")
        assert not any(path.endswith(".array_record") for path, _ in opened)
        assert records.fingerprint() == again.fingerprint() == Records(str(prepared), "train").fingerprint()
        names = {hashlib.sha256(path.read_bytes()).hexdigest() for path in prepared.glob("train-*")}
        assert {path.stem for path in cache.glob("*.array_record")} == names
    # What has been copied is all that is read.
    assert_same_examples(pickle.loads(pickle.dumps(records)), files_of(folder))


def test_records_name_a_damaged_bucket(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with gs_in_memory() as (store, _):
        prepare_records([files_of(folder, "val")], "gs://bucket/street", examples_per_shard=4)
        name = "/bucket/street/val-00001-of-00002.array_record"
        store[name].getbuffer()[1000] ^= 1
        assert message("gs://bucket/street", "val").startswith(f"gs:/{name} is damaged, as its checksum is not that")
        del store[name]
        assert message("gs://bucket/street", "val").startswith(f"gs:/{name} cannot be copied (")
    assert not list(tmp_path.rglob("*.tmp"))


def test_records_name_a_cache_that_cannot_be_written(folder, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with gs_in_memory():
        prepare_records([files_of(folder, "val")], "gs://bucket/street")
        assert "set the environment variable XDG_CACHE_HOME to another folder." in message("gs://bucket/street", "val")
