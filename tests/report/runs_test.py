"""Tests for segnet_jax/report/runs.py."""

import json

import pytest

from segnet_jax.errors import InputError
from segnet_jax.report.runs import read_runs
from tests.helpers.evaluated_runs import write_run


def read_run(path, split=""):
    """Returns the only evaluation that counts."""
    (run,) = read_runs(path, split)
    return run


def split_and_step(run):
    return run.conditions["split"], run.conditions["iterations"]


def test_read_runs_reads_a_finished_run(trained_run):
    run = read_run(trained_run)
    expected = {"split": "val", "test_images": 9, "training_images": 16, "image_size": [16 * 24], "iterations": 6}
    assert expected.items() <= run.conditions.items()
    assert (run.path, run.kind, run.report["step"]) == (trained_run, (), 6)


def test_read_runs_prefers_test_to_validation_and_later_steps_to_earlier_ones(tmp_path):
    path = write_run(tmp_path / "run", split="val", step=30)
    assert split_and_step(read_run(path)) == ("val", 30)
    write_run(path, split="test", step=9)
    write_run(path, split="test", step=20)
    write_run(path, split="train", step=40)
    assert split_and_step(read_run(path)) == ("test", 20)
    assert split_and_step(read_run(path, "val")) == ("val", 30)


def test_read_runs_prefers_a_split_that_was_evaluated_whole(tmp_path):
    path = write_run(tmp_path / "run", kind="-first2", report={"max_images": 2})
    run = read_run(path)
    assert (run.kind, run.conditions["test_images_note"]) == (("first 2 images",), "the first of the split")
    write_run(path, split="val", step=3)
    run = read_run(path)
    assert (run.kind, split_and_step(run), "test_images_note" in run.conditions) == ((), ("val", 3), False)
    assert read_run(path, "test").kind == ("first 2 images",)
    # The split has two images.
    assert read_run(write_run(tmp_path / "b", kind="-first5")).kind == ()


def test_read_runs_reads_the_newest_evaluation_of_each_kind(tmp_path):
    path = write_run(tmp_path / "run", step=6)
    write_run(path, step=8)
    write_run(path, step=6, kind="-crf", report={"crf": {"iterations": 10}})
    write_run(path, step=8, kind="-crf-samples40", report={"crf": {"iterations": 10}, "samples": 40})
    write_run(path, step=8, kind="-exact-90x120")
    write_run(path, step=8, kind="-native")
    write_run(path, step=8, kind="-firstset")
    write_run(path, step=8, kind="-flip-scales-weights")
    (path / "eval" / "test-9-missing.json").write_text("{}")
    assert [(run.conditions["iterations"], run.kind) for run in read_runs(path)] == [
        (8, ()),
        (6, ("dense CRF",)),
        (8, ("dense CRF", "40 stochastic passes")),
        (8, ("exact statistics of BatchNorm", "at 90x120")),
        (8, ("the first of the mixture's data sets",)),
        (8, ("over mirror images too", "over scaled copies", "weights from elsewhere")),
        (8, ("at the images' own size",)),
    ]


def test_read_runs_refuses_in_a_sentence(tmp_path):
    def message(split=""):
        with pytest.raises(InputError) as caught:
            read_runs(path, split)
        return str(caught.value)

    path = write_run(tmp_path / "run")
    assert "not been evaluated yet on the split val" in message("val")
    assert f"--workdir={path} --config.data.eval_split=val" in message("val")
    report = path / "eval" / "test-10.json"
    whole = report.read_text()
    report.write_text(whole[:100])
    assert "test-10.json is no report of an evaluation (Expecting value" in message()
    for change, reason in (
        ({"images": None}, "its images is missing or of another kind"),
        ({"class_accuracy": "high"}, "its class_accuracy is missing or of another kind"),
        ({"class_accuracy": 0.9}, "its class_accuracy is not the mean of its classes'"),
        ({"mean_iou": 0.67}, "its mean_iou is not the mean of its classes'"),
        ({"classes": [{"name": "Sky"}]}, "its classes are of another kind"),
    ):
        report.write_text(json.dumps(json.loads(whole) | change))
        assert f"test-10.json is no report of an evaluation ({reason}); restore a copy" in message()
    report.write_text("[1, 2]")
    assert "its split is missing or of another kind" in message()
    report.unlink()
    assert "has not been evaluated yet; let the run finish" in message()
    path = tmp_path / "missing"
    assert "is no run, as it has no config.json" in message()
