"""SegNet from VGG16's ImageNet weights on KITTI's semantics benchmark in CamVid's 11 classes, at half its resolution.

    python -m segnet_jax.main --config=configs/kitti_segnet.py --workdir=runs/kitti --config.data.root=KITTI

Trained on random crops of 180x240 from the 188x620 that images are scaled to, scored on whole images of that size: the
160 images whose numbers' tens do not end in 4 or 9 against the other 40. In the benchmark's own 19 classes:
--config.data.class_set=cityscapes19. docs/kitti.md has the results of a short run.
"""

import ml_collections

from segnet_jax.config import default_config


def get_config() -> ml_collections.ConfigDict:
    """Returns a run of VGG16's start, tempered class weights and Nesterov's momentum."""
    config = default_config()
    config.data.name = "kitti"
    config.data.root = "data/kitti"
    config.data.class_set = "camvid11"
    config.data.val_fraction = 0.2
    config.data.image_size = (188, 620)
    config.augment.crop_size = (180, 240)
    config.augment.scale = (1.0, 1.5)
    config.pretrained.weights = "vgg16"
    config.model.batch_norm_momentum = 0.97
    config.loss.class_weight_power = 0.5
    config.loss.normalization = "weights"
    config.optimizer.learning_rate = 0.05
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup = "30 steps"
    config.optimizer.nesterov = True
    config.train.duration = "100 epochs"
    config.train.batch_size = 4
    return config
