"""Tests for segnet_jax/training/loop.py: whole runs, stopped and resumed."""

import copy
import json
import os
import signal

import jax
import numpy as np
import pytest

from segnet_jax.checkpoint.manager import Checkpoints
from segnet_jax.data.from_config import build_dataset
from segnet_jax.errors import InputError
from segnet_jax.evaluation.evaluator import Evaluator
from segnet_jax.models.from_config import build_model
from segnet_jax.runtime.files import locked
from segnet_jax.training import from_config as experiment
from segnet_jax.training.from_config import build_checkpoint_template, build_optimizer
from segnet_jax.training.loop import train_and_evaluate
from tests.helpers.runs import assert_identical, stop_at


def metrics_of(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def losses_of(workdir):
    return {line["step"]: line["train/loss"] for line in metrics_of(workdir) if "train/loss" in line}


def test_a_run_leaves_what_it_promises(tiny_config, tmp_path, capsys):
    state = train_and_evaluate(tiny_config, tmp_path)
    assert int(state.step) == 6
    report = json.loads((tmp_path / "eval" / "val-6.json").read_text())
    assert (report["split"], report["step"], report["images"]) == ("val", 6, 9)
    assert report["pixels"] + report["void_pixels"] == 9 * 16 * 24
    assert 0 <= report["mean_iou"] <= 1
    assert 0 <= report["boundary_f1"] <= 1
    assert (tmp_path / "eval" / "val-6.png").stat().st_size > 1000
    assert list(tmp_path.glob("events.out.tfevents.*"))
    losses = losses_of(tmp_path)
    assert list(losses) == [2, 4, 6]
    assert losses[6] < losses[2]
    assert [line["step"] for line in metrics_of(tmp_path) if "val/mean_iou" in line] == [3, 6]
    with Checkpoints(tmp_path / "checkpoints", read_only=True) as checkpoints:
        assert {4, 6} <= set(checkpoints.steps()) <= {3, 4, 6}
        metadata = checkpoints.read_metadata(6)
        assert metadata["config"]["train"]["batch_size"] == 8
        assert metadata["class_table"]["classes"][0]["name"] == "sky"
        assert checkpoints.read_metrics(6)["mean_iou"] == pytest.approx(report["mean_iou"])
    printed = capsys.readouterr().out
    assert "first step took" in printed
    assert "step 4/6" in printed
    assert "data wait" in printed


def test_a_finished_run_is_not_trained_again(tiny_config, tmp_path):
    tiny_config.train.duration = "2 steps"
    first = train_and_evaluate(tiny_config, tmp_path)
    report = tmp_path / "eval" / "val-2.json"
    text = report.read_text()
    report.write_text(text.replace('"images": 9', '"images": 10'))
    again = train_and_evaluate(tiny_config, tmp_path)
    assert '"images": 10' in report.read_text(), "the report is taken as it lies there"
    assert_identical(first, again)
    report.unlink()
    train_and_evaluate(tiny_config, tmp_path)
    assert report.read_text() == text, "a missing report is made up for"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_run_saves_and_resumes_to_identical_parameters(tiny_config, tmp_path, monkeypatch, number):
    tiny_config.model.dropout_rate = 0.3
    tiny_config.augment.brightness = 0.3
    tiny_config.train.log_every = "1 steps"
    whole = train_and_evaluate(tiny_config, tmp_path / "whole")
    with monkeypatch.context() as patch:
        stop_at(patch, 5, lambda: os.kill(os.getpid(), number))
        with pytest.raises(SystemExit) as stopped:
            train_and_evaluate(tiny_config, tmp_path / "stopped")
    assert stopped.value.code == 128 + number
    with Checkpoints(tmp_path / "stopped" / "checkpoints", read_only=True) as checkpoints:
        assert checkpoints.latest_step() == 5
    resumed = train_and_evaluate(tiny_config, tmp_path / "stopped")
    assert_identical(whole, resumed)
    assert list(losses_of(tmp_path / "whole")) == [1, 2, 3, 4, 5, 6]
    assert losses_of(tmp_path / "stopped") == losses_of(tmp_path / "whole")
    reports = [json.loads((tmp_path / name / "eval" / "val-6.json").read_text()) for name in ("whole", "stopped")]
    assert reports[0] == reports[1]
    steps = [json.loads(line)["step"] for line in (tmp_path / "stopped" / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(steps)


def test_a_run_that_crashes_loses_nothing_before_its_last_checkpoint(tiny_config, tmp_path, monkeypatch):
    class Crash(Exception):
        pass

    def crash():
        raise Crash

    whole = train_and_evaluate(tiny_config, tmp_path / "whole")
    with monkeypatch.context() as patch:
        stop_at(patch, 6, crash)
        with pytest.raises(Crash):
            train_and_evaluate(tiny_config, tmp_path / "crashed")
    assert_identical(whole, train_and_evaluate(tiny_config, tmp_path / "crashed"))


def test_a_damaged_newest_checkpoint_is_reported_and_the_one_before_used(tiny_config, tmp_path, caplog, monkeypatch):
    whole = train_and_evaluate(tiny_config, tmp_path / "whole")
    with monkeypatch.context() as patch:
        stop_at(patch, 5, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(SystemExit):
            train_and_evaluate(tiny_config, tmp_path / "run")
    for path in (tmp_path / "run" / "checkpoints" / "5" / "state").rglob("*"):
        if path.is_file() and path.stat().st_size > 1000:
            path.write_bytes(path.read_bytes()[:-500])
    caplog.set_level("WARNING", logger="segnet_jax")
    resumed = train_and_evaluate(tiny_config, tmp_path / "run")
    assert any("step 5" in record.message for record in caplog.records), caplog.text
    assert_identical(whole, resumed)


def test_another_configuration_in_the_same_workdir_is_refused_by_its_keys(tiny_config, tmp_path):
    tiny_config.train.duration = "1 steps"
    train_and_evaluate(tiny_config, tmp_path)
    tiny_config.optimizer.learning_rate = 0.01
    tiny_config.data.num_threads = 2
    with pytest.raises(InputError, match=r"optimizer.learning_rate: 0.05 -> 0.01\); choose another --workdir"):
        train_and_evaluate(tiny_config, tmp_path)


def test_other_training_data_are_refused_when_resuming(tiny_config, tmp_path, monkeypatch):
    train_and_evaluate(tiny_config, tmp_path)
    original = build_dataset

    def fewer(config, split):
        config = copy.deepcopy(config)
        config.data.train_scenes = 15
        return original(config, split)

    monkeypatch.setattr(experiment, "dataset_of", fewer)
    with pytest.raises(InputError, match="was trained on 16 images, and now the training split has 15"):
        train_and_evaluate(tiny_config, tmp_path)


def test_an_evaluation_that_a_signal_cut_off_is_made_up_for(tiny_config, tmp_path, monkeypatch):
    train_and_evaluate(tiny_config, tmp_path / "whole")
    original = Evaluator.__call__

    def stopped(self, *arguments, **options):
        os.kill(os.getpid(), signal.SIGTERM)
        return original(self, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Evaluator, "__call__", stopped)
        with pytest.raises(SystemExit):
            train_and_evaluate(tiny_config, tmp_path / "cut")
    with Checkpoints(tmp_path / "cut" / "checkpoints", read_only=True) as checkpoints:
        assert checkpoints.latest_step() == 3
        assert checkpoints.read_metrics(3) is None
    train_and_evaluate(tiny_config, tmp_path / "cut")
    scores = [
        [line for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines() if "val/mean_iou" in line]
        for name in ("whole", "cut")
    ]
    assert len(scores[0]) == len(scores[1]) == 2
    # The last evaluation, cut off twice.
    report = tmp_path / "cut" / "eval" / "val-6.json"
    text = report.read_text()
    report.unlink()
    with monkeypatch.context() as patch:
        patch.setattr(Evaluator, "__call__", stopped)
        with pytest.raises(SystemExit) as stop:
            train_and_evaluate(tiny_config, tmp_path / "cut")
    assert stop.value.code == 128 + signal.SIGTERM
    assert not report.exists()
    train_and_evaluate(tiny_config, tmp_path / "cut")
    assert report.read_text() == text


def test_a_second_run_in_a_work_directory_changes_nothing_there(tiny_config, tmp_path):
    tiny_config.train.duration = "2 steps"
    with locked(tmp_path / ".lock"):
        (tmp_path / "config.json").write_text("of the first run")
        with pytest.raises(InputError, match="Another process is training in"):
            train_and_evaluate(tiny_config, tmp_path)
    assert (tmp_path / "config.json").read_text() == "of the first run"


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint(tiny_config, tmp_path):
    tiny_config.optimizer.learning_rate = 1e30
    tiny_config.optimizer.weight_decay = 1.0
    tiny_config.train.eval_every = "0 steps"
    tiny_config.train.checkpoint_every = "1 steps"
    tiny_config.train.duration = "40 steps"
    with pytest.raises(
        FloatingPointError, match=r"of step (\d+) is (nan|inf); the checkpoint of step (\d+) is kept"
    ) as e:
        train_and_evaluate(tiny_config, tmp_path)
    bad, kept = (int(word) for word in str(e.value).replace(";", "").split() if word.isdecimal())
    with Checkpoints(tmp_path / "checkpoints", read_only=True) as checkpoints:
        assert checkpoints.latest_step() == kept == bad - 1


def test_a_batch_that_does_not_divide_is_refused_before_anything_is_made(tiny_config, tmp_path):
    tiny_config.train.batch_size = 12
    with pytest.raises(InputError, match="train.batch_size=12 does not divide by 8 devices; take 8 or 16"):
        train_and_evaluate(tiny_config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_eight_devices_train_and_evaluate_to_the_numbers_of_one(tiny_config, tmp_path, monkeypatch):
    devices = jax.local_devices()
    assert len(devices) == 8
    results = []
    for count in (8, 1):
        monkeypatch.setattr(jax, "local_devices", lambda count=count: devices[:count])
        workdir = tmp_path / str(count)
        state = train_and_evaluate(tiny_config, workdir)
        losses = list(losses_of(workdir).values())
        results.append((state, losses, json.loads((workdir / "eval" / "val-6.json").read_text())))
    (eight, eight_losses, eight_report), (one, one_losses, one_report) = results
    assert eight_losses == pytest.approx(one_losses, rel=1e-4)
    assert eight_report["global_accuracy"] == pytest.approx(one_report["global_accuracy"], abs=2e-3)
    assert eight_report["pixels"] == one_report["pixels"]
    for a, b in zip(jax.tree.leaves(eight.variables), jax.tree.leaves(one.variables), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_exact_batch_statistics_are_saved_with_the_checkpoint(tiny_config, tmp_path):
    tiny_config.eval.batch_norm = "exact"
    tiny_config.train.duration = "2 steps"
    tiny_config.train.eval_every = "0 steps"
    train_and_evaluate(tiny_config, tmp_path)
    optimizer = build_optimizer(tiny_config, lambda step: 0.0)
    template = build_checkpoint_template(build_model(tiny_config, 10), optimizer)
    with Checkpoints(tmp_path / "checkpoints", read_only=True) as checkpoints:
        _, saved, metadata = checkpoints.restore(template, 2)
    assert metadata["exact_batch_stats"] is True
    running, exact = saved["train_state"].batch_stats, saved["eval_batch_stats"]
    # After two steps the running averages still hold 0.9 ** 2 of their initial zeros.
    assert np.abs(exact["conv1_bn"]["mean"]).max() > 2 * np.abs(running["conv1_bn"]["mean"]).max()
