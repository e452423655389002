"""Tests for segnet_jax/data/records/writer.py."""

import json
import os
import shutil

import numpy as np
import pytest
from etils import epath

from segnet_jax.data.class_table import ClassTable
from segnet_jax.data.datasets.camvid import Camvid
from segnet_jax.data.datasets.folder import Folder
from segnet_jax.data.datasets.synthetic import SyntheticScenes
from segnet_jax.data.records import storage
from segnet_jax.data.records.reader import Records
from segnet_jax.data.records.writer import default_examples_per_shard, prepare_records, verify_records
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


def folder_of_many_sizes(root):
    rng = np.random.default_rng(0)
    for index, size in enumerate([(4, 6), (4, 6), (7, 3), (5, 5), (4, 6)]):
        save(root / "images" / f"{index}.jpg", rng.integers(0, 256, (*size, 3)).astype(np.uint8))
        save(root / "masks" / f"{index}.png", rng.choice([3, 5, 255], size).astype(np.uint8))
    return Folder(root, "train", TABLE, val_fraction=0.0)


@pytest.mark.parametrize("compression", ["zstd", "none"])
@pytest.mark.parametrize(
    "create",
    [
        lambda root: scenes(),
        lambda root: WithDepth("val", (9, 12), 5),
        lambda root: Camvid(write_tutorial(root), "train"),
        lambda root: Camvid(write_native(root), "test"),
        folder_of_many_sizes,
    ],
    ids=["synthetic", "depth", "camvid", "camvid_native", "folder"],
)
def test_prepare_records_keeps_the_examples_of_the_data_set(tmp_path, create, compression):
    dataset = create(tmp_path / "source")
    output = str(tmp_path / "records")
    index = prepare_records([dataset], output, examples_per_shard=2, compression=compression)
    assert_same_examples(Records(output, dataset.split), dataset)
    assert index.compression == compression
    assert [shard.examples for shard in index.splits[dataset.split].shards] == [2] * (len(dataset) // 2) + [1] * (
        len(dataset) % 2
    )
    assert set(files_of(tmp_path / "records")) == {
        "index.json",
        *(shard.file for shard in index.splits[dataset.split].shards),
    }


