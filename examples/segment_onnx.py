"""Segments an image with an exported network: needs onnxruntime, numpy and pillow.

python segment_onnx.py NETWORK.onnx IMAGE LABELS.png
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image

network, source, target = sys.argv[1:]
session = onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"])
metadata = session.get_modelmeta().custom_metadata_map
image = Image.open(source).convert("RGB")
size = image.size
if metadata["image_size"]:  # HEIGHTxWIDTH, to which training resized its images
    height, width = map(int, metadata["image_size"].split("x"))
    image = image.resize((width, height), Image.Resampling.BILINEAR)
(labels,) = session.run(None, {"images": np.asarray(image)[None]})

mask = Image.fromarray(labels[0]).resize(size, Image.Resampling.NEAREST)
mask.putpalette(np.ravel(json.loads(metadata["palette"])).tolist())
mask.save(target)
for label, name in enumerate(json.loads(metadata["classes"])):
    print(f"{np.mean(labels == label):7.2%}  {name}")
