"""SegNet from VGG16's ImageNet weights on Cityscapes' 19 classes, at half its resolution.

    python -m segnet_jax.main --config=configs/cityscapes_segnet.py --workdir=runs/cityscapes \
        --config.data.root=CITYSCAPES

Trained on random crops of 360x480, scored on whole validation images of 512x1024. In CamVid's 11 classes:
--config.data.class_set=camvid11. The SegNet papers do not use Cityscapes, so the settings are those of
configs/camvid_segnet.py; it has not been run to its end here.
"""

import ml_collections

from segnet_jax.config import default_config


def get_config() -> ml_collections.ConfigDict:
    """Returns a run of VGG16's start, tempered class weights and Nesterov's momentum."""
    config = default_config()
    config.data.name = "cityscapes"
    config.data.root = "data/cityscapes"
    config.data.image_size = (512, 1024)
    config.augment.crop_size = (360, 480)
    config.augment.scale = (0.75, 1.5)
    config.pretrained.weights = "vgg16"
    config.model.batch_norm_momentum = 0.97
    config.loss.class_weight_power = 0.5
    config.loss.normalization = "weights"
    config.optimizer.learning_rate = 0.05
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup = "500 steps"
    config.optimizer.nesterov = True
    config.train.duration = "60 epochs"
    config.train.batch_size = 8
    config.train.eval_every = "5 epochs"
    return config
