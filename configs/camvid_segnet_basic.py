"""SegNet-Basic on CamVid with the paper's exact settings (arXiv 1511.00561, section 3.2 and Table 1).

    python -m segnet_jax.main --config=configs/camvid_segnet_basic.py --workdir=runs/camvid_segnet_basic \
        --config.data.root=CAMVID

SGD with a fixed learning rate of 0.1 and momentum 0.9, mini-batches of 12, local contrast normalisation, He
initialisation, median-frequency balancing, no augmentation, 360x480, an evaluation every 1000 steps (33 epochs), and
BatchNorm's statistics from a pass over the training set. The paper trains until the loss converges and reports, of the
test images, 82.7 % global accuracy, 62.0 % class average accuracy and 47.7 % mean IoU. The weight decay, of BatchNorm's
parameters too, and the doubled rate of the classifier's bias are those of the authors' files; the paper names none.
This program chooses the best checkpoint by mean IoU, the paper by global accuracy.
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
    config.model.name = "segnet_basic"
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
    config.train.batch_size = 12
    config.train.eval_every = "1000 steps"
    config.train.checkpoint_every = "100 steps"
    config.eval.batch_norm = "exact"
    return config
