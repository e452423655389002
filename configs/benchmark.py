"""The benchmark of arXiv 1511.00561 (section 4, Tables 3 and 4): every network of it, trained as the paper trained it.

    python -m segnet_jax.main --config=configs/benchmark.py:deconvnet --workdir=runs/benchmark/deconvnet \
        --config.data.root=CAMVID

After the colon a row of Table 3, for CamVid, or of Table 4, for SUN RGB-D:

    segnet, deeplab_largefov, deeplab_largefov_crf, fcn8s_fixed, fcn8s, deconvnet
    sun_segnet, sun_deeplab_largefov, sun_deeplab_largefov_crf, sun_fcn8s, sun_deconvnet

The paper's: SGD with a fixed learning rate of 0.001 and momentum 0.9; mini-batches of 5 (Table 3) or 4 (Table 4)
images of 360x480; no class balancing; VGG16's ImageNet weights at the start; dropout of 0.5 in all networks;
BatchNorm's statistics from a pass over the training set before each evaluation; and as many iterations as the table
has. It trained Table 3 on 3433 road scenes of several data sets, which were never released as one; here they are
CamVid's 367.

The paper names neither weight decay nor augmentation nor the normalisation of images: they are the 0.0005 of the
authors' files, for kernels and BatchNorm's scales, and twice the rate for biases; none; and the ImageNet weights' own.
Nor does it say FCN's stride (--config.model.name=fcn16s is another), which layers dropout follows (see docs/models.md),
or the CRF's values (DeepLab's here). DeepLab is trained on whole images, where the paper shrank the labels to 45x60. An
evaluation every 5000 steps meets all columns of the tables; metrics.jsonl has their G, C and mIoU.

SUN RGB-D (docs/datasets.md) has no validation images, so those of the test are evaluated. None of the rows has been run
to its end here.
"""

import ml_collections

from segnet_jax.config import default_config

# The network of a row, with what is its own besides the name, and the iterations of Tables 3 and 4; 0: it is not there.
_ROWS = {
    "segnet": ("segnet", {}, 140_000, 240_000),
    "deeplab_largefov": ("deeplab_largefov", {}, 140_000, 240_000),
    "deeplab_largefov_crf": ("deeplab_largefov", {"crf.enabled": True}, 140_000, 240_000),
    "fcn8s_fixed": ("fcn8s", {"model.upsampling": "fixed"}, 200_000, 0),
    "fcn8s": ("fcn8s", {"model.upsampling": "learnt"}, 160_000, 200_000),
    "deconvnet": ("deconvnet", {"model.fc_features": 1024}, 260_000, 380_000),
}
_RUNS = {row: iterations for row, (_, _, iterations, _) in _ROWS.items()}
_RUNS |= {f"sun_{row}": iterations for row, (_, _, _, iterations) in _ROWS.items() if iterations}


def get_config(name: str = "segnet") -> ml_collections.ConfigDict:
    """Returns the configuration of the row `name` of the tables."""
    if name not in _RUNS:
        raise ValueError(f"the rows are {', '.join(_RUNS)}, not {name!r}")
    config = default_config()
    if name.startswith("sun_"):
        config.data.name = "sunrgbd"
        config.data.root = "data/sunrgbd"
        config.data.eval_split = "test"
        config.train.batch_size = 4
    else:
        config.data.name = "camvid"
        config.data.root = "data/camvid"
        config.train.batch_size = 5
    config.data.image_size = (360, 480)
    config.augment.flip = False
    config.preprocessing = "imagenet"
    network, own, *_ = _ROWS[name.removeprefix("sun_")]
    config.model.name = network
    config.model.dropout_rate = 0.5
    config.update_from_flattened_dict(own)
    config.pretrained.weights = "vgg16"
    config.loss.class_weights = "none"
    config.loss.normalization = "pixels"
    config.optimizer.learning_rate = 0.001
    config.optimizer.schedule = "constant"
    config.optimizer.momentum = 0.9
    config.optimizer.weight_decay = 5e-4
    config.optimizer.decay_scale = True
    config.optimizer.bias_rate = 2.0
    config.train.duration = f"{_RUNS[name]} steps"
    config.train.eval_every = "5000 steps"
    config.train.checkpoint_every = "500 steps"
    config.eval.batch_norm = "exact"
    return config
