"""Overfits every network, narrow and in a few hundred steps, on a few images.

What cannot be trained (a layer that is cut off, a map in the wrong place, a gradient that explodes) does not get there.
The default tests have SegNet; `pytest -m slow tests/training/learning_test.py` has all.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segnet_jax.data.class_table import VOID
from segnet_jax.data.datasets.synthetic import SyntheticScenes
from segnet_jax.data.preprocessing import create_normalization
from segnet_jax.models import MODELS, create_model
from segnet_jax.training.objective import Objective
from segnet_jax.training.optimizers import create_optimizer, create_schedule
from segnet_jax.training.step import create_train_state, create_train_step

_WIDTHS = {"fcn32s": 1 / 8, "fcn16s": 1 / 8, "fcn8s": 1 / 8, "deeplab_largefov": 1 / 8}
# The decoder of one channel learns slowly, and scores that are interpolated from a map of 3x4 cannot follow 48x64.
_STEPS = {"segnet_basic_single_channel_decoder": 600}
_SIZES = {"segnet_basic_single_channel_decoder": (96, 128), "bilinear_interpolation": (180, 240)}


def pixel_accuracy(model, batch, *, steps, learning_rate):
    """Returns the pixel accuracy in evaluation, with running averages, after training on one batch."""
    schedule = create_schedule("cosine", learning_rate=learning_rate, total_steps=steps, warmup_steps=10)
    # The decoders of FCN have no BatchNorm: without a bound their loss grows beyond all limits at this rate.
    optimizer = create_optimizer(schedule, momentum=0.9, nesterov=True, clip_norm=1.0)
    normalize = create_normalization("imagenet")
    step = create_train_step(
        devices=jax.local_devices()[:1],
        model=model,
        optimizer=optimizer,
        normalize=normalize,
        objective=Objective(jnp.ones(model.num_classes)),
    )
    state = create_train_state(model, optimizer, seed=0)
    for _ in range(steps):
        state, _ = step(state, {key: values[None] for key, values in batch.items()})
    logits = jax.jit(model.apply)(jax.device_get(state.variables), normalize(batch["image"]))
    labelled = batch["label"] < model.num_classes
    return float((np.argmax(logits, axis=-1) == batch["label"])[labelled].mean())


def striped_images(count=4, height=32, width=48):
    """Draws three coloured stripes, classes 0 to 2, with a white pixel of class 3 in every 2x2 window; the rim is void.

    Only the indices of the first pooling say which pixel of its window is the white one.
    """
    rng = np.random.default_rng(0)
    label = np.broadcast_to((np.arange(width) * 3 // width).astype(np.uint8), (count, height, width)).copy()
    image = np.array([(120, 30, 30), (30, 120, 30), (30, 30, 120)], np.uint8)[label]
    white = rng.integers(0, 4, (count, height // 2, width // 2)).repeat(2, axis=1).repeat(2, axis=2)
    row, column = np.indices((height, width)) % 2
    is_white = white == 2 * row + column
    label[is_white], image[is_white] = 3, 255
    label[:, :2] = VOID
    return {"image": image, "label": label}


def test_segnet_overfits_a_pixel_in_every_pooling_window():
    model = create_model("segnet", 4, width_multiplier=1 / 8)
    # Without the indices, with running averages that lag behind, or untrained, it stays below 0.8.
    assert pixel_accuracy(model, striped_images(), steps=125, learning_rate=0.3) > 0.98


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_model_overfits_eight_scenes(name):
    scenes = SyntheticScenes("train", _SIZES.get(name, (48, 64)), 8)
    examples = [scenes[i] for i in range(8)]
    batch = {key: np.stack([example[key] for example in examples]) for key in ("image", "label")}
    model = create_model(
        name, scenes.class_table.num_classes, width_multiplier=_WIDTHS.get(name, 1 / 4), dropout_rate=0.0
    )
    accuracy = pixel_accuracy(model, batch, steps=_STEPS.get(name, 300), learning_rate=0.05)
    # DeepLab's scores are interpolated from a map of 6x8.
    assert accuracy > (0.85 if name == "deeplab_largefov" else 0.9)
