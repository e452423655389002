"""Configurations: their defaults, the checks of their values, durations, and how they are stored and compared."""

from __future__ import annotations

import importlib.util
import json
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ml_collections

from segnet_jax.errors import InputError

# Keys that a resumed run may change: none of them alters what is learnt.
_FREE_TO_CHANGE = (
    *("data.root", "data.num_workers", "data.num_threads", "train.log_every", "pretrained.path"),
    *("transfer.source", "eval.", "crf."),
)


# For each number: the smallest value, and the one that it must stay below.
_RANGES = {
    "seed": (0, 2**31),
    "data.max_images": (0, math.inf),
    "data.num_workers": (0, 1025),
    "data.num_threads": (0, 1025),
    "data.val_fraction": (0, 1),
    "data.image_max": (1, 65536),
    "data.depth_max": (1, 65536),
    "data.depth_scale": (0, math.inf),
    "data.label_start": (-1, 2),
    "data.depth_missing": (-1, 65536),
    "data.train_scenes": (1, math.inf),
    "data.eval_scenes": (1, math.inf),
    "pretrained.images": (1, math.inf),
    "model.batch_norm_momentum": (0, 1),
    "loss.class_weight_power": (0, math.inf),
    "loss.label_smoothing": (0, 1),
    "loss.focal_gamma": (0, math.inf),
    "optimizer.learning_rate": (0, math.inf),
    "optimizer.momentum": (0, 1),
    "optimizer.weight_decay": (0, math.inf),
    "optimizer.bias_rate": (0, math.inf),
    "optimizer.clip_norm": (0, math.inf),
    "train.batch_size": (1, math.inf),
    "layerwise.iterations": (1, math.inf),
    "layerwise.memory": (1, math.inf),
    "layerwise.first_pair": (1, math.inf),
    "train.accumulation_steps": (1, math.inf),
    "train.average_decay": (0, 1),
    "eval.batch_size": (1, math.inf),
    "eval.pictures": (0, math.inf),
    "eval.samples": (0, math.inf),
    "eval.single_features": (0, math.inf),
    "crf.iterations": (1, math.inf),
    "crf.position_weight": (0, math.inf),
    "crf.position_std": (0.01, math.inf),
    "crf.bilateral_weight": (0, math.inf),
    "crf.bilateral_position_std": (0.01, math.inf),
    "crf.bilateral_color_std": (0.01, math.inf),
    "eval.missing_block": (1, math.inf),
}

_CHOICES = {
    "data.resize": ("stretch", "fit", "crop", "center"),
    "pretrained.weights": ("none", "vgg16"),
    "pretrained.batch_norm": ("matched", "absorbed"),
    "pretrained.decoder": ("he", "mirrored"),
    "loss.normalization": ("pixels", "weights"),
    "eval.batch_norm": ("running", "exact"),
    "eval.mixture": ("first", "all"),
    "train.procedure": ("end_to_end", "layerwise"),
    "layerwise.classifier": ("first", "never", "joint", "every", "last"),
    "layerwise.target": ("labels", "input"),
}

_DURATIONS = (
    *("train.duration", "train.log_every", "train.eval_every", "train.checkpoint_every", "layerwise.duration"),
    *("optimizer.warmup", "optimizer.step_every"),
)
# Four times 4K: more than a network of this kind is ever given, and less than what takes all memory.
_MAX_PIXELS = 2**25

# Keys of `data` that hold for all data sets of a mixture; those that each may have besides the others of `data`.
_OF_MIXTURE = ("mixture", "image_size", "resize", "modalities", "num_workers", "num_threads")
_OF_COMPONENT = ("weight", "class_map")

_SIZES = ("data.image_size", "data.scene_size", "augment.crop_size")


def default_file() -> Path:
    """Returns the file that declares every key: in a clone beside the package, in an installed package inside it."""
    package = Path(__file__).parent
    for folder in (package.parent / "configs", package / "configs"):
        if (folder / "default.py").is_file():
            return folder / "default.py"
    raise FileNotFoundError(f"configs/default.py is neither beside nor in {package}; install segnet_jax again.")


def default_config() -> ml_collections.ConfigDict:
    """Returns the defaults, to be changed by a configuration file; a key that they lack cannot be set."""
    spec = importlib.util.spec_from_file_location("segnet_jax_default_config", default_file())
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config().lock()


