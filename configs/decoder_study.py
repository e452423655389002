"""The decoder study (arXiv 1511.00561, Table 1) at a small budget: any of its eight networks, on CamVid at 90x120.

    python -m segnet_jax.main --config=configs/decoder_study.py:fcn_basic --workdir=runs/study/fcn_basic \
        --config.data.root=CAMVID

After the colon: segnet_basic, segnet_basic_single_channel_decoder, segnet_basic_encoder_addition, fcn_basic,
fcn_basic_no_addition, fcn_basic_no_dim_reduction, fcn_basic_no_addition_no_dim_reduction, bilinear_interpolation.
docs/decoder_study.md has the results. The paper's own conditions are those of configs/camvid_segnet_basic.py, with
--config.model.name.
"""

import ml_collections

from segnet_jax.config import default_config


def get_config(name: str = "segnet_basic") -> ml_collections.ConfigDict:
    """Returns the paper's rate, momentum, class weights and normalisation; ten epochs, over which the rate falls."""
    config = default_config()
    config.data.name = "camvid"
    config.data.root = "data/camvid"
    config.data.image_size = (90, 120)
    config.augment.flip = False
    config.preprocessing = "lcn"
    config.model.name = name
    config.loss.class_weights = "median_frequency"
    config.loss.normalization = "pixels"
    config.optimizer.learning_rate = 0.1
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup = "30 steps"
    config.optimizer.momentum = 0.9
    # FCN-Basic's decoders have no BatchNorm: without a bound its loss is not finite after some 50 steps.
    config.optimizer.clip_norm = 1.0
    config.train.duration = "10 epochs"
    config.train.batch_size = 4
    config.train.eval_every = "0 steps"
    config.train.checkpoint_every = "2 epochs"
    config.eval.batch_norm = "exact"
    return config
