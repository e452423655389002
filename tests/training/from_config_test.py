"""Tests for segnet_jax/training/from_config.py."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from segnet_jax.config import default_config, from_dict, to_json
from segnet_jax.data.from_config import build_class_weights, build_dataset, build_normalization
from segnet_jax.errors import InputError
from segnet_jax.models.from_config import build_model
from segnet_jax.training.from_config import build_learning_rate, build_plan


def config_with(**values):
    config = default_config()
    config.update_from_flattened_dict({key.replace("__", "."): value for key, value in values.items()})
    return config


def test_build_model_takes_its_fields_from_the_config():
    config = config_with(
        model__dtype="bfloat16", model__width_multiplier=0.5, model__remat="stages", model__remat_stages=(1, 2)
    )
    model = build_model(config, 11)
    assert (model.dtype, model.param_dtype) == (jnp.bfloat16, jnp.float32)
    assert (model.num_classes, model.width_multiplier, tuple(model.remat_stages)) == (11, 0.5, (1, 2))
    assert model.axis_name == "batch"
    assert build_model(config_with(model__cross_replica_batch_norm=False), 11).axis_name is None


def test_build_model_leaves_the_network_its_own_defaults():
    assert build_model(config_with(), 3).dropout_rate == 0.0
    model = build_model(config_with(model__name="deeplab_largefov"), 3)
    assert (model.dropout_rate, model.batch_norm, model.fc_features) == (0.5, True, 1024)
    config = config_with(
        model__name="fcn8s",
        model__dropout_rate=0.0,
        model__batch_norm=False,
        model__fc_features=64,
        model__upsampling="fixed",
        model__reference_padding=True,
    )
    for again in (config, from_dict(json.loads(to_json(config)))):
        model = build_model(again, 3)
        assert (model.dropout_rate, model.batch_norm, model.fc_features) == (0.0, False, 64)
        assert (model.upsampling, model.reference_padding) == ("fixed", True)
    stored = from_dict(json.loads(to_json(config_with(model__name="deconvnet"))))
    assert build_model(stored, 3).dropout_rate == 0.5


def test_build_model_refuses_a_field_of_another_model():
    flat = build_model(config_with(model__name="segnet_flat", model__pairs=3), 5)
    assert (flat.num_classes, flat.pairs) == (5, 3)
    assert build_model(config_with(model__name="segnet_flat"), 5).pairs == 4
    with pytest.raises(InputError, match="model 'segnet_basic' has no field 'pairs'"):
        build_model(config_with(model__name="segnet_basic", model__pairs=3), 5)


def test_build_plan_has_a_milestone_after_each_stage():
    config = config_with(
        layerwise__duration="2 epochs",
        train__batch_size=12,
        train__eval_every="0 steps",
        train__checkpoint_every="7 steps",
    )
    plan = build_plan(config, num_examples=100, stages=3)
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


def test_build_dataset_takes_the_first_images_of_each_split():
    config = config_with(data__train_scenes=7, data__eval_scenes=3, data__scene_size=(20, 24))
    for max_images, lengths in ((0, (7, 3)), (5, (5, 3)), (2, (2, 2))):
        config.data.max_images = max_images
        assert tuple(len(build_dataset(config, split)) for split in ("train", "val")) == lengths


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


def test_build_class_weights_computes_them_from_the_training_labels():
    config = config_with(data__train_scenes=3, data__scene_size=(20, 24))
    dataset = build_dataset(config, "train")
    labels = np.stack([dataset[i]["label"] for i in range(3)])
    # Eigen and Fergus 2015: median over the frequencies in images that hold the class, void among them.
    frequencies = []
    for value in [*range(10), 255]:
        images = (labels == value).any(axis=(1, 2))
        if images.any():
            frequencies.append(((labels == value).sum() / images.sum() / (20 * 24), value))
    median = np.median([frequency for frequency, _ in frequencies])
    weights = build_class_weights(config, dataset)
    for frequency, value in frequencies:
        if value < 10:
            assert weights[value] == pytest.approx(median / frequency, rel=1e-5)
