"""The 2015 SegNet on CamVid, all four pairs at once by SGD; configs/camvid_segnet_flat_layerwise.py has its own way.

python -m segnet_jax.main --config=configs/camvid_segnet_flat.py --workdir=runs/camvid_segnet_flat \
    --config.data.root=CAMVID

The paper (arXiv 1505.07293) trains layer by layer with L-BFGS; this is the same network with the optimizer of the
other configurations.
"""

import ml_collections

from segnet_jax.config import default_config


def get_config() -> ml_collections.ConfigDict:
    """Returns the 2015 network and preprocessing, with SGD."""
    config = default_config()
    config.data.name = "camvid"
    config.data.root = "data/camvid"
    config.data.image_size = (180, 240)
    config.preprocessing = "lcn"
    config.model.name = "segnet_flat"
    config.loss.class_weights = "inverse_frequency"
    config.loss.normalization = "weights"
    config.train.duration = "50 epochs"
    config.train.batch_size = 4
    return config
