"""A narrow SegNet-Basic on procedurally drawn road scenes: the whole program, in a few minutes and without any data.

python -m segnet_jax.main --config=configs/synthetic.py --workdir=runs/synthetic

On two CPU cores: four minutes, and 86 % mean IoU on the held-out scenes.
"""

import ml_collections

from segnet_jax.config import default_config


def get_config() -> ml_collections.ConfigDict:
    """Returns the defaults, with a narrow network and a short run of many small steps."""
    config = default_config()
    config.data.train_scenes = 2000
    config.data.eval_scenes = 100
    config.model.name = "segnet_basic"
    config.model.width_multiplier = 0.25
    config.model.batch_norm_momentum = 0.98
    config.loss.class_weight_power = 0.25
    config.loss.normalization = "weights"
    config.optimizer.learning_rate = 0.1
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup = "30 steps"
    config.optimizer.nesterov = True
    config.train.duration = "3 epochs"
    config.train.batch_size = 2
    config.train.log_every = "100 steps"
    config.train.eval_every = "1 epochs"
    config.eval.batch_size = 10
    return config
