"""Tests for segnet_jax/data/resize.py."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segnet_jax.data.class_table import VOID
from segnet_jax.data.resize import resize
from tests.helpers.examples import example_of, floats_of, map_of, noise, places_by_image, places_by_label


def interpolated(values, target):
    """Pillow's bilinear filter along both axes, as matrices: [rows, H] and [columns, W] of weights that add up to 1."""
    matrices = []
    for length, wanted in zip(np.shape(values), target, strict=True):
        scale = length / wanted
        centres = (np.arange(wanted) + 0.5) * scale
        distance = np.abs(np.arange(length) + 0.5 - centres[:, None]) / max(scale, 1.0)
        weights = np.maximum(1 - distance, 0)
        matrices.append(weights / weights.sum(axis=1, keepdims=True))
    return matrices[0] @ values @ matrices[1].T


@pytest.mark.parametrize(("down", "across"), [(2, 2), (2, 5), (1, 4)])
def test_resize_averages_blocks_by_whole_factors(down, across):
    example = noise(6 * down, 7 * across)
    resized = resize(example, (6, 7))
    mean = example["image"].reshape(6, down, 7, across, 3).mean(axis=(1, 3))
    # Rounded once.
    np.testing.assert_allclose(resized["image"], mean, rtol=0, atol=0.5 + 1e-6)
    # Of an even number of pixels the lower and the left one of the two in the middle.
    np.testing.assert_array_equal(resized["label"], example["label"][down // 2 :: down, (across - 1) // 2 :: across])
    assert (resized["image"].dtype, resized["label"].dtype, resized["name"]) == (np.uint8, np.uint8, "a")


def test_resize_interpolates_and_does_not_alias():
    step = np.repeat([[[0], [200]]], 3, axis=2)
    np.testing.assert_array_equal(resize(example_of(step), (1, 3))["image"][0, :, 0], [0, 100, 200])
    stripes = np.tile(step, (4, 20, 1))
    # Seven pixels of forty, each wider than a period: about the mean, where the nearest would be 0 or 200.
    np.testing.assert_allclose(resize(example_of(stripes), (4, 7))["image"], 100, atol=20)


@settings(deadline=None, max_examples=100)
@given(
    size=st.tuples(st.integers(1, 12), st.integers(1, 17)),
    target=st.tuples(st.integers(1, 30), st.integers(1, 30)),
)
def test_resize_takes_the_nearest_label(size, target):
    resized = resize(map_of(*size), target)
    assert resized["image"].shape == (*target, 3)
    assert resized["label"].shape == target
    assert resized["label"].max() < size[0] * size[1]
    centers = np.stack(np.divmod(resized["label"], size[1])) + 0.5
    for axis in (0, 1):
        wanted = (np.indices(target)[axis] + 0.5) * size[axis] / target[axis]
        assert np.abs(centers[axis] - wanted).max() <= 0.5 + 1e-9


@settings(deadline=None, max_examples=100)
@given(target=st.tuples(st.integers(6, 40), st.integers(6, 40)))
def test_resize_keeps_image_and_label_together(target):
    resized = resize(map_of(12, 17), target)
    distance = places_by_image(resized) - places_by_label(resized, 17)
    # Half a pixel to the nearest one; less than another at the border, where the filter lacks a side.
    assert np.abs(distance).max() < 1.0
    assert np.abs(distance.mean(axis=0)).max() <= 0.51


@pytest.mark.parametrize("size", [(), (4, 5), [4, 5]])
def test_resize_to_the_same_size_changes_nothing(size):
    example = noise(4, 5)
    assert resize(example, size) is example


def test_resize_takes_the_lower_left_label_between_pixels():
    label = np.arange(24).reshape(4, 6)
    resized = resize(example_of(np.zeros((4, 6, 3)), label), (6, 9))["label"]
    # Every third place of two thirds of a pixel, from half of one on, is a whole number: 1, 3 and 5.
    np.testing.assert_array_equal(resized, label[np.ix_([0, 1, 1, 2, 3, 3], [0, 0, 1, 2, 2, 3, 4, 4, 5])])


def test_resize_fit_shows_the_whole_image_in_black_and_void():
    resized = resize(map_of(4, 16), (8, 8), "fit")
    assert (resized["image"].dtype, resized["image"].shape, resized["label"].shape) == (np.uint8, (8, 8, 3), (8, 8))
    inner = resize(map_of(4, 16), (2, 8))
    for key, outside in (("image", 0), ("label", VOID)):
        np.testing.assert_array_equal(resized[key][3:5], inner[key])
        assert (resized[key][[0, 1, 2, 5, 6, 7]] == outside).all()
    upright = resize(map_of(16, 3), (8, 9), "fit")
    assert np.flatnonzero((upright["label"] != VOID).all(axis=0)).tolist() == [3, 4]


def test_resize_crop_takes_the_middle_and_keeps_the_ratio():
    example = map_of(4, 16)
    for key, value in resize(example, (4, 8), "crop").items():
        np.testing.assert_array_equal(value, example[key] if key == "name" else example[key][:, 4:12])
    upright = resize(map_of(16, 6), (4, 3), "crop")
    np.testing.assert_array_equal(upright["label"], resize(map_of(16, 6), (8, 3))["label"][2:6])


def test_resize_center_takes_pixels_as_they_are_and_pads_what_is_missing():
    example = map_of(7, 16)
    for key, value in resize(example, (4, 9), "center").items():
        np.testing.assert_array_equal(value, example[key] if key == "name" else example[key][1:5, 3:12])
    padded = resize(example, (10, 5), "center")
    assert (padded["image"].shape, padded["label"].shape, padded["label"].dtype) == ((10, 5, 3), (10, 5), np.uint8)
    for key, outside in (("image", 0), ("label", VOID)):
        np.testing.assert_array_equal(padded[key][2:9], example[key][:, 5:10])
        assert (padded[key][[0, 1, 9]] == outside).all()


@settings(deadline=None, max_examples=100)
@given(
    size=st.tuples(st.integers(1, 15), st.integers(1, 17)),
    target=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    method=st.sampled_from(["fit", "crop"]),
)
def test_resize_keeps_the_ratio(size, target, method):
    resized = resize(map_of(*size), target, method)
    assert (resized["image"].shape, resized["label"].shape) == ((*target, 3), target)
    assert not resized["image"][resized["label"] == VOID].any()
    units = [length / wanted for length, wanted in zip(size, target, strict=True)]
    unit = max(units) if method == "fit" else min(units)
    rows, columns = np.nonzero(resized["label"] != VOID)
    shown = np.ptp(rows) + 1, np.ptp(columns) + 1
    for axis in (0, 1):
        seen = np.unique(places_by_label(resized, size[1])[:, axis])
        if method == "fit":
            assert shown[axis] == max(1, round(size[axis] / unit))
            assert 2 * (rows, columns)[axis].min() - (target[axis] - shown[axis]) in (0, -1)
        else:
            assert shown[axis] == target[axis]
            # About its middle, in steps of one unit.
            assert abs(seen.min() + seen.max() + 1 - size[axis]) <= 1 + 1e-6
            assert abs(np.ptp(seen) - (target[axis] - 1) * unit) <= 1 + 1e-6


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("target", [(5, 4), (7, 11)])
def test_resize_treats_each_channel_alike(channels, target):
    planes = [noise(10, 8, seed)["image"][..., 0] for seed in range(channels)]
    together = resize(example_of(np.dstack(planes)), target)["image"]
    assert together.shape == (*target, channels)
    for index, plane in enumerate(planes):
        alone = resize(example_of(np.dstack([plane] * 3)), target)["image"]
        np.testing.assert_array_equal(together[..., index], alone[..., 0])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**20), st.integers(1, 9), st.integers(1, 9), st.floats(0, 1))
