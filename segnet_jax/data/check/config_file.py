"""Writes a configuration as a file that the main command takes."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_collections

from segnet_jax.config import default_config, flatten
from segnet_jax.data.check.summary import Summary

_COMMENTS = {
    "data.root": "the folder that holds images and masks",
    "data.image_size": "of the commonest size, with at most about as many pixels as 360x480",
    "data.resize": "as not all images have these proportions",
    "data.val_fraction": "of the images that are for validation, chosen by their names",
    "loss.class_weights": "the weights above, computed anew from the training masks",
}


def config_text(config: ml_collections.ConfigDict, file: Path, summary: Summary) -> str:
    """Returns the text of a Python file that changes the defaults to `config`.

    Args:
      config: the configuration, of a `folder`.
      file: where it is going to lie, for its command.
      summary: of the data set, whose classes get their shares and weights as comments.
    """
    values, defaults = flatten(config), flatten(default_config())
    # What matters here is said, even where it is the default.
    always = ("data.image_size", "loss.class_weights", "train.batch_size")
    first = ("data.name", "data.root", "data.classes")
    lines = []
    for key in [*first, *(key for key in values if key not in first)]:
        value = values[key]
        if key == "data.classes":
            lines += _class_lines(config, summary)
        elif value != defaults[key] or key in always:
            comment = f"  # {_COMMENTS[key]}" if key in _COMMENTS else ""
            lines.append(f"config.{key} = {_literal(value)}{comment}")
    counts = ", ".join(f"{split.name} {split.examples}" for split in summary.splits.values())
    command = f"python -m segnet_jax.main --config={shlex.quote(str(file))} --workdir=runs/{file.stem}"
    body = "\n".join(f"    {line}" if line else "" for line in lines)
    return f'''"""SegNet on {summary.name} ({counts} images).

    {command}

Written by segnet_jax.data.check; correct the names of the classes, and what shall not count, with ignored=True.
"""

import ml_collections

from segnet_jax.config import default_config


def get_config() -> ml_collections.ConfigDict:
    """Returns a start from ImageNet's weights, as configs/folder.py, with the classes and sizes of the images."""
    config = default_config()
{body}
    return config
'''


def _class_lines(config: ml_collections.ConfigDict, summary: Summary) -> list[str]:
    """Returns the class table, one entry a line, with shares of the labelled training pixels and weights."""
    values = flatten(config)
    table = summary.class_table
    shares = dict(zip(table.names, summary.training.shares(), strict=True))
    weights = summary.weights(values["loss.class_weight_power"]).get(values["loss.class_weights"])
    weight_of = {} if weights is None else dict(zip(table.names, weights, strict=True))
    lines = ["config.data.classes = ("]
    for entry in values["data.classes"]:
        comment = ""
        if entry["name"] in shares:
            comment = f"  # {100 * shares[entry['name']]:.3g} % of the training pixels"
        if entry["name"] in weight_of:
            comment += f", weight {weight_of[entry['name']]:.3g}"
        lines.append(f"    {_literal(entry)},{comment}")
    return [*lines, ")"]


def _literal(value: Any) -> str:
    """Returns a value as Python, formatted as this project's files are."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        return f"dict({', '.join(f'{key}={_literal(item)}' for key, item in value.items())})"
    if isinstance(value, tuple):
        return f"({', '.join(map(_literal, value))}{',' * (len(value) == 1)})"
    return repr(value)
