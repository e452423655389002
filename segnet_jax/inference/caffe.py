"""The authors' trained networks in Caffe's format as trained networks of this package.

Their files hold no class tables; those of their data sets are told by the number of outputs.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from segnet_jax.data.class_table import ClassTable, SegmentationClass, palette_color
from segnet_jax.data.datasets.camvid import CAMVID11
from segnet_jax.data.datasets.indoor_classes import SUNRGBD37
from segnet_jax.data.preprocessing import RGB
from segnet_jax.inference.trained_model import variable_shapes
from segnet_jax.weights.caffe_network import (
    classifier,
    convert,
    first_features,
    has_separate_classifier,
    named_network,
    recognize,
)
from segnet_jax.weights.caffemodel import read_caffemodel
from segnet_jax.weights.prototxt import read_prototxt

_log = logging.getLogger("segnet_jax")

_CAMVID = [(entry.name, entry.color) for entry in CAMVID11.classes if not entry.ignored]

CAMVID12 = ClassTable.from_colors(
    "camvid12", 12, "Unlabelled", [*_CAMVID[:3], ("RoadMarking", (255, 69, 0)), *_CAMVID[3:]]
)
"""The classes of the authors' web demo, which tells markings from the road."""

VOC21 = ClassTable(
    "voc21",
    tuple(
        SegmentationClass(name, number, palette_color(number))
        for number, name in enumerate(
            [
                *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
                *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train"),
                "tvmonitor",
            ]
        )
    ),
)
"""The classes of PASCAL VOC."""

# By the classifier's outputs: classes, and the (height, width) of images in the authors' prototxts.
_KNOWN: dict[int, tuple[ClassTable, tuple[int, ...]]] = {
    11: (CAMVID11, (360, 480)),
    12: (CAMVID12, (360, 480)),
    21: (VOC21, (224, 224)),
    38: (SUNRGBD37, (360, 480)),
}

_DATA_SETS = {CAMVID11.name: "camvid", SUNRGBD37.name: "sunrgbd"}


def read_caffe_network(
    path: str | Path, prototxt: str | Path = "", architecture: str = ""
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reads a .caffemodel file of SegNet or SegNet-Basic, at any width.

    Which of them it is, its normalisation of images and its dropout are told by the .prototxt file, else by the
    architecture, else by the layers in the .caffemodel file itself. Outputs for labels that the authors ignored, as
    SUN RGB-D's first, are left out.

    Args:
      path: of the .caffemodel file.
      prototxt: of inference; "" has none.
      architecture: segnet, segnet_basic, bayesian_segnet or bayesian_segnet_basic; "" leaves it to the file.

    Returns:
      Metadata as a checkpoint has them, and variables, NumPy float32.

    Raises:
      InputError: if a file cannot be read, is damaged, or holds another network.
    """
    layers = read_caffemodel(path)
    definition = read_prototxt(prototxt) if prototxt else None
    if definition:
        network = recognize(definition.layers, str(prototxt))
    else:
        network = named_network(architecture) if architecture else recognize(layers, str(path))
    count = len(classifier(layers, str(path)).blobs[0])
    names = [f"class {number}" for number in range(count)]
    table, size = _KNOWN.get(count) or (ClassTable.from_entries(f"{count} classes", names), (360, 480))
    size = definition.image_size if definition and definition.image_size else size
    _log.info(
        "%s is %s with %d outputs, the classes of %s; images are resized to %dx%d.",
        *(path, network.name, count, table.name, *size),
    )
    metadata = {
        "config": {
            "data": {"name": _DATA_SETS.get(table.name, "folder"), "image_size": list(size)},
            "preprocessing": network.normalization,
            "model": {
                "name": network.name,
                "width_multiplier": first_features(layers, network.name, str(path)) / 64,
                "dropout_rate": network.dropout_rate,
            },
        },
        "class_table": table.to_dict(),
        "modalities": list(RGB),
        "model": {"separate_classifier": has_separate_classifier(layers, network.name, str(path))},
        "exact_batch_stats": True,
    }
    outputs = [entry.id for entry in table.classes if not entry.ignored]
    return metadata, convert(layers, network.name, variable_shapes(metadata), outputs, str(path))
