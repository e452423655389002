"""Tests for segnet_jax/models/deeplab.py."""

import numpy as np
import pytest

from tests.helpers.networks import assert_logits, images, small_model, vgg_stages
from tests.helpers.numpy_layers import interpolate


def windows(x, value):
    """Returns the 3x3 windows that begin one pixel before the image and later, [H + 2, W + 2, C, 3, 3]."""
    padded = np.pad(x, ((1, 3), (1, 3), (0, 0)), constant_values=value)
    return np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(0, 1))


def reference(layers, x):
    """Computes the logits by the authors' train.prototxt; Caffe pools in ceil mode, and averages zeros too."""
    size = x.shape[:2]
    for number, names in enumerate(vgg_stages(), start=1):
        for layer in names:
            x = layers.unit(x, layer, dilation=2 if number == 5 else 1)
        stride = 2 if number <= 3 else 1
        # As many windows as begin in the image or right behind it.
        rows, columns = (n if stride == 1 else n // 2 + 1 for n in x.shape[:2])
        x = windows(x, -np.inf).max((-2, -1))[::stride, ::stride][:rows, :columns]
    x = windows(x, 0).mean((-2, -1))[: x.shape[0], : x.shape[1]]
    x = layers.conv(layers.unit(layers.unit(x, "fc6", dilation=12), "fc7"), "fc8")
    # Score i lies at pixel 8 i.
    return interpolate(x, 8, size, align_corners=True)


# More than 12 scores in a row, so that the outer taps of fc6 see something.
@pytest.mark.parametrize(("size", "batch_norm"), [((101, 110), True), ((101, 41), False)])
def test_deeplab_in_evaluation_equals_a_reference(size, batch_norm):
    model, variables = small_model("deeplab_largefov", batch_norm=batch_norm)
    assert_logits(model, variables, images(1, *size, 3), reference)
