"""Tests for segnet_jax/config_checks.py."""

import pytest

from segnet_jax.config import default_config
from segnet_jax.config_checks import check_batch_size, check_values
from segnet_jax.errors import InputError


def config_with(**values):
    config = default_config()
    config.update_from_flattened_dict({key.replace("__", "."): value for key, value in values.items()})
    return config


def test_check_values_takes_the_defaults():
    check_values(default_config())


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("seed", -1, "seed=-1 must be at least 0"),
        ("eval.batch_size", 0, "eval.batch_size=0 must be at least 1"),
        ("eval.pictures", -1, "eval.pictures=-1"),
        ("crf.bilateral_color_std", 0.0, "crf.bilateral_color_std=0.0 must be at least 0.01"),
        ("crf.position_weight", -1.0, "crf.position_weight=-1.0"),
        ("crf.iterations", 0, "crf.iterations=0 must be at least 1"),
        ("eval.samples", -1, "eval.samples=-1 must be at least 0"),
        ("data.num_threads", -1, "data.num_threads=-1"),
        ("optimizer.learning_rate", -1.0, "optimizer.learning_rate=-1.0"),
        ("optimizer.learning_rate", float("nan"), "optimizer.learning_rate=nan"),
        ("optimizer.momentum", 1.0, "optimizer.momentum=1.0 must be at least 0 and below 1"),
        ("model.batch_norm_momentum", 1.5, "model.batch_norm_momentum=1.5"),
        ("data.val_fraction", 1.0, "data.val_fraction=1.0 must be at least 0 and below 1"),
        ("data.val_fraction", -0.1, "data.val_fraction=-0.1 must be at least 0"),
        ("loss.normalization", "foo", "loss.normalization='foo' is not known; choose pixels or weights"),
        ("eval.batch_norm", "foo", "eval.batch_norm='foo'"),
        ("eval.checkpoint", "newest", "eval.checkpoint='newest' must be best, latest or a step"),
        ("data.depth_max", 0, "data.depth_max=0 must be at least 1 and at most 65535"),
        ("data.image_size", (5,), "data.image_size=.* must be .height, width."),
        ("data.scene_size", (), "data.scene_size=.* must be .height, width."),
        ("data.scene_size", (0, 5), "data.scene_size=.* must be .height, width."),
        ("data.scene_size", (90,), "data.scene_size=.* must be .height, width."),
        ("data.train_scenes", 0, "data.train_scenes=0 must be at least 1"),
        ("data.eval_scenes", -1, "data.eval_scenes=-1 must be at least 1"),
        ("seed", 2**31, "seed=2147483648 must be at least 0 and below 2147483648"),
        ("data.depth_max", 65536, "data.depth_max=65536 must be at least 1 and at most 65535"),
        ("loss.class_weight_power", -1.0, "loss.class_weight_power=-1.0 must be at least 0"),
        ("loss.class_weight_power", float("inf"), "loss.class_weight_power=inf must be at least 0"),
        ("augment.crop_size", (5,), "augment.crop_size=.* must be .height, width."),
        ("augment.crop_size", (0, 5), "augment.crop_size=.* must be .height, width."),
        ("augment.crop_size", (5, -1), "augment.crop_size=.* must be .height, width."),
        ("augment.hue", 0.9, "augment.hue=0.9"),
        ("pretrained.weights", "resnet", "pretrained.weights='resnet'"),
    ],
)
def test_check_values_refuses_a_value_that_makes_no_sense_by_its_key(key, value, message):
    with pytest.raises(InputError, match=message):
        check_values(config_with(**{key.replace(".", "__"): value}))


@pytest.mark.parametrize("fields", [{"model__name": "segnet_basic"}, {"model__width_multiplier": 0.5}])
def test_check_values_refuses_vgg16_for_another_network(fields):
    for name in ("segnet", "fcn8s", "deconvnet"):
        check_values(config_with(pretrained__weights="vgg16", model__name=name))
    with pytest.raises(InputError, match="fits only model.name=segnet, fcn32s.* or deconvnet, at"):
        check_values(config_with(pretrained__weights="vgg16", **fields))


def test_check_values_refuses_vgg16_for_images_with_depth():
    check_values(config_with(data__depth=True))
    with pytest.raises(
        InputError, match=r"vgg16 takes .* three channels.*weights=none with --config\.preprocessing=lcn"
    ):
        check_values(config_with(pretrained__weights="vgg16", data__depth=True))


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
