"""Tests for segnet_jax/data/preprocessing.py."""

import itertools
import math

import jax
import numpy as np
import pytest

from segnet_jax.data.preprocessing import (
    NORMALIZATIONS,
    RGBD,
    ChannelStatistics,
    create_normalization,
    lcn,
    needs_statistics,
)
from segnet_jax.errors import InputError


def photographs(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def normalize(name, images):
    out = jax.jit(create_normalization(name))(images)
    assert out.dtype == np.float32
    return np.asarray(out)


def test_imagenet_by_hand():
    # Black, white, and a colour whose channels differ.
    images = np.array([[[[0, 0, 0], [255, 255, 255], [51, 102, 204]]]], np.uint8)
    expected = [
        [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225],
        [0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225],
        [(0.2 - 0.485) / 0.229, (0.4 - 0.456) / 0.224, (0.8 - 0.406) / 0.225],
    ]
    np.testing.assert_allclose(normalize("imagenet", images)[0, 0], expected, rtol=1e-5, atol=1e-6)


def test_none_is_raw_bgr():
    images = photographs(2, 3, 4, 3)
    np.testing.assert_array_equal(normalize("none", images), images[..., [2, 1, 0]].astype(np.float32))


def test_lrn_by_hand():
    # One pixel, red 10, green 20, blue 30: squares sum to 1400.
    out = normalize("lrn", np.array([[[[10, 20, 30]]]], np.uint8))
    np.testing.assert_allclose(out[0, 0, 0], np.array([30, 20, 10]) / (1 + 2e-5 * 1400) ** 0.75, rtol=1e-5)


def weights_around(pixel, valid):
    """The Gaussian weights of what is valid of the 9x9 window at a pixel, cut at the border, with sum 1 over pixels."""
    (height, width), (row, column), weights = valid.shape, pixel, {}
    for i, j in itertools.product(range(-4, 5), repeat=2):
        if 0 <= row + i < height and 0 <= column + j < width and valid[row + i, column + j]:
            weights[row + i, column + j] = math.exp(-(i * i + j * j) / (2 * 1.591**2))
    total = sum(weights.values())
    return {pixel: weight / total for pixel, weight in weights.items()}


def lcn_by_loop(image, valid=None):
    """Subtractive, then divisive normalisation of Jarrett et al. 2009, section 2, pixel by valid pixel."""
    x = image.astype(np.float64) / 255
    height, width, _ = x.shape
    valid = np.ones((height, width), bool) if valid is None else valid
    windows = {pixel: weights_around(pixel, valid) for pixel in zip(*np.nonzero(valid), strict=True)}

    def weighted_mean(values, pixel):
        return sum(weight * values[other].mean() for other, weight in windows[pixel].items())

    centred = np.zeros_like(x)
    deviation = np.zeros((height, width))
    for pixel in windows:
        centred[pixel] = x[pixel] - weighted_mean(x, pixel)
    for pixel in windows:
        deviation[pixel] = math.sqrt(weighted_mean(centred**2, pixel))
    divisor = np.maximum(deviation, deviation[valid].mean())[..., None]
    return np.where(valid[..., None], centred / np.where(valid[..., None], divisor, 1), 0)


@pytest.mark.parametrize("shape", [(12, 11, 3), (3, 5, 3), (1, 1, 3), (10, 13, 1)])
def test_lcn_equals_a_loop(shape):
    images = photographs(2, *shape)
    # A flat region, where the image's mean deviation divides.
    images[1, : shape[0] // 2] = 90
    out = normalize("lcn", images)
    for image, expected in zip(out, map(lcn_by_loop, images), strict=True):
        np.testing.assert_allclose(image, expected, rtol=1e-3, atol=1e-4)


def test_lcn_of_each_image_is_its_own():
    images = photographs(3, 8, 9, 3)
    # Of another contrast, so that a mean deviation over the batch would show.
    images[1] //= 8
    together = normalize("lcn", images)
    for i in range(3):
        np.testing.assert_allclose(together[i : i + 1], normalize("lcn", images[i : i + 1]), rtol=1e-4, atol=1e-5)


def test_lcn_is_independent_of_brightness_and_contrast():
    dark = photographs(1, 16, 16, 3) // 4
    np.testing.assert_allclose(normalize("lcn", dark), normalize("lcn", 2 * dark + 30), rtol=1e-3, atol=1e-3)


def test_lcn_of_a_grey_image_is_zero():
    np.testing.assert_allclose(normalize("lcn", np.full((1, 20, 20, 3), 137, np.uint8)), 0, atol=1e-5)


def test_normalization_channel_order():
    # Pure red: the papers' and ImageNet's inputs are RGB, the authors' Caffe models take BGR.
    red = np.array([[[[255, 0, 0]]]], np.uint8)
    brightest = {name: int(normalize(name, red)[0, 0, 0].argmax()) for name in NORMALIZATIONS}
    assert brightest == {"imagenet": 0, "lcn": 0, "lrn": 2, "none": 2}


def test_create_normalization_lists_the_known_names():
    with pytest.raises(InputError, match="preprocessing='zscore' is not known.*imagenet, lcn, lrn, none"):
        create_normalization("zscore")


def test_create_normalization_returns_one_function_for_each_name():
    # A compiled step is found again by its function.
    for name, function in NORMALIZATIONS.items():
        assert create_normalization(name) is function


def test_lcn_takes_each_modality_by_itself():
    images = photographs(2, 12, 13, 4)
    # The edges of the depth are stronger than those of the colours.
    images[..., :3] //= 5
    out = np.asarray(jax.jit(create_normalization("lcn", RGBD))(images))
    for image, found in zip(images, out, strict=True):
        np.testing.assert_allclose(found[..., :3], lcn_by_loop(image[..., :3]), rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(found[..., 3:], lcn_by_loop(image[..., 3:]), rtol=1e-3, atol=1e-4)
    # All four channels as one modality are something else.
    assert np.abs(np.asarray(lcn(images)) - out).max() > 0.1


def test_lcn_is_independent_of_missing_values():
    images, rng = photographs(2, 14, 12, 4), np.random.default_rng(4)
    valid = rng.random((2, 14, 12, 2)) < 0.4
    # In this corner nothing is valid in the whole of a window, and of the second depth map nothing at all.
    valid[0, :9, :9] = False
    valid[1, ..., 1] = False
    normalize = jax.jit(create_normalization("lcn", RGBD))
    out = np.asarray(normalize(images, valid))
    for image, mask, found in zip(images, valid, out, strict=True):
        np.testing.assert_allclose(found[..., :3], lcn_by_loop(image[..., :3], mask[..., 0]), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(out[0, ..., 3:], lcn_by_loop(images[0, ..., 3:], valid[0, ..., 1]), rtol=1e-3, atol=1e-4)
    assert not out[1, ..., 3].any()
    # Other values in the places of the missing ones.
    hidden = np.repeat(~valid, (3, 1), axis=-1)
    changed = np.where(hidden, photographs(2, 14, 12, 4, seed=9), images)
    np.testing.assert_array_equal(normalize(changed, valid), out)


@pytest.mark.parametrize("name", ["imagenet", "lrn", "none"])
def test_normalization_makes_missing_pixels_zero_and_keeps_the_others(name):
    images, valid = photographs(1, 5, 6, 3), np.random.default_rng(1).random((1, 5, 6, 1)) < 0.5
    out = np.asarray(jax.jit(create_normalization(name))(images, valid))
    np.testing.assert_allclose(out, np.where(valid, normalize(name, images), 0), rtol=1e-6)
    assert 0 < valid.sum() < valid.size


def test_create_normalization_refuses_functions_of_other_images():
    for name in ("lrn", "none"):
        with pytest.raises(
            InputError, match=rf"'{name}' is for RGB images, .* rgb \(3\) and depth \(1\); choose .*lcn"
        ):
            create_normalization(name, RGBD, ("rgb", "depth"))
    # Three channels need not be RGB.
    with pytest.raises(InputError, match=r"'imagenet' is for images with RGB, .* are bands \(3\); choose"):
        create_normalization("imagenet", (3,), ("bands",))
    with pytest.raises(InputError, match="The images have 3 channels, but modalities of 3 and 1 channels"):
        create_normalization("lcn", RGBD)(photographs(1, 4, 4, 3))


STATISTICS = ChannelStatistics((90.0, 100.0, 110.0, 2.5), (40.0, 50.0, 60.0, 1.25))


def with_holes(images, seed=0):
    """Returns float32 images of which a quarter of the values is missing, channel by channel."""
    holes = np.random.default_rng(seed).random(images.shape) < 0.25
    return np.where(holes, np.float32(np.nan), images.astype(np.float32))


@pytest.mark.parametrize("missing", [False, True])
def test_standardize_normalizes_each_channel_by_its_own_numbers(missing):
    images = photographs(2, 5, 6, 4)
    images = with_holes(images) if missing else images
    valid = np.random.default_rng(2).random((2, 5, 6, 2)) < 0.7
    normalize = jax.jit(create_normalization("standardize", RGBD, ("rgb", "depth"), STATISTICS))
    expected = (images.astype(np.float64) - STATISTICS.mean) / STATISTICS.std
    np.testing.assert_allclose(normalize(images), np.nan_to_num(expected), rtol=1e-5, atol=1e-6)
    shown = np.where(np.repeat(valid, (3, 1), axis=-1), np.nan_to_num(expected), 0)
    np.testing.assert_allclose(normalize(images, valid), shown, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("names", [("rgb", "depth"), ("depth", "rgb")])
def test_imagenet_takes_rgb_as_ever_and_the_others_by_their_own_numbers(names):
    images = photographs(2, 5, 6, 4)
    modalities, rgb = ((3, 1), slice(0, 3)) if names[0] == "rgb" else ((1, 3), slice(1, 4))
    found = np.asarray(jax.jit(create_normalization("imagenet", modalities, names, STATISTICS))(images))
    np.testing.assert_allclose(found[..., rgb], normalize("imagenet", images[..., rgb]), rtol=1e-6, atol=1e-6)
    depth = 3 if names[0] == "rgb" else 0
    expected = (images[..., depth] - STATISTICS.mean[depth]) / STATISTICS.std[depth]
    np.testing.assert_allclose(found[..., depth], expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["imagenet", "lrn", "none"])
def test_normalization_of_rgb_in_floating_point_numbers(name):
    images = photographs(1, 5, 6, 3)
    holed = with_holes(images)
    whole = ~np.isnan(holed).any(axis=-1, keepdims=True)
    found = jax.jit(create_normalization(name))
    np.testing.assert_allclose(found(images.astype(np.float32)), normalize(name, images), rtol=1e-6)
    np.testing.assert_allclose(found(holed), np.where(whole, normalize(name, images), 0), rtol=1e-6)


def test_lcn_of_floating_point_numbers_takes_nan_for_missing():
    images = photographs(2, 14, 12, 4)
    holed = with_holes(images)
    normalize_lcn = jax.jit(create_normalization("lcn", RGBD))
    valid = np.stack([~np.isnan(holed[..., :3]).any(axis=-1), ~np.isnan(holed[..., 3])], axis=-1)
    expected = normalize_lcn(images, valid)
    # In whatever unit: metres and millimetres look alike.
    for scale in (1.0, 1e-4, 1e3):
        np.testing.assert_allclose(normalize_lcn(holed * np.float32(scale)), expected, rtol=1e-3, atol=1e-4)
    flat = np.full((1, 20, 20, 4), 60_000, np.float32)
    np.testing.assert_allclose(normalize_lcn(flat), 0, atol=1e-5)


def test_needs_statistics():
    assert not needs_statistics("imagenet")
    assert not needs_statistics("lcn", (6,), ("bands",))
    assert needs_statistics("standardize")
    assert needs_statistics("imagenet", RGBD, ("rgb", "depth"))
