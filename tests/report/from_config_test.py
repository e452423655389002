"""Tests for segnet_jax/report/from_config.py."""

import json

import pytest

from segnet_jax.config import apply_overrides, default_config, to_json
from segnet_jax.errors import InputError
from segnet_jax.report.from_config import changed_settings, default_conditions, read_conditions, read_config
from tests.helpers.tiny_config import make_tiny_config

REPORT = {
    "split": "test",
    "step": 6,
    "image_size": [],
    "images": 2,
    "pixels": 700,
    "void_pixels": 68,
    "batch_norm": "running",
    "training_images": 16,
    "crf": None,
}
FCN = {"fc_features": 4096, "has_batch_norm": True, "dropout_rate": 0.5, "upsampling": "learnt"}


def config_of(**overrides):
    config = default_config()
    apply_overrides(config, {key.replace("__", "."): value for key, value in overrides.items()})
    return config


def conditions_of(report=(), **overrides):
    return read_conditions(config_of(**overrides), {**REPORT, **dict(report)})


def test_read_conditions_of_a_plain_run():
    assert conditions_of(model__name="segnet_basic", augment__crop_size=(8, 16)) == {
        "network": "segnet_basic",
        "data": "synthetic",
        "split": "test",
        "test_images": 2,
        "image_size": [384],
        "training_images": 16,
        "training_size": [8, 16],
        "resize": "stretch",
        "iterations": 6,
        "procedure": "end_to_end",
        "source": "",
        "trained": ".*",
        "frozen": "",
        "width": 1.0,
        "dropout_rate": 0.0,
        "loss": "cross_entropy",
        "teachers": (),
        "class_weights": "median_frequency",
        "class_weight_power": 1.0,
        "pretrained": "none",
        "pretrained_batch_norm": "matched",
        "pretrained_decoder": "he",
        "preprocessing": "imagenet",
        "batch_size": 12,
        "learning_rate": 0.1,
        "schedule": "constant",
        "batch_norm": "running",
        "samples": 0,
        "crf": False,
    }


def test_read_conditions_takes_the_evaluation_from_the_report():
    evaluation = {"samples": 8, "crf": {"iterations": 10}, "image_size": [90, 120], "batch_norm": "exact"}
    conditions = conditions_of(evaluation, eval__samples=3, data__image_size=(180, 240))
    assert (conditions["samples"], conditions["crf"], conditions["batch_norm"]) == (8, True, "exact")
    assert (conditions["image_size"], conditions["training_size"]) == ([90, 120], [180, 240])


def test_read_conditions_names_records_by_what_they_were_made_from():
    assert conditions_of({"dataset": "camvid"}, data__name="records")["data"] == "camvid"
    assert conditions_of(data__name="records")["data"] == "records"
    assert conditions_of({"dataset": "mine"}, data__name="folder")["data"] == "folder"


@pytest.mark.parametrize(
    ("settings", "report", "expected"),
    [
        ({"model__name": "segnet_basic", "model__dropout_rate": 0.5}, {}, {"dropout_rate": 0.5}),
        ({"model__name": "fcn8s"}, {}, FCN),
        (
            {"model__name": "fcn8s", "model__batch_norm": False, "model__fc_features": 64},
            {},
            {**FCN, "fc_features": 64, "has_batch_norm": False},
        ),
        # In the middle of layer-wise training.
        ({"model__name": "segnet_flat"}, {"pairs": 3}, {"pairs": 3, "hidden_features": 0, "dropout_rate": 0.0}),
        ({"model__name": "my_net"}, {}, {}),
    ],
)
def test_read_conditions_has_the_network_as_the_paper_unless_the_run_says_otherwise(settings, report, expected):
    conditions = conditions_of(report, **settings)
    names = ("pairs", "hidden_features", "fc_features", "has_batch_norm", "dropout_rate", "upsampling")
    assert {name: conditions[name] for name in names if name in conditions} == expected
    assert ("batch_norm" in conditions) == conditions.get("has_batch_norm", True)


def test_read_conditions_leaves_out_the_settings_of_the_other_procedure():
    end_to_end = {"learning_rate", "schedule", "trained", "frozen"}
    layerwise = {"lbfgs_iterations": 5, "pair_duration": "10 epochs", "first_pair": 1, "classifier": "first"}
    conditions = conditions_of(train__procedure="layerwise", layerwise__iterations=5)
    assert layerwise.items() <= conditions.items()
    assert not end_to_end & conditions.keys()
    assert not layerwise.keys() & conditions_of().keys()


def test_default_conditions_are_of_the_network_and_not_of_its_training():
    expected = {"network": "fcn8s", "procedure": "end_to_end", "trained": ".*", "samples": 0, "crf": False, **FCN}
    defaults = default_conditions("fcn8s")
    assert expected.items() <= defaults.items()
    assert not {"data", "batch_size", "learning_rate", "class_weights", "pretrained", "batch_norm"} & defaults.keys()


def test_changed_settings_are_without_the_seed_and_where_the_data_lies():
    assert changed_settings(config_of(seed=3, data__root="elsewhere")) == []
    assert changed_settings(config_of(optimizer__momentum=0.8, seed=1)) == ["optimizer.momentum: 0.8 -> 0.9"]


def test_read_config_refuses_in_a_sentence(tmp_path):
    with pytest.raises(InputError, match="is no run, as it has no config.json"):
        read_config(tmp_path)
    path = tmp_path / "config.json"
    whole = json.loads(to_json(config_of(seed=7)))
    other = json.dumps({**whole, "model": {"name": 3}})
    # What is not there would be shown as a condition of the run, with its default.
    for text in (other, "[", "[]", "null", "{}", json.dumps({"seed": 7}), json.dumps({**whole, "optimizer": 0.1})):
        path.write_text(text)
        with pytest.raises(InputError, match=r"config\.json is no configuration of this program"):
            read_config(tmp_path)
    path.write_text(to_json(config_of(train__procedure="layerwise", layerwise__target="input")))
    with pytest.raises(InputError, match=f"has no scores to compare; .*--config.transfer.source={tmp_path}"):
        read_config(tmp_path)
    # A run of an older version lacks keys.
    del whole["optimizer"]["decay_scale"], whole["crf"]
    path.write_text(json.dumps(whole))
    assert read_config(tmp_path).seed == 7


def test_read_config_takes_the_configuration_of_the_checkpoints(trained_copy):
    for text in ("{", to_json(config_of(optimizer__learning_rate=7.0)), None):
        (trained_copy / "config.json").write_text(text) if text else (trained_copy / "config.json").unlink()
        assert read_config(trained_copy).optimizer.learning_rate == make_tiny_config().optimizer.learning_rate
