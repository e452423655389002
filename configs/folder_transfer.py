"""From a trained 2015 SegNet to your own images: the three ways of the 2015 paper (arXiv 1505.07293, table 3).

python -m segnet_jax.main --config=configs/folder_transfer.py:L4 --workdir=runs/mine_L4 --config.data.root=FOLDER \
    --config.transfer.source=runs/camvid_segnet_flat

After the colon: R starts from random weights and trains everything; SM takes the source's network and trains a
classifier with one hidden layer on it; L4 trains the deepest pair alone, for two epochs. The paper goes from CamVid to
KITTI, whose images it cuts to the central 360x480, and reports of the test images, in per cent:

    R   class average accuracy 60.0, global accuracy 89.7
    L4  58.4, 83.0
    SM  43.8, 58.7

With L4 the classifier is the source's, so it can only name the classes that the source knows. They are found by name;
config.transfer.same_classes says which class here is which one there. FOLDER is as configs/folder.py says.
"""

import ml_collections

from segnet_jax.config import default_config


def get_config(variant: str = "L4") -> ml_collections.ConfigDict:
    """Returns one of the rows of table 3: R, SM or L4."""
    config = default_config()
    config.data.name = "folder"
    config.data.root = "data/mine"
    # For masks in the colours of Ros et al. 2015:
    config.data.classes = (
        dict(name="Sky", color=(128, 128, 128)),
        dict(name="Building", color=(128, 0, 0)),
        dict(name="Road", color=(128, 64, 128)),
        dict(name="Sidewalk", color=(0, 0, 192)),
        dict(name="Fence", color=(64, 64, 128)),
        dict(name="Vegetation", color=(128, 128, 0)),
        dict(name="Pole", color=(192, 192, 128)),
        dict(name="Car", color=(64, 0, 128)),
        dict(name="Sign", color=(192, 128, 128)),
        dict(name="Pedestrian", color=(64, 64, 0)),
        dict(name="Cyclist", color=(0, 128, 192)),
        dict(name="Unlabelled", color=(0, 0, 0), ignored=True),
    )
    config.data.image_size = (180, 240)
    config.preprocessing = "lcn"
    config.model.name = "segnet_flat"
    config.loss.class_weights = "inverse_frequency"
    config.loss.normalization = "weights"
    config.train.batch_size = 4
    config.train.duration = "50 epochs"
    if variant == "SM":
        config.model.hidden_features = 64
        config.transfer.source = "runs/camvid_segnet_flat"
        config.transfer.fresh = "conv_classifier.*"
        config.transfer.trained = "conv_classifier.*"
    elif variant == "L4":
        config.transfer.source = "runs/camvid_segnet_flat"
        config.transfer.trained = "(conv4|conv_decode4)/.*"
        config.transfer.same_classes = (
            ("Sidewalk", "Pavement"),
            ("Vegetation", "Tree"),
            ("Sign", "SignSymbol"),
            ("Cyclist", "Bicyclist"),
        )
        config.train.duration = "2 epochs"
    elif variant != "R":
        raise ValueError(f"the variants are R, SM and L4, not {variant!r}")
    return config