def flatten(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """Returns every value by its dotted key, such as "train.batch_size"."""
    return dict(_leaves(config.to_dict()))


def to_json(config: ml_collections.ConfigDict) -> str:
    """Returns the configuration as JSON text; tuples become lists."""
    return json.dumps(config.to_dict(), indent=2)


def from_dict(stored: dict[str, Any]) -> ml_collections.ConfigDict:
    """Rebuilds a configuration from what `to_json` stored; keys that it lacks, being newer, have their defaults."""
    config = default_config()
    declared = flatten(config)
    for key, value in _leaves(stored):
        if key in declared:
            _set(config, key, value)
    return config


def apply_overrides(config: ml_collections.ConfigDict, overrides: dict[str, Any]) -> None:
    """Sets `overrides`, by dotted key, in place."""
    for key, value in overrides.items():
        _set(config, key, value)


def differences(stored: dict[str, Any], config: ml_collections.ConfigDict) -> list[str]:
    """Lists the keys that differ and that a run cannot change when it resumes, each as "key: stored -> new"."""
    before, now = (_without_roots(flatten(values)) for values in (from_dict(stored), config))
    free: tuple[str, ...] = _FREE_TO_CHANGE
    if before["train.procedure"] == now["train.procedure"] == "end_to_end":
        free += ("layerwise.",)
    return [
        f"{key}: {before.get(key)!r} -> {now.get(key)!r}"
        for key in sorted(before.keys() | now.keys())
        if not key.startswith(free) and before.get(key) != now.get(key)
    ]


def check_values(config: ml_collections.ConfigDict) -> None:
    """Checks each value by itself: ranges, choices and forms. Where values meet, they are checked to fit each other.

    Raises:
      InputError: for the first one, by its key.
    """
    values = flatten(config)
    for key, (low, high) in _RANGES.items():
        value = values[key]
        if not low <= value < high:
            bound = "" if math.isinf(high) else f" and below {high}"
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
        if size and math.prod(size) > _MAX_PIXELS:
            raise InputError(f"{key}={size!r} has more than {_MAX_PIXELS} pixels; choose a smaller size.")
    modalities = values["data.modalities"]
    if (
        not modalities
        or len(set(modalities)) < len(modalities)
        or not all(isinstance(n, str) and n for n in modalities)
    ):
        raise InputError(
            f'data.modalities={modalities!r} must be one or more different names, such as \'("rgb", "depth")\'.'
        )
    for key in _DURATIONS:
        to_steps(values[key], 1.0, key)
    for key in ("eval.checkpoint", "transfer.checkpoint"):
        wanted = values[key]
        if wanted not in ("best", "latest") and not wanted.isdecimal():
            raise InputError(f"{key}={wanted!r} must be best, latest or a step.")
    if not config.eval.scales or not all(0 < scale <= 8 for scale in config.eval.scales):
        raise InputError(f"eval.scales={config.eval.scales!r} must be one or more factors above 0 and up to 8.")
    if not all(0 <= share <= 1 for share in config.eval.missing_pixels):
        raise InputError(f"eval.missing_pixels={config.eval.missing_pixels!r} must be shares from 0 to 1.")
    if not all(isinstance(count, int) and count >= 0 for count in config.eval.top_features):
        raise InputError(f"eval.top_features={config.eval.top_features!r} must be whole numbers, such as '(1, 5, 10)'.")
    for key in ("transfer.same_classes", "eval.class_map"):
        if not all(isinstance(pair, tuple) and len(pair) == 2 for pair in values[key]):
            raise InputError(f'{key}={values[key]!r} must be pairs of names, such as \'(("Sidewalk", "Pavement"),)\'.')
    if config.data.name == "mixture":
        for number, component in enumerate(mixture_components(config)):
            try:
                check_values(component.config)
            except InputError as error:
                raise InputError(f"data.mixture[{number}]: {error}") from error


class Component(NamedTuple):
    """One data set of a mixture.

    Attributes:
      config: the configuration with this data set in place of the mixture.
      weight: of its images among those of a batch; None for all or none of a mixture: by their numbers.
      class_map: pairs of a class of it and one of the mixture; () where the classes are the same.
    """

    config: ml_collections.ConfigDict
    weight: float | None
    class_map: tuple[tuple[str, str], ...]


def mixture_components(config: ml_collections.ConfigDict) -> list[Component]:
    """Returns the data sets of `data.mixture`; what one of them does not set, is as `data` has it, but for `classes`.

    Raises:
      InputError: if there is none, or a key or a value of one is not what it can be.
    """
    entries = config.data.mixture
    if not entries:
        raise InputError("data.name=mixture needs data.mixture, the data sets; docs/datasets.md has an example.")
    components = [_component(config, entry, f"data.mixture[{number}]") for number, entry in enumerate(entries)]
    if len({component.weight is None for component in components}) > 1:
        raise InputError("Some data sets of data.mixture have a weight and others none; give it to all, or to none.")
    return components


def _component(config: ml_collections.ConfigDict, entry: Any, where: str) -> Component:
    if not hasattr(entry, "keys"):  # a ConfigDict is no Mapping
        raise InputError(f'{where} is {entry!r}; give a dict such as {{"name": "camvid", "root": "camvid"}}.')
    own = [key for key in config.data if key not in _OF_MIXTURE]
    values = {key: _to_tuple(value) for key, value in entry.items()}
    for key in values:
        if key in _OF_MIXTURE:
            raise InputError(f"{where} has the key {key!r}, which all data sets of a mixture share; set data.{key}.")
        if key not in own and key not in _OF_COMPONENT:
            raise InputError(f"{where} has the unknown key {key!r}; use {', '.join((*_OF_COMPONENT, *own))}.")
    if values.get("name", "mixture") == "mixture":
        raise InputError(f'{where} names no data set; give it one, such as "name": "camvid".')
    weight, class_map = values.pop("weight", None), values.pop("class_map", ())
    if weight is not None and not (isinstance(weight, (int, float)) and 1e-6 <= weight < math.inf):
        raise InputError(f"{where} has the weight {weight!r}; give a number above 0, such as 0.5.")
    if not (isinstance(class_map, tuple) and all(isinstance(pair, tuple) and len(pair) == 2 for pair in class_map)):
        raise InputError(f"{where} has the class_map {class_map!r}; give pairs, such as (('sidewalk', 'Pavement'),).")
    config = config.copy_and_resolve_references()
    config.data.root = _below(config.data.root, values.pop("root", ""))
    config.data.mixture = config.data.classes = ()
    for key, value in values.items():
        try:
            config.data[key] = value
        except TypeError as error:
            raise InputError(f"{where} has {key}={value!r}: {' '.join(str(error).split())}.") from error
    return Component(config, weight, class_map)


def _below(root: str, path: str) -> str:
    """Returns `path` below `root`, unless it stands by itself."""
    if not root or not path or "://" in path or path.startswith("~"):
        return path or root
    return os.path.join(root, path)


def without_roots(mixture: Sequence[Any]) -> tuple[Any, ...]:
    """Returns `data.mixture` without the folders, which tell of the machine and not of what is learnt."""
    return tuple(
        {key: value for key, value in entry.items() if key != "root"} if hasattr(entry, "items") else entry
        for entry in mixture
    )


def _without_roots(values: dict[str, Any]) -> dict[str, Any]:
    return {**values, "data.mixture": without_roots(values["data.mixture"])}


def to_steps(duration: str, steps_per_epoch: float, key: str = "duration") -> int:
    """Converts a duration to whole steps.

    Args:
      duration: "N steps" or "N epochs"; N may be a fraction of epochs. Anything above zero is at least one step.
      steps_per_epoch: images of the training split over the batch size.
      key: of the configuration, for messages.

    Raises:
      InputError: if `duration` is of another form.
    """
    number, _, unit = duration.strip().partition(" ")
    unit = unit.strip().removesuffix("s")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if unit not in ("step", "epoch") or not 0 <= value < math.inf or (unit == "step" and value % 1):
        raise InputError(f"{key}={duration!r} is no duration; write it as '500 steps' or '2.5 epochs'.")
    if unit == "step":
        return int(value)
    return math.ceil(round(value * steps_per_epoch, 6))


def reconstructs(config: ml_collections.ConfigDict) -> bool:
    """Tells whether the network of a run reconstructs its input, and knows no classes."""
    return config.train.procedure == "layerwise" and config.layerwise.target == "input"


def shared_keys(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """Returns the values that all processes of a run must share: all but where and how each of them reads."""
    own = ("data.root", "data.num_workers", "data.num_threads", "pretrained.path")
    return {key: value for key, value in _without_roots(flatten(config)).items() if key not in own}


def _set(config: ml_collections.ConfigDict, key: str, value: Any) -> None:
    *path, last = key.split(".")
    for name in path:
        config = config[name]
    config[last] = _to_tuple(value)


def _leaves(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _to_tuple(value)


def _to_tuple(value: Any) -> Any:
    """Turns lists back into the tuples they were before they became JSON, all the way down."""
    if isinstance(value, (list, tuple)):
        return tuple(_to_tuple(item) for item in value)
    if isinstance(value, dict):
        return {key: _to_tuple(item) for key, item in value.items()}
    return value
