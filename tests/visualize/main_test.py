"""Tests for `python -m segnet_jax.visualize`."""

import json
import sys

import pytest
from PIL import Image

from segnet_jax.visualize.__main__ import main
from tests.helpers.evaluated_runs import write_run
from tests.helpers.metrics_files import write_metrics

_LINES = (
    {"step": 5, "train/loss": 2.0, "train/learning_rate": 0.1},
    {"step": 10, "val/mean_iou": 0.5, "val_iou/road": 0.5},
)


def run(workdir, capsys):
    """Returns the exit status, the names of the pictures, which all open, and the lines on stderr."""
    status = main([f"--workdir={workdir}"])
    pictures = sorted((workdir / "plots").glob("*"))
    output, errors = capsys.readouterr()
    assert sorted(output.splitlines()) == [f"Written: {path}" for path in pictures]
    for path in pictures:
        with Image.open(path) as picture:
            picture.load()
            assert picture.format == "PNG"
    return status, [path.name for path in pictures], errors.splitlines()


def test_visualize_draws_curves_and_the_newest_evaluation_of_each_kind(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    write_metrics(tmp_path, *_LINES)
    # The older one has no confusion matrix, and is not looked at.
    write_run(tmp_path, split="val", step=9, report={"classes": []})
    write_run(tmp_path, split="val", step=10)
    write_run(tmp_path, split="test", step=10, kind="-crf")
    status, names, errors = run(tmp_path, capsys)
    evaluated = ["classes-test-crf", "classes-val", "confusion-test-crf", "confusion-val"]
    assert names == [f"{name}.png" for name in ("class_iou-val", *evaluated[:2], *evaluated[2:], "curves")]
    assert (status, errors) == (0, [])


def test_visualize_says_what_is_missing_and_draws_the_rest(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    write_metrics(tmp_path / "running", _LINES[0])
    status, names, errors = run(tmp_path / "running", capsys)
    assert (status, names) == (1, ["curves.png"])
    assert len(errors) == 1
    assert f"--mode=eval --workdir={tmp_path / 'running'} --config.eval.checkpoint=latest" in errors[0]

    path = write_run(tmp_path / "old", split="val") / "eval" / "val-10.json"
    report = json.loads(path.read_text())
    del report["confusion"]
    path.write_text(json.dumps(report))
    status, names, errors = run(tmp_path / "old", capsys)
    assert (status, names) == (1, ["classes-val.png"])
    assert errors[0].startswith(f"error: {tmp_path / 'old' / 'metrics.jsonl'} cannot be read")
    assert errors[1].startswith(f"error: {path} has no confusion matrix")
    assert errors[1].endswith("--config.data.eval_split=val")


def test_visualize_names_a_damaged_report(tmp_path, capsys):
    path = write_run(tmp_path, split="val") / "eval" / "val-10.json"
    path.write_text("{")
    status, names, errors = run(tmp_path, capsys)
    assert (status, names, len(errors)) == (1, [], 2)
    assert errors[1].startswith(f"error: {path} cannot be read")


def test_visualize_says_in_one_sentence_that_there_is_no_run(tmp_path, capsys):
    status, names, errors = run(tmp_path / "missing", capsys)
    assert (status, names, len(errors)) == (1, [], 1)
    assert "name the work directory of a run" in errors[0]


def test_visualize_leaves_out_evaluations_without_classes(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    write_metrics(tmp_path, {"step": 5, "val/mean_squared_error": 0.5})
    (tmp_path / "eval").mkdir()
    (tmp_path / "eval" / "val-5.json").write_text('{"split": "val", "step": 5, "mean_squared_error": 0.5}')
    assert run(tmp_path, capsys) == (0, ["curves.png"], [])


def test_visualize_names_a_missing_matplotlib_once(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    write_metrics(tmp_path, *_LINES)
    write_run(tmp_path)
    status, names, errors = run(tmp_path, capsys)
    assert (status, names) == (1, [])
    assert errors == ["error: Plots need matplotlib; install it with pip install -r requirements-report.txt."]


def test_visualize_names_a_folder_that_cannot_be_written(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    write_metrics(tmp_path, *_LINES)
    (tmp_path / "plots").write_text("")
    status = main([f"--workdir={tmp_path}"])
    assert status == 1
    assert f"error: {tmp_path / 'plots'} cannot be written" in capsys.readouterr().err
