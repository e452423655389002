"""Collects what travels with an exported network: classes, colours, and what its images have to be."""

from __future__ import annotations

import json

import segnet_jax
from segnet_jax.export.from_config import describe_input
from segnet_jax.export.program import Program


def metadata_of(program: Program, smallest: int) -> dict[str, str]:
    """Returns texts by name; lists are JSON.

    `classes` and `palette` (RGB) are by label, `preprocessing` is the normalisation and `preprocessing_in_graph`
    whether the file does it, with `channel_statistics` where that needs them, `image_size` the HEIGHTxWIDTH of training
    or "", `smallest_size` what it needs at least. Where `image_dtype` is float32, NaN is a missing value.
    """
    table, statistics = program.trained.class_table, program.trained.channel_statistics
    return {
        **describe_input(program.trained.config),
        "preprocessing_in_graph": json.dumps(program.preprocessing),
        "modalities": json.dumps(program.trained.modalities),
        "modality_names": json.dumps(program.trained.modality_names),
        "image_dtype": program.trained.image_dtype,
        **({} if statistics is None else {"channel_statistics": json.dumps(statistics.to_dict())}),
        "output": program.output,
        "classes": json.dumps(table.names),
        "palette": json.dumps(table.colors.tolist()),
        "smallest_size": str(smallest),
        "segnet_jax": segnet_jax.__version__,
    }
