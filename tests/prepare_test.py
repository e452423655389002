"""Tests for segnet_jax/prepare.py: the command line of preparations."""

import json

import pytest

from segnet_jax.data.records.reader import Records
from segnet_jax.prepare import main
from tests.helpers.camvid_files import write_tutorial

TINY = ["--config.data.train_scenes=5", "--config.data.eval_scenes=3", "--config.data.scene_size=(9, 12)"]


def test_prepare_writes_the_configured_data_set(tmp_path, capsys):
    output = tmp_path / "out"
    assert main([f"--output={output}", *TINY, "--config.seed=3", "--examples_per_shard=2", "--workers=1"]) == 0
    found = capsys.readouterr()
    assert found.out == (
        f"{output} holds synthetic: train 5 examples in 3 shards, val 3 examples in 2 shards.\n"
        f"Train on it with --config.data.name=records --config.data.root={output}\n"
    )
    assert found.err.startswith(f"Preparing synthetic in {output}: train 5 examples, val 3 examples.\n")
    assert " 0/8 " in found.err and " 8/8 " in found.err
    assert (len(Records(str(output), "train")), len(Records(str(output), "val"))) == (5, 3)
    source = json.loads((output / "index.json").read_text())["splits"]["train"]["source"]
    sizes = {"data.scene_size": [9, 12], "data.train_scenes": 5, "data.eval_scenes": 3}
    assert source == {"data.name": "synthetic", "seed": 3, **sizes}
    # The same command has nothing left to do.
    assert main([f"--output={output}", *TINY, "--config.seed=3"]) == 0
    err = capsys.readouterr().err
    assert " 8/8 " in err and " 0/8 " not in err


def test_prepare_takes_splits_files_and_compression(tmp_path, capsys):
    root = write_tutorial(tmp_path / "camvid", "test")
    output = tmp_path / "out"
    arguments = ["--config.data.name=camvid", f"--config.data.root={root}", "--split=test", "--compression=none"]
    arguments += ["--config.data.max_images=1", "--config.data.image_size=(9, 9)", "--config.data.resize=fit"]
    assert main([f"--output={output}", *arguments, "--workers=1"]) == 0
    assert f"{output} holds camvid: test 1 examples in 1 shards" in capsys.readouterr().out
    assert json.loads((output / "index.json").read_text())["compression"] == "none"
    # At its own size.
    assert Records(str(output), "test").shape(0) == (4, 6)
    assert sorted(path.name for path in output.iterdir()) == ["index.json", "test-00000-of-00001.array_record"]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--config.data.name=camvid"], 1, "data.name=camvid needs data.root"),
        (["--config.data.name=cityscape"], 1, "data.name='cityscape' is not known; choose one of synthetic, camvid,"),
        (["--split=train,holdout"], 1, "'holdout'"),
        (
            ["--config.data.name=mixture", "--config.data.mixture=({'name': 'synthetic'},)"],
            1,
            "A mixture has no records of its own; prepare each of its data sets",
        ),
        (["--workers=0"], 1, "--workers=0 must be at least 1."),
        (["--examples_per_shard=-1"], 1, "--examples_per_shard=-1 must be at least 1"),
        (["--config.data.train_scenes=0"], 1, "data.train_scenes=0 must be at least 1"),
        (["--verify"], 1, "holds no records, as it has no index.json"),
        (["--config=nowhere.py"], 2, "--config=nowhere.py is not a file"),
        (["--config.data.rot=x"], 2, "did you mean data.root?"),
        (["--shards=5"], 2, "'shards'"),
    ],
)
def test_prepare_answers_mistakes_in_a_sentence(tmp_path, capsys, arguments, status, message):
    try:
        found = main([f"--output={tmp_path / 'out'}", *TINY, *arguments])
    except SystemExit as exit:
        found = exit.code
    assert found == status
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1


def test_prepare_verifies(tmp_path, capsys):
    output = tmp_path / "out"
    main([f"--output={output}", *TINY, "--workers=1"])
    capsys.readouterr()
    assert main([f"--output={output}", "--verify"]) == 0
    assert capsys.readouterr().out == f"{output}: every checksum is right.\n"
    paths = [output / f"{split}-00000-of-00001.array_record" for split in ("train", "val")]
    for path in paths:
        path.unlink()
    assert main([f"--output={output}", "--verify"]) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert [line.partition(";")[0] for line in lines] == [f"error: {path} is missing" for path in paths]
