"""SegNet with dropout from VGG16's ImageNet weights on PASCAL VOC 2012, at the 224x224 of the authors' file for VOC.

    python -m segnet_jax.main --config=configs/pascal_voc_segnet.py --workdir=runs/pascal_voc --config.data.root=VOC

The SegNet papers have no scores of VOC; the authors' files hold a network of its 21 classes. From these are the size
of the images and the dropout of 0.5 (here where `segnet` has it, see docs/models.md; there after more layers), and from
their solver of SegNet rate, momentum, decay and batch. Images are shown whole, in black and void.
With SBD's labels: --config.data.train_split=train_aug. It has not been run to its end here.
"""

import ml_collections

from segnet_jax.config import default_config


def get_config() -> ml_collections.ConfigDict:
    """Returns a run with the authors' solver."""
    config = default_config()
    config.data.name = "pascal_voc"
    config.data.root = "data/VOCdevkit"
    config.data.image_size = (224, 224)
    config.data.resize = "fit"
    config.pretrained.weights = "vgg16"
    config.model.dropout_rate = 0.5
    config.loss.class_weights = "none"
    config.optimizer.learning_rate = 0.001
    config.optimizer.decay_scale = True
    config.optimizer.bias_rate = 2.0
    config.train.duration = "40000 steps"
    config.train.batch_size = 4
    config.train.eval_every = "1000 steps"
    config.train.checkpoint_every = "500 steps"
    return config
