"""Tests for segnet_jax/data/records/writer.py."""

import numpy as np
import pytest

from segnet_jax.data.class_table import ClassTable
from segnet_jax.data.datasets.camvid import Camvid
from segnet_jax.data.datasets.folder import Folder
from segnet_jax.data.datasets.synthetic import SyntheticScenes
from segnet_jax.data.records.reader import Records
from segnet_jax.data.records.writer import prepare_records, verify_records
from segnet_jax.errors import InputError
from segnet_jax.runtime.files import locked
from tests.helpers.buckets import gs_in_memory
from tests.helpers.camvid_files import write_native, write_tutorial
from tests.helpers.folder_files import TABLE, save
from tests.helpers.record_folders import StoppedError, Stopping, assert_same_examples, files_of, scenes, times_of


class WithDepth(SyntheticScenes):
    """Scenes whose fourth channel is the label."""

    modalities = (3, 1)

    def __getitem__(self, index):
        example = super().__getitem__(index)
        return {**example, "image": np.concatenate([example["image"], example["label"][..., None]], axis=-1)}


def with_classes_turned(dataset):
    dataset.class_table = ClassTable("turned", dataset.class_table.classes[::-1])
    return dataset


def folder_of_many_sizes(root):
    rng = np.random.default_rng(0)
    for index, size in enumerate([(4, 6), (4, 6), (7, 3), (5, 5), (4, 6)]):
        save(root / "images" / f"{index}.jpg", rng.integers(0, 256, (*size, 3)).astype(np.uint8))
        save(root / "masks" / f"{index}.png", rng.choice([3, 5, 255], size).astype(np.uint8))
    return Folder(root, "train", TABLE, val_fraction=0.0)


def folder_of_normals(root):
    for stem in "abc":
        save(root / "normals" / f"{stem}.png", np.full((4, 6, 3), ord(stem), np.uint8))
        save(root / "masks" / f"{stem}.png", np.full((4, 6), 3, np.uint8))
    return Folder(root, "train", TABLE, val_fraction=0.0, modalities=("normals",))


