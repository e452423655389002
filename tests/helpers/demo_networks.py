"""Networks and files for the page's tests."""

import io
import struct
import threading
import zlib

import jax
import numpy as np
from PIL import Image

from segnet_jax.data.datasets.synthetic import SYNTHETIC
from segnet_jax.data.preprocessing import RGB
from segnet_jax.inference.segmenter import Segmenter
from segnet_jax.inference.trained_model import build_network, build_trained
from tests.helpers.networks import random_variables
from tests.helpers.tiny_config import make_tiny_config


def make_segmenter(*, dropout_rate=0.0, modalities=RGB):
    """Returns a narrow network with random weights, which give every class a share of any image."""
    config = make_tiny_config()
    config.model.dropout_rate = dropout_rate
    config.preprocessing = "imagenet" if modalities == RGB else "lcn"
    metadata = {"config": config.to_dict(), "class_table": SYNTHETIC.to_dict(), "modalities": modalities}
    variables = jax.device_get(random_variables(build_network(metadata), channels=sum(modalities)))
    return Segmenter(build_trained(metadata, variables, config, config, 6, {}, False))


def random_image(*size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def encoded(image, kind="PNG", **options):
    content = io.BytesIO()
    Image.fromarray(image).save(content, kind, **options)
    return content.getvalue()


def png_header(height, width):
    """Returns a PNG file of the size that ends where its pixels begin."""
    header = b"IHDR" + struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    whole = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + whole + struct.pack(">I", 1000) + b"IDAT"


class StubNetwork:
    """Stands in for a DemoNetwork: its `segment` waits for `gate`, then returns the number of bytes or raises."""

    def __init__(self, error=None):
        self.error, self.started, self.gate = error, threading.Event(), threading.Event()

    def describe(self):
        return {"network": "stub"}

    def segment(self, file, uncertainty=False):
        self.started.set()
        assert self.gate.wait(20)
        if self.error:
            raise self.error
        return {"bytes": len(file), "uncertainty": uncertainty}
