"""Tests for segnet_jax/training/loop.py: whole runs, stopped and resumed."""

import json
import os
import shutil
import signal

import jax
import numpy as np
import pytest

from segnet_jax.checkpoint.manager import Checkpoints
from segnet_jax.data.datasets.synthetic import SyntheticScenes
from segnet_jax.data.from_config import build_dataset
from segnet_jax.data.preprocessing import imagenet
from segnet_jax.errors import InputError
from segnet_jax.evaluation.evaluator import Evaluator
from segnet_jax.evaluation.from_config import CheckpointEvaluation, build_evaluator
from segnet_jax.inference.trained_model import load_trained
from segnet_jax.models.from_config import build_model
from segnet_jax.runtime.files import locked
from segnet_jax.training.from_config import build_optimizer
from segnet_jax.training.loop import train_and_evaluate
from segnet_jax.training.step import checkpoint_template
from tests.helpers.runs import assert_identical, stop_at
from tests.helpers.tiny_config import make_tiny_config


def crash():
    raise ZeroDivisionError


def send(number):
    """Returns a function that sends the signal to this process."""
    return lambda *arguments, **options: os.kill(os.getpid(), number)


def metrics_of(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def losses_of(workdir):
    return {line["step"]: line["train/loss"] for line in metrics_of(workdir) if "train/loss" in line}


def scores_of(workdir):
    return {line["step"]: line["val/mean_iou"] for line in metrics_of(workdir) if "val/mean_iou" in line}


def train_until_evaluation(config, workdir, monkeypatch):
    """Trains until the first evaluation, during which SIGTERM arrives."""
    evaluate = Evaluator.__call__

    def stopped(self, *arguments, **options):
        os.kill(os.getpid(), signal.SIGTERM)
        return evaluate(self, *arguments, **options)

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(Evaluator, "__call__", stopped)
        train_and_evaluate(config, workdir)


def test_train_and_evaluate_leaves_report_pictures_metrics_and_checkpoints(trained_run, trained_state):
    assert int(trained_state.step) == 6
    report = json.loads((trained_run / "eval" / "val-6.json").read_text())
    assert (report["split"], report["step"], report["images"]) == ("val", 6, 9)
    assert report["pixels"] + report["void_pixels"] == 9 * 16 * 24
    assert report["mean_iou"] == pytest.approx(scores_of(trained_run)[6])
    assert 0 <= report["boundary_f1"] <= 1
    assert (trained_run / "eval" / "val-6.png").stat().st_size > 1000
    (events,) = trained_run.glob("events.out.tfevents.*")
    # A sheet of each evaluation, and the confusion matrix of the one in full.
    assert [events.read_bytes().count(b"val/" + name) for name in (b"predictions", b"confusion")] == [2, 1]
    losses = losses_of(trained_run)
    assert list(losses) == [2, 4, 6]
    assert losses[6] < losses[2]
    assert list(scores_of(trained_run)) == [3, 6]
    with Checkpoints(trained_run / "checkpoints", read_only=True) as checkpoints:
        assert {4, 6} <= set(checkpoints.steps()) <= {3, 4, 6}
        metadata = checkpoints.read_metadata(6)
        assert metadata["config"]["train"]["batch_size"] == 8
        assert metadata["class_table"]["classes"][0]["name"] == "sky"
        assert checkpoints.read_metrics(6)["mean_iou"] == pytest.approx(report["mean_iou"])


def test_train_and_evaluate_does_not_repeat_a_finished_run(tiny_config, trained_copy, trained_state):
    report = trained_copy / "eval" / "val-6.json"
    report.write_text(report.read_text().replace('"images": 9', '"images": 10'))
    again = train_and_evaluate(tiny_config, trained_copy)
    assert '"images": 10' in report.read_text()
    assert_identical(trained_state, again)


def noisy_config():
    """Returns a run whose every step draws random numbers, and that logs every step."""
    config = make_tiny_config()
    config.model.dropout_rate = 0.3
    config.augment.brightness = 0.3
    config.train.log_every = "1 steps"
    config.train.average_decay = 0.5
    return config


@pytest.fixture(scope="module")
def noisy_run(tmp_path_factory):
    """Returns the work directory and the last state of a finished run of `noisy_config()`, to be read only."""
    workdir = tmp_path_factory.mktemp("noisy")
    return workdir, train_and_evaluate(noisy_config(), workdir)


@pytest.mark.parametrize(
    ("step", "act", "error", "saved"),
    [
        (5, send(signal.SIGTERM), SystemExit(128 + signal.SIGTERM), 5),
        pytest.param(5, send(signal.SIGINT), SystemExit(128 + signal.SIGINT), 5, marks=pytest.mark.ci),
        pytest.param(6, crash, ZeroDivisionError(), 4, marks=pytest.mark.ci),
    ],
    ids=["SIGTERM", "SIGINT", "crash"],
)
def test_train_and_evaluate_resumes_to_identical_parameters(
    noisy_run, tmp_path, monkeypatch, capsys, step, act, error, saved
):
    with monkeypatch.context() as patch:
        stop_at(patch, step, act)
        with pytest.raises(type(error)) as stopped:
            train_and_evaluate(noisy_config(), tmp_path)
    assert stopped.value.args == error.args
    with Checkpoints(tmp_path / "checkpoints", read_only=True) as checkpoints:
        assert checkpoints.latest_step() == saved
    capsys.readouterr()
    resumed = train_and_evaluate(noisy_config(), tmp_path)
    printed = capsys.readouterr().out
    assert f"step {saved + 1}/6" in printed
    assert "first step took" in printed
    workdir, whole = noisy_run
    assert_identical(whole, resumed)
    assert list(losses_of(workdir)) == [1, 2, 3, 4, 5, 6]
    assert losses_of(tmp_path) == losses_of(workdir)
    reports = [json.loads((path / "eval" / "val-6.json").read_text()) for path in (workdir, tmp_path)]
    assert reports[0] == reports[1]
    steps = [line["step"] for line in metrics_of(tmp_path)]
    assert steps == sorted(steps)


def test_train_and_evaluate_evaluates_and_leaves_the_averages_of_a_run_that_keeps_them(noisy_run):
    workdir, state = noisy_run
    trained = load_trained(workdir, {"eval.checkpoint": "latest"})
    assert_identical(trained.variables, state.averages)
    assert any(np.any(a != b) for a, b in zip(*map(jax.tree.leaves, (state.averages, state.variables)), strict=True))
    report = json.loads((workdir / "eval" / "val-6.json").read_text())
    evaluator = build_evaluator(noisy_config(), trained.model, jax.local_devices(), imagenet)
    again = evaluator(trained.variables, build_dataset(noisy_config(), "val"))
    assert again.report["confusion"] == report["confusion"]


@pytest.mark.ci
def test_train_and_evaluate_resumes_a_mixture_to_identical_parameters(tiny_config, tmp_path, monkeypatch):
    tiny_config.data.name = "mixture"
    tiny_config.data.mixture = (
        {"name": "synthetic", "train_scenes": 5, "weight": 1.0},
        {"name": "synthetic", "eval_scenes": 2, "weight": 2.0, "class_map": (("road", "road"), ("sky", "sky"))},
    )
    tiny_config.eval.mixture = "all"
    whole = train_and_evaluate(tiny_config, tmp_path / "whole")
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        stop_at(patch, 6, crash)
        train_and_evaluate(tiny_config, tmp_path / "stopped")
    assert_identical(whole, train_and_evaluate(tiny_config, tmp_path / "stopped"))
    report = json.loads((tmp_path / "stopped" / "eval" / "val-6.json").read_text())
    assert {name: group["images"] for name, group in report["groups"].items()} == {"synthetic 1": 9, "synthetic 2": 2}
    first = CheckpointEvaluation(tmp_path / "whole", {"eval.mixture": "first"})
    assert (first.dataset.name, len(first.dataset), first.settings.kind) == ("synthetic", 9, "-firstset")
    assert len(first.train_data()) == 21


def test_train_and_evaluate_resumes_before_a_damaged_newest_checkpoint(
    tiny_config, trained_copy, trained_state, caplog
):
    for path in (trained_copy / "checkpoints" / "6" / "state").rglob("*"):
        if path.is_file() and path.stat().st_size > 1000:
            path.write_bytes(path.read_bytes()[:-500])
    caplog.set_level("INFO", logger="segnet_jax")
    resumed = train_and_evaluate(tiny_config, trained_copy)
    assert any("step 6" in record.message for record in caplog.records if record.levelname == "WARNING"), caplog.text
    assert "Resuming at step 4 of 6." in caplog.messages
    assert_identical(trained_state, resumed)


@pytest.mark.parametrize("change", [None, "", "{}", '{"seed": '])
def test_train_and_evaluate_refuses_another_configuration_by_its_keys(tiny_config, trained_copy, change):
    path = trained_copy / "config.json"
    if change is not None:
        # The checkpoints know their configuration themselves, whatever has become of this file.
        path.write_text(change) if change else path.unlink()
    tiny_config.optimizer.learning_rate = 0.01
    tiny_config.data.num_threads = 2
    with pytest.raises(InputError, match=r" \(optimizer.learning_rate: 0.05 -> 0.01\); choose another --workdir"):
        train_and_evaluate(tiny_config, trained_copy)


def test_train_and_evaluate_makes_a_finished_run_longer_but_not_shorter(tiny_config, trained_copy, caplog):
    caplog.set_level("INFO", logger="segnet_jax")
    tiny_config.train.duration = "5 steps"
    with pytest.raises(InputError, match="has a checkpoint of step 6, and train.duration is 5 steps; make it as long"):
        train_and_evaluate(tiny_config, trained_copy)
    tiny_config.train.duration = "8 steps"
    state = train_and_evaluate(tiny_config, trained_copy)
    assert int(state.step) == 8
    assert list(losses_of(trained_copy)) == [2, 4, 6, 8]
    assert {path.name for path in (trained_copy / "eval").glob("*.json")} == {"val-6.json", "val-8.json"}
    assert "Resuming at step 6 of 8." in caplog.messages
    message = "The run was to have 6 steps; from here on the learning rate is that of a run of 8."
    assert caplog.messages.count(message) == 1
    assert json.loads((trained_copy / "config.json").read_text())["train"]["duration"] == "8 steps"


def test_train_and_evaluate_stops_where_its_work_directory_has_gone(tiny_config, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", logger="segnet_jax")
    tiny_config.train.eval_every = tiny_config.train.checkpoint_every = "0 steps"
    stop_at(monkeypatch, 5, lambda: shutil.rmtree(tmp_path / "run"))
    with pytest.raises(InputError, match="run has been deleted or moved while the run was training"):
        train_and_evaluate(tiny_config, tmp_path / "run", lists_parameters=True)
    assert not (tmp_path / "run").exists(), "and no half of one stays"
    # What a new run says of its network: every parameter, and how many they are.
    assert any("conv1/kernel" in message and "(7, 7, 3, 4)" in message for message in caplog.messages)
    assert "The network has 0.00619 million parameters; --parameters lists them." in caplog.messages


def test_train_and_evaluate_refuses_other_training_data_when_resuming(tiny_config, trained_copy, monkeypatch):
    monkeypatch.setattr(SyntheticScenes, "__len__", lambda self: 15)
    with pytest.raises(InputError, match="was trained on 16 images, and now the training split has 15"):
        train_and_evaluate(tiny_config, trained_copy)


def test_train_and_evaluate_makes_up_for_an_evaluation_that_a_signal_cut_off(
    tiny_config, trained_run, tmp_path, monkeypatch
):
    train_until_evaluation(tiny_config, tmp_path, monkeypatch)
    with Checkpoints(tmp_path / "checkpoints", read_only=True) as checkpoints:
        assert checkpoints.latest_step() == 3
        assert checkpoints.read_metrics(3) is None
    train_and_evaluate(tiny_config, tmp_path)
    assert scores_of(tmp_path) == scores_of(trained_run)


def test_train_and_evaluate_makes_up_for_a_missing_last_report(tiny_config, trained_copy, monkeypatch):
    report = trained_copy / "eval" / "val-6.json"
    text = report.read_text()
    report.unlink()
    train_until_evaluation(tiny_config, trained_copy, monkeypatch)
    assert not report.exists()
    train_and_evaluate(tiny_config, trained_copy)
    assert report.read_text() == text


def test_train_and_evaluate_changes_nothing_in_a_work_directory_in_use(tiny_config, tmp_path):
    with locked(tmp_path / ".lock"):
        (tmp_path / "config.json").write_text("of the first run")
        with pytest.raises(InputError, match="Another process is training in"):
            train_and_evaluate(tiny_config, tmp_path)
    assert (tmp_path / "config.json").read_text() == "of the first run"


def test_train_and_evaluate_stops_at_a_loss_that_is_not_finite_and_keeps_the_last_good_checkpoint(
    tiny_config, tmp_path
):
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


def test_train_and_evaluate_refuses_a_batch_that_does_not_divide_before_anything_is_made(tiny_config, tmp_path):
    tiny_config.train.batch_size = 12
    with pytest.raises(InputError, match="train.batch_size=12 does not divide by 8 devices; take 8 or 16"):
        train_and_evaluate(tiny_config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_train_and_evaluate_gives_the_numbers_of_one_device_on_eight(
    tiny_config, trained_run, trained_state, tmp_path, monkeypatch
):
    devices = jax.local_devices()
    assert len(devices) == 8, "the devices of trained_run"
    monkeypatch.setattr(jax, "local_devices", lambda: devices[:1])
    one = train_and_evaluate(tiny_config, tmp_path)
    eight_report, one_report = (
        json.loads((workdir / "eval" / "val-6.json").read_text()) for workdir in (trained_run, tmp_path)
    )
    assert losses_of(trained_run) == pytest.approx(losses_of(tmp_path), rel=1e-4)
    assert eight_report["global_accuracy"] == pytest.approx(one_report["global_accuracy"], abs=2e-3)
    assert eight_report["pixels"] == one_report["pixels"]
    for a, b in zip(jax.tree.leaves(trained_state.variables), jax.tree.leaves(one.variables), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_train_and_evaluate_saves_exact_batch_statistics_with_the_checkpoint(tiny_config, tmp_path):
    tiny_config.eval.batch_norm = "exact"
    tiny_config.train.duration = "2 steps"
    tiny_config.train.eval_every = "0 steps"
    train_and_evaluate(tiny_config, tmp_path)
    optimizer = build_optimizer(tiny_config, lambda step: 0.0)
    template = checkpoint_template(build_model(tiny_config, 10), optimizer)
    with Checkpoints(tmp_path / "checkpoints", read_only=True) as checkpoints:
        _, saved, metadata = checkpoints.restore(template, 2)
    assert metadata["exact_batch_stats"] is True
    running, exact = saved["train_state"].batch_stats, saved["eval_batch_stats"]
    # After two steps the running averages still hold 0.9 ** 2 of their initial zeros.
    assert np.abs(exact["conv1_bn"]["mean"]).max() > 2 * np.abs(running["conv1_bn"]["mean"]).max()