@pytest.mark.parametrize(
    "create",
    [
        lambda root: scenes(),
        lambda root: WithDepth("val", (9, 12), 5),
        lambda root: Camvid(write_tutorial(root), "train"),
        lambda root: Camvid(write_native(root), "test"),
        folder_of_many_sizes,
        folder_of_normals,
    ],
    ids=["synthetic", "depth", "camvid", "camvid_native", "folder", "normals"],
)
def test_prepare_records_keeps_the_examples_of_the_data_set(tmp_path, create):
    dataset = create(tmp_path / "source")
    output = str(tmp_path / "records")
    index = prepare_records([dataset], output, examples_per_shard=2)
    assert_same_examples(Records(output, dataset.split), dataset)
    shards = index.splits[dataset.split].shards
    assert [shard.examples for shard in shards] == [2] * (len(dataset) // 2) + [1] * (len(dataset) % 2)
    assert set(files_of(tmp_path / "records")) == {"index.json", *(shard.file for shard in shards)}


def test_prepare_records_writes_the_same_files_with_several_processes(tmp_path):
    datasets = [scenes(11), scenes(3, "val")]
    for name, workers in (("one", 1), ("two", 2)):
        prepare_records(datasets, str(tmp_path / name), workers=workers, examples_per_shard=2)
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")


def stop_preparation(datasets, output, **options):
    with pytest.raises(StoppedError):
        prepare_records(datasets, str(output), examples_per_shard=2, **options)


def test_prepare_records_goes_on(tmp_path, capsys):
    datasets = [scenes(8), scenes(5, "val")]
    prepare_records(datasets, str(tmp_path / "whole"), examples_per_shard=2)
    output = tmp_path / "stopped"
    stop_preparation([Stopping(6, 8), datasets[1]], output)
    finished = [f"train-0000{number}-of-00004.array_record" for number in range(3)]
    assert sorted(files_of(output)) == ["index.json", *finished]
    messages = [f"{output} holds a half-finished preparation of {name}; run the same" for name in ("train", "val")]
    with pytest.raises(InputError, match=messages[1]):
        Records(str(output), "val")
    assert [fault.partition(" python")[0] for fault in verify_records(str(output))] == messages
    before = times_of(output)
    prepare_records(datasets, str(output), show_progress=True)
    assert "13/13" in capsys.readouterr().err
    assert files_of(output) == files_of(tmp_path / "whole")
    assert [times_of(output)[name] for name in finished] == [before[name] for name in finished]


def test_prepare_records_names_a_bad_example(tmp_path):
    dataset = folder_of_many_sizes(tmp_path / "source")
    (tmp_path / "source" / "masks" / "3.png").write_bytes(b"")
    for workers in (1, 2):
        with pytest.raises(InputError, match=r"3\.png is empty"):
            prepare_records([dataset], str(tmp_path / "out"), examples_per_shard=1, workers=workers)


def test_prepare_records_adds_splits_later(tmp_path):
    train, val = scenes(8), scenes(3, "val")
    prepare_records([train, val], str(tmp_path / "both"), examples_per_shard=2)
    later = str(tmp_path / "later")
    prepare_records([val], later, examples_per_shard=2)
    times = times_of(tmp_path / "later")
    # A shard of a split that the index lacks says nothing of what it was made from.
    (tmp_path / "later" / "train-00000-of-00004.array_record").write_bytes(b"older")
    with pytest.raises(InputError, match=r"has no split 'train'; use one of val, or add it with .*--split=train"):
        Records(later, "train")
    stop_preparation([Stopping(2, 8)], later)
    # While one split is under way, the other can be read.
    assert_same_examples(Records(later, "val"), val)
    # A command about another split leaves it to the one that began it.
    prepare_records([val], later, examples_per_shard=2)
    with pytest.raises(InputError, match="half-finished preparation of train"):
        Records(later, "train")
    prepare_records([train], later, examples_per_shard=2)
    assert files_of(tmp_path / "later") == files_of(tmp_path / "both")
    shards = [name for name in times if name.endswith("array_record")]
    assert [times_of(tmp_path / "later")[name] for name in shards] == [times[name] for name in shards]


@pytest.mark.parametrize(
    ("dataset", "options", "message"),
    [
        (scenes(6), {}, "examples"),
        (scenes(8, seed=1), {}, "images, or images that have changed since"),
        (scenes(8), {"examples_per_shard": 3}, "examples_per_shard"),
        (scenes(8), {"compression": "none"}, "compression"),
        (WithDepth("train", (9, 12), 8), {}, "modalities"),
        (with_classes_turned(scenes(8)), {}, "class_table"),
    ],
)
def test_prepare_records_refuses_a_folder_of_other_records(tmp_path, dataset, options, message):
    stop_preparation([Stopping(3, 8)], tmp_path)
    before = files_of(tmp_path)
    with pytest.raises(InputError, match=f"{tmp_path} holds records of other {message}; give the settings that it was"):
        prepare_records([dataset], str(tmp_path), **options)
    assert files_of(tmp_path) == before


def test_prepare_records_writes_no_more_than_missing_shards(tmp_path):
    prepare_records([scenes(6)], str(tmp_path), examples_per_shard=2)
    before, times = files_of(tmp_path), times_of(tmp_path)
    prepare_records([scenes(6)], str(tmp_path))
    assert times_of(tmp_path) == times
    (tmp_path / "train-00001-of-00003.array_record").unlink()
    (tmp_path / "train-00002-of-00003.array_record").write_bytes(b"short")
    prepare_records([scenes(6)], str(tmp_path))
    assert files_of(tmp_path) == before
    for name in ("index.json", "train-00000-of-00003.array_record"):
        assert times_of(tmp_path)[name] == times[name]


def test_prepare_records_runs_once_at_a_time(tmp_path):
    with (
        locked(tmp_path / ".lock"),
        pytest.raises(InputError, match=r"Another process is preparing records in .*; wait for it or stop it, or choo"),
    ):
        prepare_records([scenes()], str(tmp_path))


def test_prepare_records_refuses_a_folder_of_other_files(tmp_path):
    dataset = folder_of_many_sizes(tmp_path / "source")
    with pytest.raises(InputError, match=r"source holds files that are no records, such as images; choose an empty"):
        prepare_records([dataset], str(tmp_path / "source"))
    assert sorted(files_of(tmp_path / "source" / "images")) == [f"{index}.jpg" for index in range(5)]
    # A folder that only looks empty, or that a preparation left before its first index was whole, will do.
    (tmp_path / "out").mkdir()
    for name in (".hidden", "index.json.tmp"):
        (tmp_path / "out" / name).write_text("")
    prepare_records([dataset], str(tmp_path / "out"))
    assert_same_examples(Records(str(tmp_path / "out"), "train"), dataset)


def test_prepare_records_names_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file/below cannot be written"):
        prepare_records([scenes()], str(tmp_path / "file" / "below"))


def test_verify_records_finds_every_fault(tmp_path):
    prepare_records([scenes(6), scenes(4, "val")], str(tmp_path), examples_per_shard=2)
    assert verify_records(str(tmp_path)) == []
    shards = sorted(tmp_path.glob("*.array_record"))
    data = bytearray(shards[1].read_bytes())
    data[5000] ^= 1
    shards[1].write_bytes(data)
    shards[2].unlink()
    shards[4].write_bytes(shards[4].read_bytes()[:-1])
    faults = verify_records(str(tmp_path), workers=2)
    assert [fault.split("; ")[0] for fault in faults] == [
        f"{shards[1]} is damaged, as its checksum is not that of the index",
        f"{shards[2]} is missing",
        f"{shards[4]} has {len(data) - 1} bytes and not the {len(data)} of the index",
    ]
    assert all(fault.endswith("run the same python -m segnet_jax.prepare command again.") for fault in faults)
    # And the way out that they name leads out.
    shards[1].unlink()
    prepare_records([scenes(6), scenes(4, "val")], str(tmp_path))
    assert verify_records(str(tmp_path)) == []


def test_prepare_records_in_a_bucket(tmp_path):
    datasets = [scenes(8), scenes(3, "val")]
    prepare_records(datasets, str(tmp_path / "whole"), examples_per_shard=2)
    url = "gs://bucket/folder"
    with gs_in_memory() as (store, opened):
        stop_preparation([Stopping(3, 8), datasets[1]], url)
        names = ("index.json", "train-00000-of-00004.array_record")
        assert set(store) == {f"/bucket/folder/{name}" for name in names}
        opened.clear()
        prepare_records(datasets, url, examples_per_shard=2)
        # One shard had been finished.
        assert sum(path.endswith("array_record") and mode == "wb" for path, mode in opened) == 5
        found = {path.rsplit("/", 1)[1]: file.getvalue() for path, file in store.items()}
        assert found == files_of(tmp_path / "whole")
        assert verify_records(url) == []
        assert_same_examples(Records(url, "val"), datasets[1])
