"""Tests for segnet_jax/evaluation/eval_only.py."""

import json
import shutil

import numpy as np
import pytest

from segnet_jax.errors import InputError
from segnet_jax.evaluation.eval_only import evaluate_checkpoint
from segnet_jax.inference.pretrained import save_network
from segnet_jax.inference.trained_model import load_trained
from segnet_jax.report.runs import read_runs
from segnet_jax.training.loop import train_and_evaluate
from tests.helpers.tiny_config import make_tiny_config


def test_evaluate_checkpoint_gives_the_scores_of_the_training_run_from_the_checkpoint_alone(trained_copy):
    (trained_copy / "config.json").unlink()
    path = trained_copy / "eval" / "val-6.json"
    expected = json.loads(path.read_text())
    path.unlink()
    report = evaluate_checkpoint(trained_copy, {"eval.checkpoint": "latest"})
    assert json.loads(path.read_text()) == expected
    assert report.items() <= expected.items()
    assert (expected["data"], expected["image_size"], expected["batch_norm"]) == ("synthetic", [], "running")
    assert path.with_suffix(".png").exists()


def test_evaluate_checkpoint_replaces_no_report_of_training_or_of_another_kind(trained_copy, caplog):
    caplog.set_level("INFO", logger="segnet_jax")
    trained = (trained_copy / "eval" / "val-6.json").read_bytes()
    kinds = {
        "val-6-crf": {"crf.enabled": True, "crf.position_std": 2.0},
        "val-6-first2": {"data.max_images": 2},
        "val-6-exact": {"eval.batch_norm": "exact"},
        "val-6-12x24": {"data.image_size": (12, 24)},
        "test-6": {"data.eval_split": "test", "data.eval_scenes": 3},
    }
    for overrides in kinds.values():
        evaluate_checkpoint(trained_copy, {"eval.checkpoint": "latest", **overrides})
    folder = trained_copy / "eval"
    assert {path.name for path in folder.iterdir()} == {
        f"{name}.{kind}" for name in ["val-6", *kinds] for kind in ("json", "png")
    }
    assert (folder / "val-6.json").read_bytes() == trained
    written = {name: json.loads((folder / f"{name}.json").read_text()) for name in kinds}
    assert [report["images"] for report in written.values()] == [9, 2, 9, 9, 3]
    assert [report["max_images"] for report in written.values()] == [0, 2, 0, 0, 0]
    assert written["val-6-crf"]["crf"]["position_std"] == 2.0
    reports = json.loads(trained), written["val-6-crf"], written["val-6-exact"]
    assert len({report["global_accuracy"] for report in reports}) == 3
    assert "computed from the training split" in caplog.text
    assert {run.kind for run in read_runs(trained_copy, "val")} == {
        (),
        ("dense CRF",),
        ("first 2 images",),
        ("exact statistics of BatchNorm",),
        ("at 12x24",),
    }


@pytest.mark.ci
def test_evaluate_checkpoint_names_its_report_as_the_training_run_does(tmp_path, caplog):
    config = make_tiny_config()
    config.model.dropout_rate, config.eval.samples, config.crf.enabled = 0.5, 2, True
    config.train.duration, config.data.max_images = "2 steps", 8
    train_and_evaluate(config, tmp_path)
    path = tmp_path / "eval" / "val-2-crf-samples2-first8.json"
    assert {file.name for file in path.parent.iterdir()} == {path.name, path.with_suffix(".png").name}
    expected = path.read_bytes()
    evaluate_checkpoint(tmp_path, {"eval.checkpoint": "latest"})
    assert path.read_bytes() == expected
    caplog.set_level("INFO", logger="segnet_jax")
    train_and_evaluate(config, tmp_path)
    assert any("This run is finished: step 2 of 2" in record.message for record in caplog.records)
    evaluate_checkpoint(tmp_path, {"eval.checkpoint": "latest", "eval.samples": 0, "crf.enabled": False})
    assert (path.parent / "val-2-first8.json").is_file()


def test_evaluate_checkpoint_prints_its_scores_though_it_cannot_write_them(trained_copy, caplog):
    caplog.set_level("INFO", logger="segnet_jax")
    shutil.rmtree(trained_copy / "eval")
    (trained_copy / "eval").write_text("")
    with pytest.raises(InputError, match=r"val-6\.json cannot be written"):
        evaluate_checkpoint(trained_copy, {"eval.checkpoint": "latest"})
    assert "mIoU" in caplog.text


def test_evaluate_checkpoint_writes_the_scores_of_each_image_on_request(trained_copy):
    report = evaluate_checkpoint(trained_copy, {"eval.checkpoint": "latest", "eval.per_image": True})
    written = json.loads((trained_copy / "eval" / "val-6.json").read_text())
    assert written["per_image"] == report["per_image"]
    assert [entry["index"] for entry in written["per_image"]] == list(range(9))
    assert np.sum(written["confusion"]) == written["pixels"]


def test_evaluate_checkpoint_takes_weights_from_elsewhere(trained_copy, tmp_path):
    saved = tmp_path / "saved"
    save_network(load_trained(trained_copy, {"eval.checkpoint": "latest"}), saved)
    expected = json.loads((trained_copy / "eval" / "val-6.json").read_text())
    for workdir in (trained_copy, tmp_path / "new"):
        evaluate_checkpoint(workdir, {}, str(saved))
        found = json.loads((workdir / "eval" / "val-6-weights.json").read_text())
        assert found == {**expected, "weights": str(saved)}
    assert {run.kind for run in read_runs(trained_copy, "val")} == {(), ("weights from elsewhere",)}
    (alone,) = read_runs(tmp_path / "new", "val")
    assert alone.kind == ("weights from elsewhere",)
    assert alone.settings == read_runs(trained_copy, "val")[0].settings


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"eval.checkpoint": "newest"}, "eval.checkpoint='newest' must be best, latest or a step"),
        ({"eval.checkpoint": "5000"}, "5000"),
        ({"data.eval_split": "holdout"}, "holdout"),
        ({"eval.samples": 4}, "eval.samples=4 needs a network with dropout"),
        ({"crf.iterations": -1}, "crf.iterations=-1"),
        ({"eval.class_map": ("sky", "road")}, "eval.class_map=.*must be pairs of names"),
        ({"eval.class_map": (("sky", "Sky"),)}, "eval.class_map has the pair .*'Sky' is none of sky, building"),
        ({"model.width_multiplier": 0.5}, "model.width_multiplier belongs to the training run"),
    ],
)
def test_evaluate_checkpoint_refuses_a_wrong_value_by_its_key(trained_run, overrides, message):
    with pytest.raises(InputError, match=message):
        evaluate_checkpoint(trained_run, overrides)
