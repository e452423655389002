"""Tests for segnet_jax/report/runs.py."""

import numpy as np
import pytest

from segnet_jax.errors import InputError
from segnet_jax.report.runs import differ_only_in_seed, mean_and_deviation, read_runs
from segnet_jax.training.loop import train_and_evaluate
from tests.helpers.evaluated_runs import write_run
from tests.helpers.tiny_config import make_tiny_config


def read_run(path, split="", step=None):
    """The only evaluation that counts."""
    (run,) = read_runs(path, split, step)
    return run


def test_a_finished_run_tells_its_conditions(tmp_path):
    config = make_tiny_config()
    config.loss.class_weights, config.loss.class_weight_power = "median_frequency", 0.5
    train_and_evaluate(config, tmp_path / "run")
    run = read_run(tmp_path / "run")
    assert (run.model, run.split, run.step, run.training_images) == ("segnet_basic", "val", 6, 16)
    expected = {
        "data": "synthetic",
        "split": "val",
        "test_images": 9,
        "training_images": 16,
        "iterations": 6,
        "training_size": (),
        "image_size": (),
        "pixels": 16 * 24,
        "class_weights": "median_frequency to the power 0.5",
        "width": 1 / 16,
        "batch_size": 8,
        "learning_rate": 0.05,
        "batch_norm": "running",
        "samples": 0,
        "crf": False,
    }
    assert expected.items() <= run.conditions.items()


def test_records_are_called_by_what_they_were_made_from(tmp_path):
    records = read_run(write_run(tmp_path / "a", data__name="records", report={"dataset": "camvid"}))
    assert records.data == records.conditions["data"] == "camvid"
    assert read_run(write_run(tmp_path / "b", data__name="records")).data == "records"
    assert read_run(write_run(tmp_path / "c", data__name="folder", report={"dataset": "mine"})).data == "folder"


def test_test_comes_before_validation_and_later_steps_before_earlier_ones(tmp_path):
    path = write_run(tmp_path / "run", split="val", step=30)
    assert (read_run(path).split, read_run(path).step) == ("val", 30)
    write_run(path, split="test", step=9)
    write_run(path, split="test", step=20)
    write_run(path, split="train", step=40)
    assert (read_run(path).split, read_run(path).step) == ("test", 20)
    assert (read_run(path, "val").split, read_run(path, "val").step) == ("val", 30)


def test_what_is_no_evaluated_run_is_told_in_a_sentence(tmp_path):
    def message(path, split=""):
        with pytest.raises(InputError) as caught:
            read_run(path, split)
        return str(caught.value)

    assert "is no directory" in message(tmp_path / "missing")
    (tmp_path / "folder").mkdir()
    assert "has no config.json" in message(tmp_path / "folder")
    path = write_run(tmp_path / "run")
    assert "not been evaluated yet on the split val" in message(path, "val")
    assert f"--workdir={path} --config.data.eval_split=val" in message(path, "val")
    report = path / "eval" / "test-10.json"
    whole = report.read_text()
    report.write_text(whole[:100])
    assert "test-10.json cannot be read" in message(path)
    report.write_text("[]")
    assert "holds no JSON object" in message(path)
    report.write_text(whole.replace('"batch_norm"', '"other"'))
    assert "test-10.json lacks batch_norm" in message(path)
    report.unlink()
    assert "has not been evaluated yet; let the run finish" in message(path)
    (path / "config.json").write_text('{"model": {"name": 3}}')
    assert "config.json is none of this program's" in message(path)


def test_only_the_seed_and_where_data_lies_may_differ_within_an_experiment(tmp_path):
    first = read_run(write_run(tmp_path / "a"))
    assert differ_only_in_seed(first, read_run(write_run(tmp_path / "b", seed=3, data__root="elsewhere")))
    assert not differ_only_in_seed(first, read_run(write_run(tmp_path / "c", seed=3, optimizer__momentum=0.8)))
    assert not differ_only_in_seed(first, read_run(write_run(tmp_path / "d", seed=3, step=11)))
    assert not differ_only_in_seed(first, read_run(write_run(tmp_path / "e", seed=3, report={"samples": 8})))


def test_mean_and_sample_deviation(tmp_path):
    runs = [
        read_run(write_run(tmp_path / str(seed), seed=seed, right=right, boundary_f1=bf))
        for seed, (right, bf) in enumerate([(70, 0.2), (80, None), (96, 0.4)])
    ]
    mean, deviation = mean_and_deviation(runs, "global_accuracy")
    assert mean == pytest.approx(82)
    assert deviation == pytest.approx(np.sqrt((12**2 + 2**2 + 14**2) / 2))
    assert mean_and_deviation(runs[:1], "class_accuracy") == (pytest.approx(70), None)
    mean, deviation = mean_and_deviation(runs, "boundary_f1")
    assert (mean, deviation) == (pytest.approx(30), pytest.approx(np.sqrt(200)))
    assert mean_and_deviation(runs[1:2], "boundary_f1") is None


