"""The 2015 SegNet on NYUv2 with depth, as the paper trains it (arXiv 1505.07293, sections 3.1 and 4).

python -m segnet_jax.main --config=configs/nyuv2_segnet_flat_layerwise.py --workdir=runs/nyuv2_2015 \
    --config.data.root=NYUV2

RGB and filled depth at 240x320, each normalised locally by itself, 13 classes weighed by inverse frequency, and L-BFGS
layer by layer on random mini-batches of 25 images. Without depth: --config.data.modalities='("rgb",)'. Not yet run to
its end here.
"""

import ml_collections

from segnet_jax.config import default_config


def get_config() -> ml_collections.ConfigDict:
    """Returns the paper's settings."""
    config = default_config()
    config.data.name = "nyuv2"
    config.data.root = "data/nyuv2"
    config.data.image_size = (240, 320)
    config.data.eval_split = "test"
    config.data.modalities = ("rgb", "depth")
    config.augment.flip = False
    config.preprocessing = "lcn"
    config.model.name = "segnet_flat"
    config.loss.class_weights = "inverse_frequency"
    config.train.procedure = "layerwise"
    config.train.batch_size = 25
    config.train.accumulation_steps = 25
    config.train.with_replacement = True
    config.train.log_every = "1 steps"
    config.train.eval_every = "0 steps"
    config.train.checkpoint_every = "1 steps"
    return config
