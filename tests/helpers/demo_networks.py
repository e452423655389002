"""Networks and files for the page's tests."""

import dataclasses
import io
import struct
import threading
import zlib

import jax
import numpy as np
from PIL import Image

from segnet_jax.inference.segmenter import Segmenter
from segnet_jax.inference.trained_model import load_trained
from tests.helpers.networks import random_variables


def make_segmenter(workdir, *, dropout_rate=0.0, **changes):
    """Returns the network of a run with random weights, which give every class a share of any image."""
    trained = load_trained(workdir)
    model = trained.model.clone(dropout_rate=dropout_rate)
    variables = jax.device_get(random_variables(model))
    return Segmenter(dataclasses.replace(trained, model=model, variables=variables, **changes))


def random_image(*size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def encoded(image, kind="PNG", **options):
    content = io.BytesIO()
    Image.fromarray(image).save(content, kind, **options)
    return content.getvalue()


def png_header(height, width):
    """Returns a PNG file of the size that ends before its pixels."""
    header = b"IHDR" + struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))


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
