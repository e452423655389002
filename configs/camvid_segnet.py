"""SegNet from VGG16's ImageNet weights on CamVid."""

import ml_collections

from segnet_jax.config import default_config


def get_config() -> ml_collections.ConfigDict:
    config = default_config()
    config.data.name = "camvid"
    config.data.root = "data/camvid"
    config.data.image_size = (180, 240)
    config.pretrained.weights = "vgg16"
    config.model.batch_norm_momentum = 0.99
    config.loss.class_weight_power = 0.5
    config.optimizer.learning_rate = 0.05
    config.optimizer.schedule = "cosine"
    config.optimizer.nesterov = True
    config.train.duration = "15 epochs"
    config.train.batch_size = 4
    config.train.eval_every = "3 epochs"
    return config
