"""Tests for segnet_jax/prepare.py: the command line of preparations."""

import io
import json

import numpy as np
import pytest

from segnet_jax.data.datasets.synthetic import SyntheticScenes
from segnet_jax.data.records.reader import Records
from segnet_jax.prepare import Progress, main
from tests.helpers.camvid_files import write_tutorial

TINY = ["--config.data.train_scenes=5", "--config.data.eval_scenes=3", "--config.data.scene_size=(9, 12)"]


def test_a_configuration_is_prepared(tmp_path, capsys):
    output = tmp_path / "out"
    assert main([f"--output={output}", *TINY, "--config.seed=3", "--examples_per_shard=2", "--workers=1"]) == 0
    found = capsys.readouterr()
    first, second = found.out.splitlines()
    assert first.startswith(f"{output} holds synthetic: train 5 examples in 3 shards of ")
    assert ", val 3 examples in 2 shards of " in first
    assert second == f"Train on it with --config.data.name=records --config.data.root={output}"
    assert found.err.splitlines()[0] == "0/8 examples"
    assert found.err.splitlines()[-1].startswith("8/8 examples  ")
    assert (len(Records(str(output), "train")), len(Records(str(output), "val"))) == (5, 3)
    source = json.loads((output / "index.json").read_text())["splits"]["train"]["source"]
    sizes = {"data.scene_size": [9, 12], "data.train_scenes": 5, "data.eval_scenes": 3}
    assert source == {"data.name": "synthetic", "seed": 3, **sizes}
    # The same command has nothing left to do.
    assert main([f"--output={output}", *TINY, "--config.seed=3"]) == 0
    assert capsys.readouterr().err.splitlines() == ["8/8 examples"]


def test_depth_is_prepared(tmp_path):
    output = tmp_path / "out"
    assert main([f"--output={output}", *TINY, "--config.data.depth=True", "--workers=1"]) == 0
    records = Records(str(output), "val")
    assert records.modalities == (3, 1)
    expected = SyntheticScenes("val", (9, 12), 3, 0, depth=True)[2]["image"]
    np.testing.assert_array_equal(records[2]["image"], expected)
    source = json.loads((output / "index.json").read_text())["splits"]["val"]["source"]
    assert source["data.depth"] is True
    assert "data.depth_max" not in source


def test_splits_files_and_compression_are_chosen(tmp_path, capsys):
    root = write_tutorial(tmp_path / "camvid", "test")
    output = tmp_path / "out"
    arguments = ["--config.data.name=camvid", f"--config.data.root={root}", "--split=test", "--compression=none"]
    arguments += ["--config.data.max_images=1"]
    assert main([f"--output={output}", *arguments, "--workers=1"]) == 0
    assert f"{output} holds camvid: test 1 examples in 1 shards" in capsys.readouterr().out
    values = json.loads((output / "index.json").read_text())
    assert values["compression"] == "none"
    assert values["splits"]["test"]["source"] == {
        "data.name": "camvid",
        "data.root": str(root),
        "data.max_images": 1,
    }
    assert [path.name for path in sorted(output.iterdir())] == ["index.json", "test-00000-of-00001.array_record"]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--config.data.name=camvid"], 1, "data.name=camvid needs data.root"),
        (["--config.data.name=cityscape"], 1, "data.name='cityscape' is not known; choose one of synthetic, camvid,"),
        (["--split=train,holdout"], 1, "'holdout'"),
        (["--workers=0"], 1, "workers=0"),
        (["--config.data.train_scenes=0"], 1, "data.train_scenes=0 must be at least 1"),
        (["--verify", "--workers=0"], 1, "--workers=0 must be at least 1."),
        (["--verify", "--shards=5"], 1, "--verify takes no --shards=5; leave it out."),
        (["--verify"], 1, "holds no records, as it has no index.json"),
        (["--config=nowhere.py"], 2, "--config=nowhere.py is not a file"),
        (["--config.data.rot=x"], 2, "did you mean data.root?"),
        (["--shards=5"], 2, "'shards'"),
    ],
)
def test_mistakes_are_answered_in_a_sentence(tmp_path, capsys, arguments, status, message):
    try:
        found = main([f"--output={tmp_path / 'out'}", *TINY, *arguments])
    except SystemExit as exit:
        found = exit.code
    assert found == status
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1


def test_verification_is_told_by_line_and_status(tmp_path, capsys):
    output = tmp_path / "out"
    main([f"--output={output}", *TINY, "--workers=1"])
    capsys.readouterr()
    assert main([f"--output={output}", "--verify"]) == 0
    assert capsys.readouterr().out == f"{output}: every checksum is right.\n"
    paths = [output / f"{split}-00000-of-00001.array_record" for split in ("train", "val")]
    for path in paths:
        path.unlink()
    assert main([f"--output={output}", "--verify"]) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if " MB" not in line]
    assert [line.partition(";")[0] for line in lines] == [f"error: {path} is missing" for path in paths]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_in_a_file_is_a_line_now_and_then():
    clock, stream = iter([0.0, 4.0, 12.0, 13.0, 40.0, 50.0]), io.StringIO()
    progress = Progress("examples", stream=stream, clock=lambda: next(clock))
    for done in (100, 110, 124, 130, 180, 200):
        progress(done, 200)
    assert stream.getvalue().splitlines() == [
        "100/200 examples",
        # 24 in 12 seconds, of which the first 100 are not part; 76 are left.
        "124/200 examples  2/s  38 s left",
        "180/200 examples  2/s  10 s left",
        "200/200 examples  2/s  0 s left",
    ]


def test_progress_in_bytes_is_shown_in_megabytes():
    clock, stream = iter([0.0, 20.0]), io.StringIO()
    progress = Progress("bytes", stream=stream, clock=lambda: next(clock))
    progress(0, 400_000_000)
    progress(100_000_000, 400_000_000)
    assert stream.getvalue().splitlines() == ["0/400 MB", "100/400 MB  5/s  60 s left"]


def test_progress_on_a_terminal_is_a_bar():
    stream = Terminal()
    with Progress("examples", stream=stream) as progress:
        for done in (3, 3, 5, 8):
            progress(done, 8)
    bars = stream.getvalue().split("\r")
    assert "3/8" in bars[1]
    assert "8/8" in bars[-1]
    assert stream.getvalue().endswith("\n")
    assert stream.getvalue().count("\n") == 1
