"""Tests for segnet_jax/evaluate_checkpoint.py."""

import json
import shutil

import pytest

from segnet_jax import train
from segnet_jax.errors import InputError
from segnet_jax.evaluate_checkpoint import evaluate_checkpoint
from tests.conftest import make_tiny_config


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    state = train.train_and_evaluate(make_tiny_config(), workdir)
    return workdir, state


@pytest.fixture
def workdir(run, tmp_path):
    return shutil.copytree(run[0], tmp_path / "run")


def test_a_checkpoint_alone_gives_the_scores_of_the_training_run(workdir):
    (workdir / "config.json").unlink()
    path = workdir / "eval" / "val-6.json"
    expected = json.loads(path.read_text())
    path.unlink()
    report = evaluate_checkpoint(workdir, {"eval.checkpoint": "latest"})
    assert json.loads(path.read_text()) == expected
    assert report.items() <= expected.items()
    assert (expected["data"], expected["image_size"], expected["batch_norm"]) == ("synthetic", [], "running")
    assert path.with_suffix(".png").exists()


def test_another_split_is_written_under_its_name(workdir):
    evaluate_checkpoint(workdir, {"data.eval_split": "test", "data.eval_scenes": 3, "eval.checkpoint": "latest"})
    assert json.loads((workdir / "eval" / "test-6.json").read_text())["images"] == 3


def test_the_crf_can_be_chosen_after_training(workdir):
    plain = evaluate_checkpoint(workdir, {"eval.checkpoint": "latest"})
    refined = evaluate_checkpoint(workdir, {"eval.checkpoint": "latest", "crf.enabled": True, "crf.position_std": 2.0})
    assert refined["crf"]["position_std"] == 2.0
    assert refined["pixels"] == plain["pixels"]
    assert refined["global_accuracy"] != plain["global_accuracy"]


def test_exact_batch_statistics_are_computed_where_the_checkpoint_has_none(workdir, caplog):
    caplog.set_level("INFO", logger="segnet_jax")
    running = evaluate_checkpoint(workdir, {"eval.checkpoint": "latest"})
    exact = evaluate_checkpoint(workdir, {"eval.checkpoint": "latest", "eval.batch_norm": "exact"})
    assert exact["global_accuracy"] != running["global_accuracy"]
    assert any("computed from the training split" in record.message for record in caplog.records)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"eval.checkpoint": "newest"}, "eval.checkpoint='newest' must be best, latest or a step"),
        ({"eval.checkpoint": "5000"}, "5000"),
        ({"data.eval_split": "holdout"}, "holdout"),
        ({"eval.samples": 4}, "eval.samples=4 needs a network with dropout"),
        ({"crf.iterations": -1}, "crf.iterations=-1"),
        ({"model.width_multiplier": 0.5}, "model.width_multiplier belongs to the training run"),
    ],
)
def test_what_is_not_there_is_said(workdir, overrides, message):
    with pytest.raises(InputError, match=message):
        evaluate_checkpoint(workdir, overrides)


def test_a_directory_without_checkpoints_is_left_as_it_is(tmp_path):
    with pytest.raises(InputError, match="holds no checkpoint"):
        evaluate_checkpoint(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()
