"""SegNet on your own images and masks.

    python -m segnet_jax.data.check --root=FOLDER --write=mine.py
    python -m segnet_jax.main --config=mine.py --workdir=runs/mine

FOLDER holds `images/` and `masks/`, a mask for every image and of the same name; docs/data.md says what else may lie
there. The first command makes a copy of this file, with the classes and sizes that it finds in FOLDER.
"""

import ml_collections

from segnet_jax.config import default_config


def get_config() -> ml_collections.ConfigDict:
    """Returns a start from ImageNet's weights that suits some hundreds of images."""
    config = default_config()
    config.data.name = "folder"
    config.data.root = "data/mine"
    # Each class with its value in indexed masks and its colour in colour masks:
    #   config.data.classes = (
    #       dict(name="background", id=0, color=(0, 0, 0)),
    #       dict(name="road", id=1, color=(128, 64, 128)),
    #       dict(name="unlabelled", id=255, color=(255, 255, 255), ignored=True),
    #   )
    config.data.classes = ()
    config.data.image_size = (360, 480)
    config.augment.brightness = 0.2
    config.augment.contrast = 0.2
    config.pretrained.weights = "vgg16"
    config.model.batch_norm_momentum = 0.97
    config.loss.class_weight_power = 0.5
    config.loss.normalization = "weights"
    config.optimizer.learning_rate = 0.05
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup = "30 steps"
    config.optimizer.nesterov = True
    config.train.duration = "50 epochs"
    config.train.batch_size = 4
    config.train.eval_every = "5 epochs"
    return config
