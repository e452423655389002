"""Tests for segnet_jax/training/teachers.py, and for runs that learn from teachers."""

import dataclasses
import json

import jax
import numpy as np
import pytest

import segnet_jax
from segnet_jax.data import preprocessing
from segnet_jax.data.from_config import build_dataset
from segnet_jax.errors import InputError
from segnet_jax.inference.trained_model import load_trained
from segnet_jax.runtime.sharding import to_devices
from segnet_jax.training import from_config
from segnet_jax.training.from_config import build_teachers
from segnet_jax.training.loop import train_and_evaluate
from segnet_jax.training.teachers import Teacher, create_taught_step
from tests.helpers.networks import logits_of
from tests.helpers.tiny_config import config_with, make_flat_config, make_tiny_config


def first_loss(workdir):
    with open(workdir / "metrics.jsonl", encoding="utf-8") as lines:
        return next(values["train/loss"] for values in map(json.loads, lines) if "train/loss" in values)


def softmax(logits):
    exponentials = np.exp(np.asarray(logits, np.float64))
    return exponentials / exponentials.sum(-1, keepdims=True)


def test_create_taught_step_gives_each_device_the_mean_of_the_teachers_probabilities():
    devices = jax.devices()[:2]
    image = np.random.default_rng(0).integers(0, 256, (4, 16, 24, 3)).astype(np.uint8)
    teachers, expected = [], 0
    for seed, normalize in enumerate((preprocessing.imagenet, preprocessing.create_normalization("none"))):
        model = segnet_jax.create_model("segnet_flat", 3, width_multiplier=1 / 16, pairs=1)
        variables = jax.device_get(jax.jit(model.init)(jax.random.key(seed), normalize(image)))
        teachers.append(Teacher(model, variables, normalize))
        expected = expected + softmax(logits_of(model, variables, normalize(image))) / 2
    step = create_taught_step(lambda state, batch: (state, batch), teachers, devices)
    state, batch = step("state", next(to_devices(iter([{"image": image}]), devices)))
    assert state == "state"
    assert batch["probabilities"].shape == (2, 2, 16, 24, 3)
    np.testing.assert_allclose(np.reshape(batch["probabilities"], expected.shape), expected, rtol=1e-5)


@pytest.mark.parametrize("accumulation_steps", [pytest.param(1, marks=pytest.mark.ci), 2])
def test_train_and_evaluate_has_nothing_to_learn_from_a_teacher_that_it_equals(
    trained_flat_run, tmp_path, accumulation_steps
):
    config = make_flat_config()
    config.train.batch_size, config.train.accumulation_steps = 16, accumulation_steps
    config.loss.name = "distillation"
    config.loss.teachers = (str(trained_flat_run),)
    config.optimizer.weight_decay = 0.0
    config.transfer.source = str(trained_flat_run)
    state = train_and_evaluate(config, tmp_path / "same")
    assert abs(first_loss(tmp_path / "same")) < 1e-7
    expected = load_trained(trained_flat_run).variables["params"]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), state.params, expected)
    config.transfer.source = ""
    train_and_evaluate(config, tmp_path / "other")
    assert first_loss(tmp_path / "other") > 1e-4


def test_train_and_evaluate_learns_from_a_saved_network_of_another_kind(trained_flat_run, tmp_path):
    segnet_jax.from_pretrained(trained_flat_run).save_pretrained(tmp_path / "saved")
    config = make_tiny_config()
    config.train.duration = "1 steps"
    train_and_evaluate(config, tmp_path / "alone")
    config.loss.name = "cross_entropy + 0.5 distillation"
    config.loss.teachers = (str(trained_flat_run), str(tmp_path / "saved" / "model.safetensors"))
    train_and_evaluate(config, tmp_path / "run")
    # The divergence of a random network from an almost random one of ten classes.
    assert 1e-3 < first_loss(tmp_path / "run") - first_loss(tmp_path / "alone") < 2
    saved = segnet_jax.from_pretrained(tmp_path / "run")
    saved.save_pretrained(tmp_path / "shared")
    shared = json.loads((tmp_path / "shared" / "config.json").read_text())["config"]
    assert (shared["loss"]["teachers"], shared["loss"]["name"]) == ([], config.loss.name), "no paths of this machine"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"config": config_with(train__procedure="layerwise", layerwise__target="input")},
            "reconstructs its input and",
        ),
        (
            {"variables": {"params": {"conv1": {"kernel": np.array([np.nan])}}}},
            "^conv1/kernel of the teacher a is not f",
        ),
    ],
)
def test_build_teachers_refuses_a_network_that_has_nothing_to_teach(trained_flat_run, monkeypatch, change, message):
    trained = dataclasses.replace(load_trained(trained_flat_run), **change)
    monkeypatch.setattr(from_config, "load_network", lambda where: trained)
    scenes = build_dataset(config_with(data__train_scenes=1, data__scene_size=(16, 16)), "train")
    with pytest.raises(InputError, match=message):
        build_teachers(config_with(loss__teachers=("a",)), scenes)


def test_build_teachers_refuses_other_classes_and_images(trained_flat_run):
    config = config_with(loss__teachers=("segnet_camvid_small",))
    scenes = build_dataset(config_with(data__train_scenes=1, data__scene_size=(16, 16)), "train")
    with pytest.raises(InputError, match="^The classes of the teacher segnet_camvid_small .* not those of synthetic"):
        build_teachers(config, scenes)
    deep = build_dataset(config_with(data__scene_size=(16, 16), data__modalities=("rgb", "depth")), "train")
    with pytest.raises(InputError, match=f"^The teacher {trained_flat_run} takes images of other channels"):
        build_teachers(config_with(loss__teachers=(str(trained_flat_run),)), deep)
