"""A configuration whose whole run takes a few seconds."""

import ml_collections

from segnet_jax.config import default_config


def make_tiny_config() -> ml_collections.ConfigDict:
    """Returns a run of six steps on 16x24 scenes, of a network with four features."""
    config = default_config()
    config.data.scene_size = (16, 24)
    config.data.train_scenes = 16
    config.data.eval_scenes = 9
    config.data.num_threads = 1
    config.model.name = "segnet_basic"
    config.model.width_multiplier = 1 / 16
    config.loss.class_weights = "none"
    config.optimizer.learning_rate = 0.05
    config.train.batch_size = 8
    config.train.duration = "6 steps"
    config.train.log_every = "2 steps"
    config.train.eval_every = "3 steps"
    config.train.checkpoint_every = "2 steps"
    config.eval.pictures = 2
    return config


def make_flat_config() -> ml_collections.ConfigDict:
    """Returns a run of two steps of the 2015 network, which computes the same in training and in evaluation."""
    config = make_tiny_config()
    config.preprocessing = "lcn"
    config.model.name = "segnet_flat"
    config.model.pairs = 2
    config.train.duration = "2 steps"
    config.train.log_every = "1 steps"
    config.train.eval_every = "0 steps"
    config.optimizer.learning_rate = 0.1
    return config


def config_with(**values):
    """Returns the defaults with some values changed, such as `train__batch_size=4`."""
    config = default_config()
    config.update_from_flattened_dict({key.replace("__", "."): value for key, value in values.items()})
    return config
