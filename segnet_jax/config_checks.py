"""Values of a configuration that make no sense, refused before anything is read or computed."""

from __future__ import annotations

import math

import ml_collections

from segnet_jax.config import flatten
from segnet_jax.data.augment import Augmentation
from segnet_jax.errors import InputError
from segnet_jax.models import models_with_vgg16

# Of numbers: the smallest value, the greatest, and whether the greatest itself is allowed.
_RANGES = {
    "seed": (0, 2**31, False),
    "data.max_images": (0, math.inf, False),
    "data.num_workers": (0, 1024, True),
    "data.num_threads": (0, 1024, True),
    "data.val_fraction": (0, 1, False),
    "data.depth_max": (1, 65535, True),
    "data.train_scenes": (1, math.inf, False),
    "data.eval_scenes": (1, math.inf, False),
    "model.batch_norm_momentum": (0, 1, False),
    "loss.class_weight_power": (0, math.inf, False),
    "optimizer.learning_rate": (0, math.inf, False),
    "optimizer.momentum": (0, 1, False),
    "optimizer.weight_decay": (0, math.inf, False),
    "optimizer.clip_norm": (0, math.inf, False),
    "train.batch_size": (1, math.inf, False),
    "layerwise.iterations": (1, math.inf, False),
    "layerwise.memory": (1, math.inf, False),
    "layerwise.first_pair": (1, math.inf, False),
    "train.accumulation_steps": (1, math.inf, False),
    "eval.batch_size": (1, math.inf, False),
    "eval.pictures": (0, math.inf, False),
    "eval.samples": (0, math.inf, False),
    "crf.iterations": (1, math.inf, False),
    "crf.position_weight": (0, math.inf, False),
    "crf.position_std": (0.01, math.inf, False),
    "crf.bilateral_weight": (0, math.inf, False),
    "crf.bilateral_position_std": (0.01, math.inf, False),
    "crf.bilateral_color_std": (0.01, math.inf, False),
    "eval.missing_block": (1, math.inf, False),
}

_CHOICES = {
    "pretrained.weights": ("none", "vgg16"),
    "loss.normalization": ("pixels", "weights"),
    "eval.batch_norm": ("running", "exact"),
    "train.procedure": ("end_to_end", "layerwise"),
    "layerwise.classifier": ("joint", "first", "every", "last", "never"),
    "layerwise.target": ("labels", "input"),
}

_SIZES = ("data.image_size", "data.scene_size", "augment.crop_size")


def check_values(config: ml_collections.ConfigDict) -> None:
    """Refuses a value that no part of the program could use.

    Raises:
      InputError: for the first one, by its key.
    """
    values = flatten(config)
    for key, (low, high, is_closed) in _RANGES.items():
        value = values[key]
        if not (low <= value < high or (is_closed and value == high)):
            bound = "" if math.isinf(high) else f" and {'at most' if is_closed else 'below'} {high}"
            raise InputError(f"{key}={value} must be at least {low}{bound}.")
    for key, choices in _CHOICES.items():
        if values[key] not in choices:
            raise InputError(f"{key}={values[key]!r} is not known; choose {' or '.join(choices)}.")
    for key in _SIZES:
        size = values[key]
        if (size or key == "data.scene_size") and not (
            len(size) == 2 and all(isinstance(length, int) and length > 0 for length in size)
        ):
            raise InputError(f"{key}={size!r} must be (height, width) in pixels, such as '(180, 240)'.")
    for key in ("eval.checkpoint", "transfer.checkpoint"):
        wanted = values[key]
        if wanted not in ("best", "latest") and not wanted.isdecimal():
            raise InputError(f"{key}={wanted!r} must be best, latest or a step.")
    if not all(0 <= share <= 1 for share in config.eval.missing_pixels):
        raise InputError(f"eval.missing_pixels={config.eval.missing_pixels!r} must be shares from 0 to 1.")
    if not all(isinstance(count, int) and count >= 0 for count in config.eval.top_features):
        raise InputError(f"eval.top_features={config.eval.top_features!r} must be whole numbers, such as '(1, 5, 10)'.")
    if not all(len(pair) == 2 for pair in config.transfer.same_classes):
        raise InputError(
            f"transfer.same_classes={config.transfer.same_classes!r} must be pairs of names, such as "
            '\'(("Sidewalk", "Pavement"),)\'.'
        )
    if config.train.procedure == "layerwise":
        _check_layerwise(config)
    Augmentation(**config.augment.to_dict())
    fitting = models_with_vgg16()
    if config.pretrained.weights == "vgg16" and (
        config.model.name not in fitting or config.model.width_multiplier != 1.0
    ):
        raise InputError(
            f"pretrained.weights=vgg16 fits only model.name={', '.join(fitting[:-1])} or {fitting[-1]}, at "
            "model.width_multiplier=1.0; choose these, or --config.pretrained.weights=none."
        )
    if config.pretrained.weights == "vgg16" and config.data.depth:
        raise InputError(
            "pretrained.weights=vgg16 takes images of three channels, and data.depth=True gives four; set "
            "--config.pretrained.weights=none with --config.preprocessing=lcn, or --config.data.depth=False."
        )


def _check_layerwise(config: ml_collections.ConfigDict) -> None:
    if config.model.name != "segnet_flat":
        raise InputError(
            f"train.procedure=layerwise trains model.name=segnet_flat, not {config.model.name}; change one of them."
        )
    if config.transfer.trained != ".*" or config.transfer.frozen:
        raise InputError(
            "transfer.trained and transfer.frozen are for train.procedure=end_to_end; layer-wise training goes by "
            "layerwise.first_pair and layerwise.classifier."
        )
    if config.layerwise.first_pair > 1 and not config.transfer.source:
        raise InputError(
            f"layerwise.first_pair={config.layerwise.first_pair} takes the pairs before it from transfer.source; "
            "give the work directory of the run that trained them."
        )


def check_batch_size(config: ml_collections.ConfigDict, num_devices: int) -> None:
    """Refuses a batch that does not divide by the devices and the accumulation steps, with numbers that would."""
    batch_size, parts = config.train.batch_size, config.train.accumulation_steps
    unit = num_devices * parts
    if batch_size % unit:
        below, above = batch_size // unit * unit, -(-batch_size // unit) * unit
        fitting = f"{below} or {above}" if below else str(above)
        accumulation = f" times {parts} accumulation steps" if parts > 1 else ""
        raise InputError(
            f"train.batch_size={batch_size} does not divide by {num_devices} devices{accumulation}; "
            f"take {fitting}, or another multiple of {unit}."
        )
