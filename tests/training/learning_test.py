"""Every network learns eight drawn scenes by heart, narrow and in a few hundred steps.

What cannot be trained (a layer that is cut off, a map in the wrong place, a gradient that explodes) does not get there.
The default run has one of the networks; `pytest -m slow tests/learning_test.py` has the others.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segnet_jax.data.datasets.synthetic import SyntheticScenes
from segnet_jax.data.preprocessing import create_normalization
from segnet_jax.models import MODELS, create_model
from segnet_jax.training.optimizers import create_optimizer, create_schedule
from segnet_jax.training.step import create_train_state, create_train_step

_DEFAULT = ("fcn_basic",)
_WIDTHS = {"fcn32s": 1 / 8, "fcn16s": 1 / 8, "fcn8s": 1 / 8, "deeplab_largefov": 1 / 8}
# The decoder of one channel learns slowly, and scores that are interpolated from a map of 3x4 cannot follow 48x64.
_STEPS = {"segnet_basic_single_channel_decoder": 600}
_SIZES = {"segnet_basic_single_channel_decoder": (96, 128), "bilinear_interpolation": (180, 240)}


def pixel_accuracy(name):
    """In evaluation, with running averages, after training on eight scenes with ten classes."""
    scenes = SyntheticScenes("train", _SIZES.get(name, (48, 64)), 8)
    examples = [scenes[i] for i in range(8)]
    batch = {key: np.stack([example[key] for example in examples]) for key in ("image", "label")}
    num_classes = scenes.class_table.num_classes
    model = create_model(name, num_classes, width_multiplier=_WIDTHS.get(name, 1 / 4), dropout_rate=0.0)
    steps = _STEPS.get(name, 300)
    schedule = create_schedule("cosine", learning_rate=0.05, total_steps=steps, warmup_steps=10)
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


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in _DEFAULT else pytest.mark.slow) for name in MODELS]
)
def test_eight_scenes_are_learnt_by_heart(name):
    # DeepLab's scores are interpolated from a map of 6x8.
    assert pixel_accuracy(name) > (0.85 if name == "deeplab_largefov" else 0.9)
