"""Tests for segnet_jax/training/from_config.py."""

import itertools

import numpy as np
import optax
import pytest

from segnet_jax.data.from_config import build_dataset, build_host_batches, build_normalization, build_statistics
from segnet_jax.errors import InputError
from segnet_jax.models.from_config import build_model
from segnet_jax.training import from_config
from segnet_jax.training.from_config import (
    build_initial_state,
    build_learning_rate,
    build_objective,
    build_plan,
    build_run,
)
from segnet_jax.weights.vgg16 import load_vgg16
from tests.helpers import vgg16
from tests.helpers.tiny_config import config_with


def test_build_plan_has_a_milestone_after_each_stage():
    config = config_with(
        layerwise__duration="2 epochs",
        train__batch_size=12,
        train__eval_every="0 steps",
        train__checkpoint_every="7 steps",
    )
    plan = build_plan(config, num_examples=100, phases=3)
    steps = range(1, 52)
    assert plan.total_steps == 51  # 16.7 a stage
    assert [step for step in steps if plan.evaluates(step)] == [17, 34, 51]
    assert [step for step in steps if plan.reports(step)] == [17, 34, 51]
    assert [step for step in steps if plan.checkpoints(step)] == [7, 14, 17, 21, 28, 34, 35, 42, 49, 51]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model.upsampling", "fixed", "model 'segnet' has no field 'upsampling'"),
        ("model.dropout_rate", 1.0, "dropout_rate=1.0"),
        ("model.dtype", "float8", "model.dtype='float8'.*bfloat16"),
        ("model.name", "segnot", "segnot.*segnet_basic"),
        ("preprocessing", "zscore", "preprocessing='zscore'.*imagenet"),
        ("optimizer.schedule", "linear", "optimizer.schedule='linear'.*cosine"),
        ("train.duration", "0 steps", "at least one step"),
        ("data.name", "cityscape", "data.name='cityscape'.*camvid"),
        ("data.name", "camvid", "data.root"),
    ],
)
def test_builders_refuse_a_wrong_value_by_its_key(key, value, message):
    config = config_with(**{key.replace(".", "__"): value})
    with pytest.raises(InputError, match=message):
        build_model(config, 3)
        build_normalization(config)
        build_learning_rate(config, build_plan(config, 100))
        build_dataset(config, "train")


def test_build_plan_counts_in_steps():
    config = config_with(
        train__duration="2 epochs",
        train__batch_size=12,
        train__log_every="4 steps",
        train__eval_every="1 epochs",
        train__checkpoint_every="10 steps",
    )
    plan = build_plan(config, num_examples=100)
    assert plan.total_steps == 17  # 16.7
    steps = range(1, 18)
    assert plan.log_every == 4
    assert [step for step in steps if plan.evaluates(step)] == [9, 17]
    assert [step for step in steps if plan.checkpoints(step)] == [9, 10, 17]


def test_build_objective_has_the_configured_losses():
    config = config_with(
        data__scene_size=(9, 12),
        data__train_scenes=2,
        loss__name="0.5 lovasz + focal",
        loss__normalization="weights",
        loss__focal_gamma=1.5,
        loss__class_weights="none",
    )
    objective = build_objective(config, build_dataset(config, "train"))
    assert objective.terms == (("lovasz", 0.5), ("focal", 1.0))
    assert (objective.normalization, objective.label_smoothing, objective.focal_gamma) == ("weights", 0.0, 1.5)
    np.testing.assert_array_equal(objective.class_weights, np.ones(10))


@pytest.mark.parametrize("start", ["matched", "absorbed"])
def test_build_initial_state_takes_batch_norm_from_training_images_or_from_the_biases(tmp_path, start):
    path = vgg16.write(tmp_path / "vgg16.safetensors", vgg16.random_layers())
    config = config_with(
        data__scene_size=(16, 16),
        data__train_scenes=4,
        augment__brightness=0.5,
        pretrained__weights="vgg16",
        pretrained__path=str(path),
        pretrained__batch_norm=start,
        pretrained__images=3,
    )
    dataset = build_dataset(config, "train")
    layers = load_vgg16(path)
    normalize = build_normalization(config)
    state = build_initial_state(config, build_model(config, 10), optax.identity(), normalize, dataset, layers)
    kernel, bias = layers["conv1_1"]
    np.testing.assert_array_equal(state.params["conv1_1"]["kernel"], kernel)
    mean, scale = state.batch_stats["conv1_1_bn"]["mean"], state.params["conv1_1_bn"]["scale"]
    if start == "absorbed":
        np.testing.assert_array_equal(mean, -bias)
        np.testing.assert_array_equal(scale, 1.0)
        return
    batches = itertools.islice(build_host_batches(config, dataset, batch_size=1), 3)
    images = np.concatenate([normalize(batch["image"]) for batch in batches])
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    response = sum(padded[:, i : i + 16, j : j + 16] @ kernel[i, j] for i, j in np.ndindex(3, 3))
    np.testing.assert_allclose(mean, response.mean((0, 1, 2)), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(scale, response.std((0, 1, 2)), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(state.params["conv1_1_bn"]["bias"], mean + bias, rtol=1e-3, atol=1e-3)


def test_build_initial_state_of_images_with_depth_begins_with_vgg16_in_their_rgb(tmp_path):
    path = vgg16.write(tmp_path / "vgg16.safetensors", vgg16.random_layers())
    config = config_with(
        data__scene_size=(16, 16),
        data__train_scenes=4,
        data__modalities=("rgb", "depth"),
        pretrained__weights="vgg16",
        pretrained__batch_norm="absorbed",
    )
    dataset, layers = build_dataset(config, "train"), load_vgg16(path)
    statistics = build_statistics(config, dataset)
    depths = np.stack([dataset[index]["image"][..., 3] for index in range(4)])
    np.testing.assert_allclose((statistics.mean[3], statistics.std[3]), (depths.mean(), depths.std()))
    config.data.modalities = ("rgb",)
    assert build_statistics(config, build_dataset(config, "train")) is None
    normalize = build_normalization(config, (3, 1), ("rgb", "depth"), statistics)
    state = build_initial_state(config, build_model(config, 10), optax.identity(), normalize, dataset, layers)
    kernel = np.asarray(state.params["conv1_1"]["kernel"])
    np.testing.assert_array_equal(kernel[:, :, :3], layers["conv1_1"][0])
    assert kernel.shape[2] == 4 and not kernel[:, :, 3].any()


def test_build_run_reads_pretrained_weights_before_any_image(tmp_path, monkeypatch):
    path = tmp_path / "vgg16.safetensors"
    path.write_bytes(b"no weights")
    config = config_with(pretrained__weights="vgg16", pretrained__path=str(path), train__batch_size=8)
    opened = []
    monkeypatch.setattr(from_config, "build_dataset", lambda config, split: opened.append(split) or 1 / 0)
    with pytest.raises(InputError, match="vgg16.safetensors is not a readable .safetensors file"):
        build_run(config)
    assert opened == []
    with pytest.raises(ZeroDivisionError):
        build_run(config, resumes=True)
    assert opened == ["train"]
