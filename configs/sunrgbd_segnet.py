"""SegNet on SUN RGB-D in 37 classes with class balancing, the caption of Table 4 (arXiv 1511.00561, section 4.2).

    python -m segnet_jax.main --config=configs/sunrgbd_segnet.py --workdir=runs/sunrgbd --config.data.root=SUNRGBD

The paper's: SGD with a fixed learning rate of 0.001 and momentum 0.9, mini-batches of 4 images of 360x480, VGG16's
ImageNet weights at the start, dropout of 0.5, BatchNorm's statistics from a pass over the training images before each
evaluation, 180,000 steps. It reports of the test images 71.75 % global accuracy, 44.85 % class average accuracy and
32.08 % mean IoU; without balancing, which is configs/benchmark.py:sun_segnet, 72.63, 44.76 and 31.84 after at most
240,000 steps. The class weights, weight decay and rate of biases are those of the authors' files. There are no
validation images, so those of the test are evaluated. Not yet run to its end here.

In 13 classes: --config.data.class_set=13 --config.loss.class_weights=median_frequency
With depth: --config.data.modalities='("rgb", "depth")'
"""

import ml_collections

from segnet_jax.config import default_config


def get_config() -> ml_collections.ConfigDict:
    """Returns the paper's settings, and the authors' where it names none."""
    config = default_config()
    config.data.name = "sunrgbd"
    config.data.root = "data/sunrgbd"
    config.data.image_size = (360, 480)
    config.data.eval_split = "test"
    config.augment.flip = False
    config.preprocessing = "imagenet"
    config.model.name = "segnet"
    config.model.dropout_rate = 0.5
    config.pretrained.weights = "vgg16"
    config.loss.class_weights = "published_sunrgbd"
    config.loss.normalization = "pixels"
    config.optimizer.learning_rate = 0.001
    config.optimizer.schedule = "constant"
    config.optimizer.momentum = 0.9
    config.optimizer.weight_decay = 5e-4
    config.optimizer.decay_scale = True
    config.optimizer.bias_rate = 2.0
    config.train.duration = "180000 steps"
    config.train.batch_size = 4
    config.train.eval_every = "5000 steps"
    config.train.checkpoint_every = "500 steps"
    config.eval.batch_norm = "exact"
    return config