def test_resize_of_floats_goes_by_the_values_that_are_there(seed, height, width, share):
    rng = np.random.default_rng(seed)
    image = rng.normal(1000, 300, (6, 8, 2)).astype(np.float32)
    image[rng.random(image.shape) < share] = np.nan
    found = resize(floats_of(image), (height, width))["image"]
    assert found.dtype == np.float32
    if (height, width) == (6, 8):
        np.testing.assert_array_equal(found, image)
        return
    # By whole factors the filter is the mean of each block.
    is_whole = 6 % height == 0 and 8 % width == 0
    for channel in range(2):
        values, valid = np.nan_to_num(image[..., channel]), ~np.isnan(image[..., channel])
        if is_whole:
            blocks = (height, 6 // height, width, 8 // width)
            total, weight = (part.astype(float).reshape(blocks).mean(axis=(1, 3)) for part in (values, valid))
        else:
            total, weight = (interpolated(part.astype(float), (height, width)) for part in (values, valid))
        sure = np.abs(weight - 0.5) > 1e-3
        expected = np.where(weight >= 0.5, total / np.maximum(weight, 0.25), np.nan)
        np.testing.assert_allclose(found[sure, channel], expected[sure], rtol=1e-4)


def test_resize_fit_of_floats_marks_the_border_as_missing():
    found = resize(floats_of(np.ones((4, 8, 2))), (8, 8), "fit")
    assert np.isnan(found["image"][found["label"] == VOID]).all()
    np.testing.assert_array_equal(found["image"][2:6], np.ones((4, 8, 2)))