def test_each_kind_of_evaluation_counts_by_its_newest_step_or_the_one_asked_for(tmp_path):
    path = write_run(tmp_path / "run", step=6)
    write_run(path, step=8)
    write_run(path, step=6, kind="-crf", report={"crf": {"iterations": 10}})
    write_run(path, step=8, kind="-crf-samples40", report={"crf": {"iterations": 10}, "samples": 40})
    (path / "eval" / "test-9-missing.json").write_text("{}")

    def found(step=None):
        return [(run.name, run.step, run.kind) for run in read_runs(path, step=step)]

    both = ("dense CRF", "40 stochastic passes")
    assert found() == [("run", 8, ()), ("run@6", 6, ("dense CRF",)), ("run", 8, both)]
    assert found(8) == [("run", 8, ()), ("run", 8, both)]
    assert found(6) == [("run@6", 6, ()), ("run@6", 6, ("dense CRF",))]
    with pytest.raises(InputError, match="no evaluation of step 7 on the split test; choose one of 6, 8"):
        read_runs(path, step=7)


def test_a_report_that_is_named_as_a_plain_one_counts_as_what_it_says(tmp_path):
    crf = {"crf": {"iterations": 10}}
    path = write_run(tmp_path / "run", step=6, right=60, report=crf)
    write_run(path, step=6, right=70, kind="-crf", report=crf)
    assert [(run.kind, run.report["global_accuracy"]) for run in read_runs(path)] == [(("dense CRF",), 0.7)]
    write_run(path, step=8, right=80, report=crf)
    assert [(run.kind, run.step) for run in read_runs(path)] == [(("dense CRF",), 8)]


def test_a_few_images_are_not_taken_for_the_split(tmp_path):
    path = write_run(tmp_path / "run", kind="-first2", report={"max_images": 2})
    (run,) = read_runs(path)
    assert (run.first_images, run.kind) == (2, ("first 2 images",))
    assert run.conditions["test_images_note"] == "the first of the split"
    write_run(path, split="val", step=3)
    assert [(run.split, run.kind) for run in read_runs(path)] == [("val", ())]
    assert read_run(path, "test").kind == ("first 2 images",)
    # A limit that the split does not reach leaves it whole; a report that tells none has the training run's.
    assert read_run(write_run(tmp_path / "b", report={"max_images": 5})).kind == ()
    assert read_run(write_run(tmp_path / "c", data__max_images=1)).kind == ("first image",)
    assert read_run(write_run(tmp_path / "d", data__max_images=1, report={"max_images": 0})).kind == ()


def test_what_was_changed_after_training_sets_an_evaluation_apart(tmp_path):
    changed = {"batch_norm": "exact", "image_size": [90, 120]}
    run = read_run(write_run(tmp_path / "a", report=changed))
    assert run.kind == ("exact statistics of BatchNorm", "at 90x120")
    assert read_run(write_run(tmp_path / "b", report={"image_size": []})).kind == ("at the images' own size",)
    assert read_run(write_run(tmp_path / "c", eval__batch_norm="exact", report={"batch_norm": "exact"})).kind == ()


def test_a_network_that_reconstructs_is_told_in_a_sentence(tmp_path):
    settings = {"model__name": "segnet_flat", "train__procedure": "layerwise", "layerwise__target": "input"}
    path = write_run(tmp_path / "run", **settings)
    (path / "eval" / "test-10.json").write_text('{"mean_squared_error": 1.0, "split": "test", "step": 10}')
    with pytest.raises(InputError, match=f"has no scores to compare; .*--config.transfer.source={path}"):
        read_runs(path)


def test_the_network_is_as_the_paper_has_it_unless_the_run_says_otherwise(tmp_path):
    def network(**settings):
        conditions = read_run(write_run(tmp_path / "run", **settings)).conditions
        names = ("pairs", "hidden_features", "fc_features", "has_batch_norm", "dropout_rate", "upsampling")
        return {name: conditions[name] for name in names if name in conditions}

    assert network() == {"dropout_rate": 0.0}
    assert network(model__dropout_rate=0.5) == {"dropout_rate": 0.5}
    fcn = {"fc_features": 4096, "has_batch_norm": True, "dropout_rate": 0.5, "upsampling": "learnt"}
    assert network(model__name="fcn8s") == fcn
    assert network(model__name="fcn8s", model__batch_norm=False, model__fc_features=64) == {
        **fcn,
        "fc_features": 64,
        "has_batch_norm": False,
    }
    flat = {"pairs": 4, "hidden_features": 0, "dropout_rate": 0.0}
    assert network(model__name="segnet_flat") == flat
    # In the middle of layer-wise training, the evaluated network has fewer pairs than the configured one.
    assert network(model__name="segnet_flat", report={"pairs": 3}) == {**flat, "pairs": 3}
    assert network(model__name="my_net") == {}
