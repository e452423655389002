"""A narrow SegNet on procedurally drawn road scenes: the whole program, in a few minutes and without any data.

python -m segnet_jax.main --config=configs/synthetic.py --workdir=runs/synthetic
"""

import ml_collections

from segnet_jax.config import default_config


def get_config() -> ml_collections.ConfigDict:
    """The defaults, with a narrow network and a short run."""
    config = default_config()
    config.model.width_multiplier = 0.25
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup = "20 steps"
    config.train.duration = "6 epochs"
    config.train.batch_size = 8
    config.train.eval_every = "2 epochs"
    config.eval.batch_size = 10
    return config
