"""SegNet on CamVid at its full 360x480, for frames of another drive and another light.

    python -m segnet_jax.main --config=configs/camvid_segnet_strong.py --workdir=runs/strong --config.data.root=CAMVID

Against configs/camvid_segnet.py: crops of images at half to twice their size, changed colours, a decoder that begins as
the encoder's mirror image, a longer run, and the moving averages of the network. docs/accuracy.md has what was tried on
a drive that is left out. For a GPU; launch/camvid_full.sh runs it in legs. On two CPU cores a step of four whole images
takes 13 s; --config.augment.crop_size='(180, 240)' with --config.train.batch_size=4 takes a quarter of that.
"""

import ml_collections

from segnet_jax.config import default_config


def get_config() -> ml_collections.ConfigDict:
    """Returns a run of 200 epochs of 367 images in batches of 8: 9,175 steps."""
    config = default_config()
    config.data.name = "camvid"
    config.data.root = "data/camvid"
    config.augment.scale = (0.5, 2.0)
    config.augment.crop_size = (360, 480)
    config.augment.brightness = 0.2
    config.augment.contrast = 0.2
    config.augment.saturation = 0.2
    config.augment.hue = 0.02
    config.augment.gamma = 0.2
    config.pretrained.weights = "vgg16"
    config.pretrained.decoder = "mirrored"
    config.model.batch_norm_momentum = 0.97
    config.loss.class_weight_power = 0.5
    config.loss.normalization = "weights"
    config.optimizer.learning_rate = 0.05
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup = "100 steps"
    config.optimizer.nesterov = True
    config.train.duration = "200 epochs"
    config.train.batch_size = 8
    config.train.average_decay = 0.998
    config.train.eval_every = "20 epochs"
    config.train.checkpoint_every = "2 epochs"
    return config
