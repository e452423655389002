"""Every network learns eight drawn scenes by heart, narrow and in a few hundred steps.

What cannot be trained (a layer that is cut off, a map in the wrong place, a gradient that explodes) does not get there.
The default run has one of the networks; `pytest -m slow tests/learning_test.py` has the others.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segnet_jax.data import create_dataset
from segnet_jax.models import MODELS, create_model
from segnet_jax.optimizers import create_optimizer, create_schedule
from segnet_jax.preprocessing import create_normalization
from segnet_jax.train_step import create_train_state, create_train_step

_STEPS = 300
_DEFAULT = ("fcn_basic",)


def pixel_accuracy(name):
    """In evaluation, with running averages, after training on eight scenes of 48x64 with ten classes."""
    scenes = create_dataset("synthetic", "train", scene_size=(48, 64), train_scenes=8)
    examples = [scenes[i] for i in range(8)]
    batch = {key: np.stack([example[key] for example in examples]) for key in ("image", "label")}
    num_classes = scenes.class_table.num_classes
    width = 1 / 8 if name in ("fcn32s", "fcn16s", "fcn8s", "deeplab_largefov", "deconvnet") else 1 / 4
    model = create_model(name, num_classes, width_multiplier=width, dropout_rate=0.0)
    schedule = create_schedule("cosine", learning_rate=0.05, total_steps=_STEPS, warmup_steps=10)
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
    for _ in range(_STEPS):
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
