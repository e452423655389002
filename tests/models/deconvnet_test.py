"""Tests for segnet_jax/models/deconvnet.py."""

import numpy as np
import pytest

from tests.helpers.networks import assert_logits, images, small_model, vgg_stages
from tests.helpers.numpy_layers import deconvolve, pool, unpool

# The prototxt's decoder.
_DECODER = [
    ["deconv5_1", "deconv5_2", "deconv5_3"],
    ["deconv4_1", "deconv4_2", "deconv4_3"],
    ["deconv3_1", "deconv3_2", "deconv3_3"],
    ["deconv2_1", "deconv2_2"],
    ["deconv1_1", "deconv1_2"],
]


def reference(layers, x):
    """Computes the logits by the authors' prototxt, deconvolutions as such: with the kernels mirrored back."""
    memory = []
    for names in vgg_stages():
        for layer in names:
            x = layers.unit(x, layer)
        shape = x.shape
        x, places = pool(x)
        memory.append((places, shape))
    height, width = x.shape[:2]
    rows, columns = max(0, 7 - height), max(0, 7 - width)
    top, left = rows // 2, columns // 2
    x = np.pad(x, ((top, rows - top), (left, columns - left), (0, 0)))
    x = layers.unit(layers.unit(x, "fc6", padding=0), "fc7")
    x = layers.deconv(x, "fc6-deconv")[top : top + height, left : left + width]
    x = np.maximum(layers.norm(x, "fc6-deconv"), 0)
    for stage in _DECODER:
        x = unpool(x, *memory.pop())
        for layer in stage:
            x = deconvolve(x, layers.array(layer, "kernel")[::-1, ::-1])[1:-1, 1:-1]
            x = x + layers.array(layer, "bias") if "bias" in layers.params[layer] else x
            x = np.maximum(layers.norm(x, layer), 0)
    return layers.conv(x, "seg-score")


# A pool5 of 8x2: fc6 slides over its rows, and its columns get zeros around them.
@pytest.mark.parametrize(("size", "batch_norm"), [((230, 45), True), ((37, 58), True), ((45, 33), False)])
def test_deconvnet_in_evaluation_equals_a_reference(size, batch_norm):
    model, variables = small_model("deconvnet", batch_norm=batch_norm)
    assert_logits(model, variables, images(1, *size, 3), reference)
