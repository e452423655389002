"""SegNet from VGG16's ImageNet weights on CamVid and KITTI together, in CamVid's 11 classes, at 180x240.

    python -m segnet_jax.main --config=configs/camvid_kitti_segnet.py --workdir=runs/camvid_kitti \
        --config.data.root=DATA

DATA holds CamVid in `camvid` and KITTI's semantics benchmark in `kitti`; of KITTI's wide images it takes the middle.
Two images of three are CamVid's. Evaluated on CamVid's validation images, and with --config.eval.mixture=all on
KITTI's too, apart. A step takes as long as one of `camvid_segnet.py`, the run a little longer; it has not been
trained to its end.
"""

import ml_collections

from segnet_jax.config import default_config


def get_config() -> ml_collections.ConfigDict:
    """Returns the values of `camvid_segnet.py` for a mixture."""
    config = default_config()
    config.data.name = "mixture"
    config.data.root = "data"
    config.data.mixture = (
        dict(name="camvid", root="camvid", weight=2.0),
        dict(name="kitti", root="kitti", class_set="camvid11", val_fraction=0.2, weight=1.0),
    )
    config.data.image_size = (180, 240)
    config.data.resize = "crop"
    config.pretrained.weights = "vgg16"
    config.model.batch_norm_momentum = 0.97
    config.loss.class_weight_power = 0.5
    config.loss.normalization = "weights"
    config.optimizer.learning_rate = 0.05
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup = "30 steps"
    config.optimizer.cycles = 2
    config.optimizer.nesterov = True
    config.train.duration = "18 epochs"
    config.train.batch_size = 4
    config.train.eval_every = "2 epochs"
    config.train.checkpoint_every = "0.5 epochs"
    return config
