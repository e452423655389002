"""Tests for segnet_jax/models/bands.py."""

import jax
import numpy as np
import pytest

from segnet_jax.models import bands, create_model
from segnet_jax.runtime import compilation
from tests.helpers.networks import gradients, images, random_variables, shapes, small_model


@pytest.fixture
def made(monkeypatch):
    """Returns a list that gets an entry for each band, and one for each stage that is whole on other platforms."""
    made, make = [], bands._as_network
    monkeypatch.setattr(bands, "_as_network", lambda *arguments: made.append(arguments) or make(*arguments))
    return made


def program(monkeypatch, model, values):
    """Returns a function that computes logits in bands of so many values at most."""
    monkeypatch.setattr(bands, "_VALUES", values)
    return compilation.jit(model.apply)


@pytest.mark.parametrize(
    ("name", "fields", "size", "values", "count"),
    [
        # Stages of 37x21x4, 19x11x8, 10x6x16 and 5x3x32 values.
        ("segnet", {}, (37, 21), 450, 2 * (7 + 4 + 3 + 2 + 4)),
        ("segnet", {"separate_classifier": True}, (18, 22), 1000, 2 * (2 + 1)),
        # Of 41x19x4 and 21x10x4.
        ("segnet_basic", {}, (41, 19), 500, 2 * (7 + 2 + 2)),
        # Of one window each.
        ("segnet_basic", {}, (2, 90), 50, 0),
        ("segnet_basic_encoder_addition", {}, (32, 24), 800, 2 * (4 + 1)),
        ("segnet_basic_single_channel_decoder", {}, (35, 16), 1250, 2 * (2 + 1)),
        ("fcn_basic", {}, (33, 20), 500, 6 + 2 + 2),
    ],
)
def test_stage_in_bands_gives_the_logits_of_whole_stages(monkeypatch, made, name, fields, size, values, count):
    model = create_model(name, 5, width_multiplier=1 / 16, **fields)
    variables, x = random_variables(model), images(2, *size, 3)
    expected = program(monkeypatch, model, 10**9)(variables, x)
    assert not made
    logits = program(monkeypatch, model, values)(variables, x)
    assert len(made) == count
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def test_stage_in_bands_takes_less_memory(monkeypatch):
    model = create_model("segnet_basic", 5, width_multiplier=1 / 4)
    x = jax.ShapeDtypeStruct((1, 128, 96, 3), np.float32)
    whole, in_bands = (
        program(monkeypatch, model, values).executable(shapes(model), x).memory_analysis().temp_size_in_bytes
        for values in (10**9, 50_000)
    )
    # Four bands; without them a map of the last decoder and its padded input are in memory at once.
    assert whole > 2 * 128 * 96 * 16 * 4 > 1.8 * in_bands


def test_stage_in_bands_is_whole_in_training_and_for_intermediates(monkeypatch, made):
    model, variables = small_model("segnet_basic")
    monkeypatch.setattr(bands, "_VALUES", 100)
    gradients(model, variables, images(1, 16, 12, 3))
    _, state = model.apply(variables, images(1, 16, 12, 3), capture_intermediates=True, mutable=["intermediates"])
    assert not made
    assert state["intermediates"]["conv_decode1"]["__call__"][0].shape == (1, 16, 12, 4)


@pytest.mark.parametrize(("size", "count"), [((360, 480), 2), ((180, 240), 1), ((720, 960), 8), ((3, 10**6), 2)])
def test_number_of_bands(size, count):
    assert bands._number_of_bands(*size, 64) == count
