"""Configurations: where the defaults are, durations, and the form in which a configuration is stored and compared."""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_collections

from segnet_jax.errors import InputError

pass

# Keys that a resumed run may change: none of them alters what is learnt.
_FREE_TO_CHANGE = (
    *("data.root", "data.num_workers", "data.num_threads", "train.log_every", "pretrained.path"),
    *("transfer.source", "eval.", "crf."),
)


def default_file() -> Path:
    """The file that declares every key: in a clone beside the package, in an installed package inside it."""
    package = Path(__file__).parent
    for folder in (package.parent / "configs", package / "configs"):
        if (folder / "default.py").is_file():
            return folder / "default.py"
    raise FileNotFoundError(f"configs/default.py is neither beside nor in {package}; install segnet_jax again.")


def default_config() -> ml_collections.ConfigDict:
    """The defaults, to be changed by a configuration file; a key that they lack cannot be set."""
    spec = importlib.util.spec_from_file_location("segnet_jax_default_config", default_file())
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config().lock()


def flatten(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """Every value of a configuration by its dotted key, such as "train.batch_size"."""
    return dict(_leaves(config.to_dict()))


def to_json(config: ml_collections.ConfigDict) -> str:
    """The configuration as JSON text; tuples become lists."""
    return json.dumps(config.to_dict(), indent=2)


def from_dict(stored: dict[str, Any]) -> ml_collections.ConfigDict:
    """A configuration from what `to_json` stored; keys that it lacks, being newer, have their defaults."""
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
    """For each key that a run cannot change when it resumes, and that differs: "key: stored -> new"."""
    before, now = flatten(from_dict(stored)), flatten(config)
    return [
        f"{key}: {before.get(key)!r} -> {now.get(key)!r}"
        for key in sorted(before.keys() | now.keys())
        if not key.startswith(_FREE_TO_CHANGE) and before.get(key) != now.get(key)
    ]


def to_steps(duration: str, steps_per_epoch: float, key: str = "duration") -> int:
    """A duration in whole steps.

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
    """Lists as the tuples they were before they became JSON, all the way down."""
    if isinstance(value, (list, tuple)):
        return tuple(_to_tuple(item) for item in value)
    if isinstance(value, dict):
        return {key: _to_tuple(item) for key, item in value.items()}
    return value


def reconstructs(config: ml_collections.ConfigDict) -> bool:
    """Whether the network of a run reconstructs its input, and knows no classes."""
    return config.train.procedure == "layerwise" and config.layerwise.target == "input"


def shared_keys(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """What all processes of a run must have in common of its configuration: all but where and how each reads."""
    own = ("data.root", "data.num_workers", "data.num_threads", "pretrained.path")
    return {key: value for key, value in flatten(config).items() if key not in own}
