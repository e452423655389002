"""SegNet from VGG16's ImageNet weights on CamVid at half the papers' resolution: mean IoU 61.4 % on val.

    python -m segnet_jax.main --config=configs/camvid_segnet.py --workdir=runs/camvid --config.data.root=CAMVID

docs/camvid.md has the results, of a run with --config.pretrained.batch_norm=absorbed. The papers' 360x480:
--config.data.image_size='(360, 480)'. A step takes 3.6 s on two CPU cores, the run two and a half hours.
"""

import ml_collections

from segnet_jax.config import default_config


def get_config() -> ml_collections.ConfigDict:
    """Returns a short run: tempered class weights, a rate that falls twice and Nesterov's momentum."""
    config = default_config()
    config.data.name = "camvid"
    config.data.root = "data/camvid"
    config.data.image_size = (180, 240)
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
