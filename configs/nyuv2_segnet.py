"""SegNet from VGG16's ImageNet weights on NYUv2 in 13 classes, at the 2015 paper's 240x320.

    python -m segnet_jax.main --config=configs/nyuv2_segnet.py --workdir=runs/nyuv2 --config.data.root=NYUV2

The paper of 2015 has another network, see configs/nyuv2_segnet_flat_layerwise.py; this one has what trains SegNet on
CamVid (configs/camvid_segnet.py). There are no validation images, so those of the test are evaluated. Not yet run to
its end here.

In 40 classes: --config.data.class_set=40
With depth: --config.data.modalities='("rgb", "depth")'
"""

import ml_collections

from segnet_jax.config import default_config


def get_config() -> ml_collections.ConfigDict:
    """Returns the settings of configs/camvid_segnet.py, for NYUv2."""
    config = default_config()
    config.data.name = "nyuv2"
    config.data.root = "data/nyuv2"
    config.data.image_size = (240, 320)
    config.data.eval_split = "test"
    config.pretrained.weights = "vgg16"
    config.model.batch_norm_momentum = 0.97
    config.loss.class_weight_power = 0.5
    config.loss.normalization = "weights"
    config.optimizer.learning_rate = 0.05
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup = "30 steps"
    config.optimizer.cycles = 2
    config.optimizer.nesterov = True
    config.train.duration = "24 epochs"
    config.train.batch_size = 4
    config.train.eval_every = "2 epochs"
    config.train.checkpoint_every = "0.5 epochs"
    return config
