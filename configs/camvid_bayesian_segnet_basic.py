"""Bayesian SegNet-Basic on CamVid with the authors' solver (arXiv 1511.02680, `bayesian_segnet_basic`).

    python -m segnet_jax.main --config=configs/camvid_bayesian_segnet_basic.py \
        --workdir=runs/camvid_bayesian_segnet_basic --config.data.root=CAMVID

Dropout of 0.5 after pool3, pool4, conv_decode4 and conv_decode3. A prediction is the mean of 8 passes with dropout on,
as in the authors' files; their variance is the uncertainty, in the last column of the picture sheet. An evaluation
takes eight times as long for it; --config.eval.samples=0 evaluates without. Not yet run to its end here.
"""

import ml_collections

from segnet_jax.config import default_config


def get_config() -> ml_collections.ConfigDict:
    """Returns the values of the authors' solver and network; the class weights are those of the data at hand."""
    config = default_config()
    config.data.name = "camvid"
    config.data.root = "data/camvid"
    config.data.image_size = (360, 480)
    config.augment.flip = False
    config.preprocessing = "lrn"
    config.model.name = "segnet_basic"
    config.model.dropout_rate = 0.5
    config.loss.class_weights = "median_frequency"
    config.loss.normalization = "pixels"
    config.optimizer.learning_rate = 0.1
    config.optimizer.schedule = "constant"
    config.optimizer.momentum = 0.9
    config.optimizer.weight_decay = 5e-4
    config.optimizer.decay_scale = True
    config.optimizer.decay_shift = True
    config.optimizer.bias_rate = 2.0
    config.train.duration = "10000 steps"
    config.train.batch_size = 4
    config.train.eval_every = "1000 steps"
    config.train.checkpoint_every = "100 steps"
    config.eval.batch_norm = "exact"
    config.eval.samples = 8
    return config