@pytest.mark.parametrize(
    ("length", "expected"), [(1, 64), (367, 64), (64 * 256, 64), (64 * 256 + 1, 65), (1_000_000, 3907)]
)
def test_default_examples_per_shard(length, expected):
    assert default_examples_per_shard(length) == expected
    assert -(-length // expected) <= 256


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
    assert sorted(files_of(output)) == [*finished, "unfinished.json"]
    message = r"half-finished preparation \(shards: 3 of 4 of train, 0 of 3 of val\); run the same"
    with pytest.raises(InputError, match=message):
        Records(str(output), "val")
    (fault,) = verify_records(str(output))
    assert "(shards: 3 of 4 of train, 0 of 3 of val)" in fault
    before = times_of(output)
    prepare_records(datasets, str(output), show_progress=True)
    assert "13/13" in capsys.readouterr().err
    assert files_of(output) == files_of(tmp_path / "whole")
    assert [times_of(output)[name] for name in finished] == [before[name] for name in finished]


def test_prepare_records_goes_on_with_a_folder_of_a_former_release(tmp_path):
    """Its list of unfinished splits names the shards that are finished."""
    prepare_records([scenes(6)], str(tmp_path / "whole"), examples_per_shard=2)
    output = tmp_path / "old"
    shutil.copytree(tmp_path / "whole", output)
    (output / "index.json").unlink()
    values = json.loads((tmp_path / "whole" / "index.json").read_text())
    (output / values["splits"]["train"]["shards"].pop(1)["file"]).unlink()
    (output / "unfinished.json").write_text(json.dumps(values))
    before = times_of(output)
    prepare_records([scenes(6)], str(output))
    assert files_of(output) == files_of(tmp_path / "whole")
    assert sum(times_of(output).get(name) == changed for name, changed in before.items()) == 2


def test_prepare_records_leaves_a_finished_folder_alone(tmp_path):
    for _ in range(2):
        prepare_records([scenes()], str(tmp_path), examples_per_shard=4)
        times = times_of(tmp_path)
    prepare_records([scenes()], str(tmp_path))
    assert times_of(tmp_path) == times


def test_prepare_records_names_a_bad_example(tmp_path):
    source = tmp_path / "source"
    dataset = folder_of_many_sizes(source)
    mask = (source / "masks" / "3.png").read_bytes()
    times = (source / "masks" / "3.png").stat()
    (source / "masks" / "3.png").write_bytes(mask[: len(mask) // 2])
    os.utime(source / "masks" / "3.png", ns=(times.st_atime_ns, times.st_mtime_ns))
    for workers in (1, 2):
        with pytest.raises(InputError, match=r"3\.png is damaged"):
            prepare_records([dataset], str(tmp_path / "out"), examples_per_shard=1, workers=workers)
    (source / "masks" / "3.png").write_bytes(mask)
    os.utime(source / "masks" / "3.png", ns=(times.st_atime_ns, times.st_mtime_ns))
    # The sizes are part of what tells one set of files from another.
    with pytest.raises(InputError, match="other images, or images that have changed since"):
        prepare_records([dataset], str(tmp_path / "out"), examples_per_shard=1)


def test_prepare_records_adds_splits_later(tmp_path):
    train, val = scenes(8), scenes(3, "val")
    prepare_records([train, val], str(tmp_path / "both"), examples_per_shard=2)
    later = str(tmp_path / "later")
    prepare_records([val], later, examples_per_shard=2)
    times = times_of(tmp_path / "later")
    with pytest.raises(InputError, match=r"has no split 'train'; use one of val, or add it with .*--split=train"):
        Records(later, "train")
    stop_preparation([Stopping(2, 8)], later)
    # While one split is under way, the other can be read.
    assert_same_examples(Records(later, "val"), val)
    with pytest.raises(InputError, match=r"half-finished preparation \(shards: 1 of 4 of train, 2 of 2 of val\)"):
        Records(later, "train")
    # A command about another split leaves it to the one that began it.
    prepare_records([val], later, examples_per_shard=2)
    assert (tmp_path / "later" / "unfinished.json").exists()
    prepare_records([train], later, examples_per_shard=2)
    assert files_of(tmp_path / "later") == files_of(tmp_path / "both")
    shards = [name for name in times if name.endswith("array_record")]
    assert [times_of(tmp_path / "later")[name] for name in shards] == [times[name] for name in shards]


@pytest.mark.parametrize(
    ("dataset", "options", "message"),
    [
        (scenes(6), {}, r"another number of examples \(8, and now 6\)"),
        (scenes(8, seed=1), {}, "other images, or images that have changed since"),
        (scenes(8), {"examples_per_shard": 3}, r"another examples_per_shard \(2, and now 3\)"),
        (scenes(8), {"compression": "none"}, r"another compression \(zstd, and now none\)"),
        (WithDepth("train", (9, 12), 8), {}, r"another modalities \(\(3,\), and now \(3, 1\)\)"),
    ],
)
@pytest.mark.parametrize("is_finished", [False, True])
def test_prepare_records_refuses_a_folder_of_other_records(tmp_path, dataset, options, message, is_finished):
    output = str(tmp_path / "out")
    if is_finished:
        prepare_records([scenes(8)], output, examples_per_shard=2)
    else:
        stop_preparation([Stopping(3, 8)], output)
    before = files_of(tmp_path / "out")
    with pytest.raises(InputError, match=f"out holds records of {message}; give the settings that it was begun with"):
        prepare_records([dataset], output, **options)
    assert files_of(tmp_path / "out") == before


def test_prepare_records_refuses_another_class_table(tmp_path):
    dataset = folder_of_many_sizes(tmp_path / "source")
    prepare_records([dataset], str(tmp_path / "out"))
    dataset.class_table = ClassTable("street", TABLE.classes[::-1])
    with pytest.raises(InputError, match="holds records of another class table; give"):
        prepare_records([dataset], str(tmp_path / "out"))


def test_prepare_records_writes_a_missing_shard_again(tmp_path):
    prepare_records([scenes(6)], str(tmp_path), examples_per_shard=2)
    before, times = files_of(tmp_path), times_of(tmp_path)
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
    prepare_records([scenes()], str(tmp_path))


@pytest.mark.parametrize("remote", [False, True])
def test_prepare_records_refuses_a_folder_of_other_files(tmp_path, remote):
    source = tmp_path / "source"
    dataset = folder_of_many_sizes(source)
    with gs_in_memory() as (store, _):
        if remote:
            storage.write_text(epath.Path("gs://bucket/source/images/0.jpg"), "an image")
        output = "gs://bucket/source" if remote else str(source)
        with pytest.raises(InputError) as error:
            prepare_records([dataset], output)
        assert str(error.value) == (
            f"{output} holds files that are no records, such as images; choose an empty folder as --output."
        )
        assert list(store) == ["/bucket/source/images/0.jpg"] * remote
    assert sorted(path.name for path in source.iterdir()) == ["images", "masks"]
    # A folder that only looks empty, or that a preparation left before its first index was whole, will do.
    for name in (".hidden", "unfinished.json.tmp"):
        (tmp_path / "out").mkdir(exist_ok=True)
        (tmp_path / "out" / name).write_text("")
    prepare_records([dataset], str(tmp_path / "out"))
    assert_same_examples(Records(str(tmp_path / "out"), "train"), dataset)


def test_prepare_records_names_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file/below cannot be written"):
        prepare_records([scenes()], str(tmp_path / "file" / "below"))


def test_prepare_records_writes_the_settings_into_the_index(tmp_path):
    prepare_records([scenes()], str(tmp_path), source={"data.name": "synthetic", "seed": 0})
    values = json.loads((tmp_path / "index.json").read_text())
    assert (values["name"], values["modalities"], values["compression"]) == ("synthetic", [3], "zstd")
    split = values["splits"]["train"]
    assert split["source"] == {"data.name": "synthetic", "seed": 0}
    assert (split["examples"], split["shards"][0]["shapes"]) == (10, [[10, 9, 12]])
    assert [entry["name"] for entry in values["class_table"]["classes"]][:2] == ["sky", "building"]


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
        names = ("unfinished.json", "train-00000-of-00004.array_record")
        assert set(store) == {f"/bucket/folder/{name}" for name in names}
        opened.clear()
        prepare_records(datasets, url, examples_per_shard=2)
        # One shard had been finished.
        assert sum(path.endswith("array_record") and mode == "wb" for path, mode in opened) == 5
        found = {path.rsplit("/", 1)[1]: file.getvalue() for path, file in store.items()}
        assert found == files_of(tmp_path / "whole")
        assert verify_records(url) == []
        assert_same_examples(Records(url, "val"), datasets[1])
