"""The 2015 SegNet on KITTI as its paper has it (arXiv 1505.07293, table 3): the centre 360x480 of images, 8 classes.

    python -m segnet_jax.main --config=configs/kitti_segnet_flat.py:R --workdir=runs/kitti_R --config.data.root=KITTI

After the colon a row of the table, which reports of the test images class average and global accuracy in per cent:

    R   60.0, 89.7: everything is trained from random weights
    L4  58.4, 83.0: CamVid's network, of which the deepest pair is trained for two epochs
    SM  43.8, 58.7: CamVid's network, on which a classifier with one hidden layer is trained

L4 and SM start from --config.transfer.source, a run of configs/camvid_segnet_flat_layerwise.py. KITTI holds the
labels of Ros et al. 2015 (Training_00, Validation_07), of which the paper took its images, or else those of the
semantics benchmark, which become the same classes. No row has been run to its end here.

The paper does not name its classes (docs/datasets.md says what speaks for these), nor the width of the hidden layer.
"""

import ml_collections

from segnet_jax.config import default_config


def get_config(variant: str = "R") -> ml_collections.ConfigDict:
    """Returns one of the rows of table 3: R, L4 or SM."""
    config = default_config()
    config.data.name = "kitti"
    config.data.root = "data/kitti"
    config.data.class_set = "kitti8"
    config.data.val_fraction = 0.2
    config.data.image_size = (360, 480)
    config.data.resize = "center"
    config.augment.flip = False
    config.preprocessing = "lcn"
    config.model.name = "segnet_flat"
    config.loss.class_weights = "inverse_frequency"
    config.train.procedure = "layerwise"
    config.train.batch_size = 25
    config.train.accumulation_steps = 25
    config.train.with_replacement = True
    config.train.log_every = "1 steps"
    config.train.eval_every = "0 steps"
    config.train.checkpoint_every = "1 steps"
    if variant == "L4":
        config.transfer.source = "runs/camvid_2015"
        config.transfer.same_classes = (("Sidewalk", "Pavement"), ("Vegetation", "Tree"), ("Sign", "SignSymbol"))
        config.layerwise.first_pair = 4
        config.layerwise.classifier = "never"
        config.layerwise.duration = "2 epochs"
    elif variant == "SM":
        config.transfer.source = "runs/camvid_2015"
        config.transfer.fresh = "conv_classifier.*"
        config.model.hidden_features = 64
        config.layerwise.first_pair = 5
        config.layerwise.classifier = "last"
    elif variant != "R":
        raise ValueError(f"the variants are R, L4 and SM, not {variant!r}")
    return config
