"""Programs to export, and what runs them."""

import dataclasses

import ml_collections
import numpy as np

from segnet_jax.data.class_table import ClassTable
from segnet_jax.data.image_files import read_image
from segnet_jax.data.preprocessing import RGB, create_normalization
from segnet_jax.export.program import Program
from segnet_jax.inference.preparation import Preparation
from segnet_jax.inference.trained_model import TrainedModel
from segnet_jax.models import create_model
from tests.helpers.networks import random_variables
from tests.helpers.tiny_config import make_tiny_config

TABLE = ClassTable.from_colors("drawn", 255, "void", [("sky", (0, 0, 255)), ("road", (90, 60, 90)), ("car", (9, 0, 3))])


def make_program(
    name, *, preprocessing="imagenet", modalities=RGB, output="logits", in_graph=True, dtype="uint8", **fields
):
    """Returns the program of a narrow network of three classes with drawn variables."""
    model = create_model(name, 3, **{"width_multiplier": 1 / 16, **fields})
    config = make_tiny_config()
    config.preprocessing = preprocessing
    trained = TrainedModel(
        metadata={},
        config=config,
        run_config=ml_collections.ConfigDict(),
        class_table=TABLE,
        model=model,
        variables=random_variables(model, channels=sum(modalities)),
        step=1,
        has_exact_batch_stats=False,
        modalities=modalities,
        image_dtype=dtype,
    )
    preparation = Preparation((), "stretch", read_image, create_normalization(preprocessing, modalities), seed=0)
    return Program(trained, preparation, output, in_graph)


def noise(*shape):
    """Draws images, uint8 of that shape."""
    return np.random.default_rng(3).integers(0, 256, shape).astype(np.uint8)


def expected(program, images):
    """Returns what JAX computes."""
    return program.compiled()(images)


def with_output(program, output):
    """Returns the same program with another output."""
    return dataclasses.replace(program, output=output)
