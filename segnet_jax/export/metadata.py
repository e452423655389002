"""Collects what travels with an exported network: classes, colours, and what its images have to be."""

from __future__ import annotations

import json

import segnet_jax
from segnet_jax.export.from_config import describe_input
from segnet_jax.export.program import Program


def metadata_of(program: Program, smallest: int) -> dict[str, str]:
    """Returns texts by name; lists are JSON.

    `classes` and `palette` (RGB) are by label, `preprocessing` is the normalisation and `preprocessing_in_graph`
    whether the file does it, `image_size` the HEIGHTxWIDTH of training or "", `smallest_size` what it needs at least.
    """
    table = program.trained.class_table
    return {
        **describe_input(program.trained.config),
        "preprocessing_in_graph": json.dumps(program.preprocessing),
        "modalities": json.dumps(program.trained.modalities),
        "output": program.output,
        "classes": json.dumps(table.names),
        "palette": json.dumps(table.colors.tolist()),
        "smallest_size": str(smallest),
        "segnet_jax": segnet_jax.__version__,
    }
