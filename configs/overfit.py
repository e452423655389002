"""Overfits one batch of eight images of CamVid with any network: the quickest proof that network, gradients and data
are right.

    python -m segnet_jax.main --config=configs/overfit.py:deconvnet --workdir=runs/overfit/deconvnet \
        --config.data.root=CAMVID

The scores that it prints are those of the same eight images; docs/models.md has those of every network. For images
of your own add --config.data.name=folder and --config.data.classes.
"""

import ml_collections

from segnet_jax.config import default_config

# A network that interpolates its scores from a coarse map cannot follow images of 48x64: that map has 3x4 positions.
_IMAGE_SIZES = {
    "fcn_basic_no_addition": (96, 128),
    "fcn_basic_no_addition_no_dim_reduction": (96, 128),
    "fcn32s": (96, 128),
    "fcn16s": (96, 128),
    "deeplab_largefov": (96, 128),
    "bilinear_interpolation": (180, 240),
}
# The networks with the fully connected layers of VGG16 are narrow, so that two cores take minutes.
_WIDTHS = {"fcn32s": 0.25, "fcn16s": 0.25, "fcn8s": 0.25, "deconvnet": 0.25}
_STEPS = {"segnet_basic_single_channel_decoder": 300, "fcn32s": 300, "deconvnet": 300}


def get_config(name: str = "segnet") -> ml_collections.ConfigDict:
    """Returns eight images at low resolution, one batch, 120 steps for most networks."""
    config = default_config()
    config.data.name = "camvid"
    config.data.root = "data/camvid"
    config.data.image_size = _IMAGE_SIZES.get(name, (48, 64))
    config.data.max_images = 8
    config.data.eval_split = "train"
    config.augment.flip = False
    config.model.name = name
    config.model.width_multiplier = _WIDTHS.get(name, 1.0)
    config.model.dropout_rate = None if name == "segnet_flat" else 0.0
    config.loss.class_weights = "none"
    config.optimizer.learning_rate = 0.05
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup = "10 steps"
    config.optimizer.nesterov = True
    # FCN's decoders have no BatchNorm; without a bound their loss grows beyond all limits at this rate.
    config.optimizer.clip_norm = 1.0
    config.train.duration = f"{_STEPS.get(name, 120)} steps"
    config.train.batch_size = 8
    config.train.eval_every = "0 steps"
    config.eval.batch_norm = "exact"
    return config
