"""The 2015 SegNet on CamVid as the paper trains it (arXiv 1505.07293, section 3.1): the classifier first, then pair by
pair.

python -m segnet_jax.main --config=configs/camvid_segnet_flat_layerwise.py --workdir=runs/camvid_2015 \
    --config.data.root=CAMVID
"""

import ml_collections

from segnet_jax.config import default_config


def get_config() -> ml_collections.ConfigDict:
    """Returns the paper's settings."""
    config = default_config()
    config.data.name = "camvid"
    config.data.root = "data/camvid"
    config.data.image_size = (360, 480)
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
