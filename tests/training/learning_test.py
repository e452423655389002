"""Every network overfits a few drawn scenes, narrow and in a few hundred steps.

What cannot be trained (a layer that is cut off, a map in the wrong place, a gradient that explodes) does not get there.
The default tests have SegNet and one of the simple networks; `pytest -m slow tests/training/learning_test.py` has all.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segnet_jax.data.from_config import create_dataset
from segnet_jax.data.preprocessing import create_normalization
from segnet_jax.models import MODELS, create_model
from segnet_jax.training.optimizers import create_optimizer, create_schedule
from segnet_jax.training.step import create_train_state, create_train_step

_WIDTHS = {"fcn32s": 1 / 8, "fcn16s": 1 / 8, "fcn8s": 1 / 8, "deeplab_largefov": 1 / 8}
# The decoder of one channel learns slowly, and scores that are interpolated from a map of 3x4 cannot follow 48x64.
_STEPS = {"segnet_basic_single_channel_decoder": 600}
_SIZES = {"segnet_basic_single_channel_decoder": (96, 128), "bilinear_interpolation": (180, 240)}


def pixel_accuracy(name, num_scenes, size, width, steps, learning_rate):
    """Returns the pixel accuracy in evaluation, with running averages, on the scenes of ten classes trained on."""
    scenes = create_dataset("synthetic", "train", scene_size=size, train_scenes=num_scenes)
    examples = [scenes[i] for i in range(num_scenes)]
    batch = {key: np.stack([example[key] for example in examples]) for key in ("image", "label")}
    num_classes = scenes.class_table.num_classes
    model = create_model(name, num_classes, width_multiplier=width, dropout_rate=0.0)
    schedule = create_schedule("cosine", learning_rate=learning_rate, total_steps=steps, warmup_steps=10)
    # The decoders of FCN have no BatchNorm: without a bound their loss grows beyond all limits at this rate.
    optimizer = create_optimizer(schedule, momentum=0.9, nesterov=True, clip_norm=1.0)
    normalize = create_normalization("imagenet")
    step = create_train_step(
        devices=jax.local_devices()[:1],
        model=model,
        optimizer=optimizer,
        normalize=normalize,
        class_weights=jnp.ones(num_classes),
    )
    state = create_train_state(model, optimizer, seed=0)
    for _ in range(steps):
        state, _ = step(state, {key: values[None] for key, values in batch.items()})
    logits = jax.jit(model.apply)(jax.device_get(state.variables), normalize(batch["image"]))
    labelled = batch["label"] < num_classes
    return float((np.argmax(logits, axis=-1) == batch["label"])[labelled].mean())


def test_segnet_overfits_four_small_scenes():
    # STEPNOTE
    assert pixel_accuracy("segnet", 4, (32, 48), 1 / 8, steps=120, learning_rate=0.3) > 0.95


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "fcn_basic" else pytest.mark.slow) for name in MODELS]
)
def test_model_overfits_eight_scenes(name):
    accuracy = pixel_accuracy(
        name,
        8,
        _SIZES.get(name, (48, 64)),
        _WIDTHS.get(name, 1 / 4),
        steps=_STEPS.get(name, 300),
        learning_rate=0.05,
    )
    # DeepLab's scores are interpolated from a map of 6x8.
    assert accuracy > (0.85 if name == "deeplab_largefov" else 0.9)
