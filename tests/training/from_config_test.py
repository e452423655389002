"""Tests for segnet_jax/training/from_config.py."""

import pytest

from segnet_jax.data.from_config import build_dataset, build_normalization
from segnet_jax.errors import InputError
from segnet_jax.models.from_config import build_model
from segnet_jax.training.from_config import build_learning_rate, build_plan, check_batch_size, check_run
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


def test_check_run_refuses_an_augmentation_before_anything_is_read():
    with pytest.raises(InputError, match="augment.hue=0.9"):
        check_run(config_with(augment__hue=0.9))


@pytest.mark.parametrize("fields", [{"model__name": "segnet_basic"}, {"model__width_multiplier": 0.5}])
def test_check_run_refuses_vgg16_for_another_network(fields):
    for name in ("segnet", "fcn8s", "deconvnet"):
        check_run(config_with(pretrained__weights="vgg16", model__name=name))
    with pytest.raises(InputError, match="fits only model.name=segnet, fcn32s.* or deconvnet, at"):
        check_run(config_with(pretrained__weights="vgg16", **fields))


def test_check_run_refuses_vgg16_for_images_with_depth():
    check_run(config_with(data__modalities=("rgb", "depth")))
    with pytest.raises(
        InputError, match=r"vgg16 is for RGB images alone.*weights=none with --config\.preprocessing=lcn"
    ):
        check_run(config_with(pretrained__weights="vgg16", data__modalities=("depth",)))


@pytest.mark.parametrize(
    ("batch_size", "parts", "devices", "fitting"),
    [(12, 1, 8, "8 or 16"), (4, 1, 8, "take 8,"), (12, 2, 4, "8 or 16"), (7, 7, 1, None), (16, 2, 8, None)],
)
def test_check_batch_size_refuses_a_batch_that_does_not_divide_by_devices_and_microbatches(
    batch_size, parts, devices, fitting
):
    config = config_with(train__batch_size=batch_size, train__accumulation_steps=parts)
    if fitting is None:
        check_batch_size(config, devices)
    else:
        with pytest.raises(InputError, match=fitting):
            check_batch_size(config, devices)
