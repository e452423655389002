"""Segments an image with an exported network: needs jax, flatbuffers, numpy and pillow.

python segment_stablehlo.py NETWORK.stablehlo IMAGE LABELS.png
"""

import sys
from pathlib import Path

import numpy as np
from jax import export
from PIL import Image

network, source, target = sys.argv[1:]
segment = export.deserialize(bytearray(Path(network).read_bytes())).call
# It has to have the size that training saw, if training resized its images.
image = np.asarray(Image.open(source).convert("RGB"))
labels = np.asarray(segment(image[None]))[0]
Image.fromarray(labels).save(target)
for label, share in enumerate(np.bincount(labels.ravel()) / labels.size):
    print(f"{share:7.2%}  class {label}")
