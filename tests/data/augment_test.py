"""Tests for segnet_jax/data/augment.py."""

import re
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segnet_jax.data.augment import Augmentation, resize
from segnet_jax.data.class_table import VOID
from segnet_jax.errors import InputError

_SPACING = 15
_LUMA = np.array([0.299, 0.587, 0.114])


def example_of(image, label=None):
    image = np.asarray(image, np.uint8)
    label = np.zeros(image.shape[:2], np.uint8) if label is None else np.asarray(label, np.uint8)
    return {"image": image, "label": label, "name": "a"}


def noise(height, width, seed=0):
    rng = np.random.default_rng(seed)
    return example_of(rng.integers(0, 256, (height, width, 3)), rng.integers(0, 250, (height, width)))


def map_of(height, width):
    """An example whose every pixel tells its own row and column, in the image and in the label."""
    rows, columns = np.indices((height, width))
    image = np.stack([rows * _SPACING, columns * _SPACING, np.full_like(rows, 200)], axis=-1)
    return example_of(image, rows * width + columns)


def places_by_label(example, width):
    """Of the labelled pixels: [N, 2], the rows and columns that the label tells."""
    return np.stack(np.divmod(example["label"][example["label"] != VOID].astype(int), width), axis=-1)


def places_by_image(example):
    return example["image"][example["label"] != VOID][:, :2] / _SPACING


def rng_of(*draws):
    """A generator whose `uniform` gives these: for brightness, contrast, saturation and hue, from -1 to 1."""
    return mock.Mock(spec=np.random.Generator, uniform=mock.Mock(side_effect=draws))


def jittered(colors, draws, **amounts):
    """The colours [N, 3], as one image, after a jitter with these draws."""
    image = np.asarray(colors, np.uint8)[None]
    return Augmentation(**amounts)(example_of(image), rng_of(*draws))["image"][0].tolist()


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


def test_augmentation_by_default_changes_nothing():
    example = noise(4, 5)
    changed = Augmentation()(example, np.random.default_rng(0))
    assert changed.keys() == example.keys()
    np.testing.assert_array_equal(changed["image"], example["image"])
    np.testing.assert_array_equal(changed["label"], example["label"])


_ALL = Augmentation((0.5, 2.0), (7, 9), True, 0.2, 0.2, 0.2, 0.1)


def test_augmentation_is_a_function_of_example_and_generator():
    example = noise(8, 10)
    original = {key: np.copy(value) for key, value in example.items()}
    changed = [_ALL(example, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(changed[0]["image"], changed[1]["image"])
    np.testing.assert_array_equal(changed[0]["label"], changed[1]["label"])
    assert (changed[0]["image"] != changed[2]["image"]).any()
    assert changed[0]["name"] == "a"
    for key, value in original.items():
        np.testing.assert_array_equal(example[key], value)


@settings(deadline=None, max_examples=200)
@given(
    size=st.tuples(st.integers(1, 15), st.integers(1, 17)),
    crop=st.just(()) | st.tuples(st.integers(1, 24), st.integers(1, 24)),
    factor=st.floats(0.3, 3.0),
    flip=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_augmentation_scales_crops_and_flips(size, crop, factor, flip, seed):
    example = map_of(*size)
    changed = Augmentation((factor, factor), crop, flip)(example, np.random.default_rng(seed))
    image, label = changed["image"], changed["label"]
    wanted = crop or size
    assert (image.shape, image.dtype, label.shape, label.dtype) == ((*wanted, 3), np.uint8, wanted, np.uint8)
    # A rectangle of the scaled image, and around it, where that is smaller, black and void.
    taken = [min(max(1, round(length * factor)), most) for length, most in zip(size, wanted, strict=True)]
    rows, columns = np.nonzero(label != VOID)
    assert [np.ptp(rows) + 1, np.ptp(columns) + 1, len(rows)] == [*taken, taken[0] * taken[1]]
    assert not image[label == VOID].any()
    assert (image[label != VOID][:, 2] == 200).all()
    # Image and label tell the same place: half a pixel of rounding, and the filter's width at the border.
    distance = places_by_image(changed) - places_by_label(changed, size[1])
    assert np.abs(distance).max() <= 0.55 + 0.25 / min(factor, 1.0)


def test_augmentation_shifts_the_label_by_no_part_of_a_pixel():
    augmentation, rng = Augmentation(scale=(0.7, 1.7), crop_size=(8, 9)), np.random.default_rng(0)
    distances = []
    for _ in range(100):
        # Of odd sizes no place lies between two pixels.
        changed = augmentation(map_of(13, 17), rng)
        distances.append(np.mean(places_by_image(changed) - places_by_label(changed, 17), axis=0))
    np.testing.assert_allclose(np.mean(distances, axis=0), 0, atol=0.05)


@settings(deadline=None, max_examples=100)
@given(
    crop=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    flip=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_augmentation_crops_pixels_as_they_are_without_scaling(crop, flip, seed):
    changed = Augmentation(crop_size=crop, flip=flip)(map_of(12, 17), np.random.default_rng(seed))
    places = places_by_label(changed, 17)
    np.testing.assert_array_equal(places_by_image(changed), places)
    taken = min(crop[0], 12), min(crop[1], 17)
    steps = places.reshape(*taken, 2) - places[0]
    direction = -1 if steps[0, -1, 1] < 0 else 1
    np.testing.assert_array_equal(steps[..., 0], np.indices(taken)[0])
    np.testing.assert_array_equal(steps[..., 1], direction * np.indices(taken)[1])
    assert direction == 1 or flip


@pytest.mark.parametrize(("size", "crop"), [((4, 6), (3, 4)), ((3, 4), (4, 6)), ((4, 4), (3, 6))])
def test_augmentation_draws_the_place_of_a_crop_uniformly(size, crop):
    augmentation = Augmentation(crop_size=crop)
    rng = np.random.default_rng(0)
    counts = np.zeros((2, 3), int)
    for _ in range(600):
        label = augmentation(map_of(*size), rng)["label"]
        row, column = np.argwhere(label != VOID)[0]
        down, right = divmod(int(label[row, column]), size[1])
        counts[row + down, column + right] += 1  # one of each is zero
    assert counts.min() > 70


def test_augmentation_draws_the_scale_log_uniformly():
    augmentation = Augmentation(scale=(0.25, 2.0), crop_size=(1, 128))
    example = example_of(np.zeros((1, 64, 3)))
    rng = np.random.default_rng(0)
    widths = np.array([np.sum(augmentation(example, rng)["label"] != VOID) for _ in range(900)])
    assert 16 <= widths.min() <= 17
    assert 124 <= widths.max() <= 128
    shares = [np.mean((low <= widths) & (widths < 2 * low)) for low in (16, 32, 64)]
    np.testing.assert_allclose(shares, 1 / 3, atol=0.06)


def test_augmentation_mirrors_image_and_label_in_every_second_example():
    example = noise(3, 8)
    augmentation, rng = Augmentation(flip=True), np.random.default_rng(0)
    mirrored = 0
    for _ in range(400):
        changed = augmentation(example, rng)
        is_mirrored = (changed["label"] != example["label"]).any()
        step = -1 if is_mirrored else 1
        np.testing.assert_array_equal(changed["image"], example["image"][:, ::step])
        np.testing.assert_array_equal(changed["label"], example["label"][:, ::step])
        mirrored += is_mirrored
    assert 160 < mirrored < 240


_GREYS = [[100] * 3, [200] * 3]


@pytest.mark.parametrize(
    ("amounts", "draws", "colors", "expected"),
    [
        ({"brightness": 0.5}, (1, 0, 0, 0), [[100, 10, 200], [0, 0, 0]], [[150, 15, 255], [0, 0, 0]]),
        ({"brightness": 0.5}, (-1, 0, 0, 0), [[100, 10, 200], [0, 0, 0]], [[50, 5, 100], [0, 0, 0]]),
        # Contrast stretches around the mean grey.
        ({"contrast": 0.5}, (0, 1, 0, 0), _GREYS, [[75] * 3, [225] * 3]),
        ({"contrast": 0.5}, (0, -1, 0, 0), _GREYS, [[125] * 3, [175] * 3]),
        # The mean luma of red and black is 0.299 * 200 / 2.
        ({"contrast": 1.0}, (0, -1, 0, 0), [[200, 0, 0], [0, 0, 0]], [[30] * 3] * 2),
        # 120 and 240 around 180, the grey that brightness made, halved.
        ({"brightness": 0.2, "contrast": 0.5}, (1, -1, 0, 0), _GREYS, [[150] * 3, [210] * 3]),
        # Luma 124.2 and 29.07.
        ({"saturation": 1.0}, (0, 0, -1, 0), [[200, 100, 50], [0, 0, 255]], [[124] * 3, [29] * 3]),
        # Half as much again: 124.2 + 1.5 * (75.8, -24.2, -74.2); 29.07 + 1.5 * (-29.07, -29.07, 225.93).
        ({"saturation": 0.5}, (0, 0, 1, 0), [[200, 100, 50], [0, 0, 255]], [[238, 88, 13], [0, 0, 255]]),
        # Half a turn of hue goes to the other side of grey, of luma 104.84.
        ({"hue": 0.5}, (0, 0, 0, 1), [[120, 100, 90], [77, 77, 77]], [[90, 110, 120], [77, 77, 77]]),
        ({"hue": 0.5}, (0, 0, 0, -1), [[120, 100, 90], [77, 77, 77]], [[90, 110, 120], [77, 77, 77]]),
    ],
)
def test_jitter_by_hand(amounts, draws, colors, expected):
    assert jittered(colors, draws, **amounts) == expected


def test_jitter_turns_hue_either_way():
    # A third of a turn of red: towards green or towards blue.
    assert {int(np.argmax(jittered([[90, 40, 40]], (0, 0, 0, draw), hue=1 / 3)[0])) for draw in (1, -1)} == {1, 2}


def test_jitter_without_change_is_the_identity():
    image = noise(9, 9)["image"].reshape(-1, 3)
    assert jittered(image, (0, 0, 0, 0), brightness=1, contrast=1, saturation=1, hue=0.5) == image.tolist()


def test_jitter_of_hue_and_saturation_keeps_luma():
    # Far enough from 0 and 255 for nothing to be clipped.
    image = np.random.default_rng(0).integers(100, 156, (20, 20, 3))
    rng = np.random.default_rng(1)
    for _ in range(20):
        changed = Augmentation(saturation=0.5, hue=0.5)(example_of(image), rng)["image"]
        np.testing.assert_allclose(changed @ _LUMA, image @ _LUMA, atol=0.51)
        assert (changed != image).any()


def test_jitter_fills_the_ranges_and_leaves_labels():
    example = example_of(np.full((2, 2, 3), 100), [[0, 1], [255, 7]])
    rng = np.random.default_rng(0)
    greys = []
    for _ in range(300):
        changed = Augmentation(brightness=0.2, contrast=0.3, saturation=0.4, hue=0.5)(example, rng)
        np.testing.assert_array_equal(changed["label"], example["label"])
        assert changed["image"].dtype == np.uint8
        # On even grey the other changes show nothing.
        assert np.ptp(changed["image"]) == 0
        greys.append(int(changed["image"][0, 0, 0]))
    assert 80 <= min(greys) <= 82
    assert 118 <= max(greys) <= 120


@pytest.mark.parametrize("crop_size", [(), (11, 13), (20, 9)])
def test_augmentation_keeps_depth_on_its_pixels(crop_size):
    """A fourth channel that repeats the first one does so after any change of place and size, and keeps its values."""
    example = noise(12, 16)
    deep = {**example, "image": np.dstack([example["image"], example["image"][..., 0]])}
    moves = {"scale": (0.3, 3.0), "crop_size": crop_size, "flip": True}
    for seed in range(20):
        changed = Augmentation(**moves)(deep, np.random.default_rng(seed))["image"]
        assert changed.shape[-1] == 4
        np.testing.assert_array_equal(changed[..., 3], changed[..., 0])
        # RGB is changed as it is without depth.
        np.testing.assert_array_equal(
            changed[..., :3], Augmentation(**moves)(example, np.random.default_rng(seed))["image"]
        )
    jitter = Augmentation(brightness=0.5, contrast=0.5, saturation=0.5, hue=0.5)
    changed = jitter(deep, np.random.default_rng(1))["image"]
    np.testing.assert_array_equal(changed[..., 3], deep["image"][..., 3])
    assert (changed[..., :3] != deep["image"][..., :3]).any()


def test_augmentation_changes_colours_of_rgb_alone():
    """Wherever it is among the modalities; and of one channel alone, which mirroring moves."""
    example = noise(9, 8)
    deep = {**example, "image": np.dstack([example["image"][..., :1], example["image"], example["image"][..., 2:]])}
    amounts = {"flip": True, "brightness": 0.5, "contrast": 0.5, "saturation": 0.5, "hue": 0.5}
    names = (("depth", 1), ("rgb", 3), ("thermal", 1))
    for seed in range(4):
        changed = Augmentation(**amounts, modalities=names)(deep, np.random.default_rng(seed))
        expected = Augmentation(**amounts)(example, np.random.default_rng(seed))
        np.testing.assert_array_equal(changed["image"][..., 1:4], expected["image"])
        step = 1 if (changed["label"] == example["label"]).all() else -1
        np.testing.assert_array_equal(changed["image"][..., [0, 4]], example["image"][:, ::step, [0, 2]])
    alone = {**example, "image": example["image"][..., :1]}
    changed = Augmentation(**amounts, scale=(0.5, 0.5), modalities=(("depth", 1),))(alone, np.random.default_rng(0))
    assert changed["image"].shape == (9, 8, 1)
    assert set(np.unique(changed["image"])) - {0} != set()


def test_augmentation_mirrors_normals():
    """A surface that looks to the left looks to the right in the mirror; up and towards the camera stay as they are."""
    image = np.tile(np.array([[(100, 7, 50, 60), (0, 8, 51, 61)]], np.uint8), (2, 1, 1))
    example = example_of(image)
    augmentation = Augmentation(flip=True, brightness=0.5, modalities=(("thermal", 1), ("normals", 3)))
    turned = [[(0, 247, 51, 61), (100, 248, 50, 60)]] * 2
    found = [augmentation(example, np.random.default_rng(seed))["image"].tolist() for seed in range(8)]
    mirrored = np.array(turned).tolist()
    assert all(result in (image.tolist(), mirrored) for result in found)
    assert mirrored in found
    assert image[0, 0].tolist() == [100, 7, 50, 60]


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("target", [(5, 4), (7, 11)])
def test_resize_treats_each_channel_alike(channels, target):
    planes = [noise(10, 8, seed)["image"][..., 0] for seed in range(channels)]
    together = resize(example_of(np.dstack(planes)), target)["image"]
    assert together.shape == (*target, channels)
    for index, plane in enumerate(planes):
        alone = resize(example_of(np.dstack([plane] * 3)), target)["image"]
        np.testing.assert_array_equal(together[..., index], alone[..., 0])


@pytest.mark.parametrize(
    "values",
    [
        {"scale": (0.0, 1.0)},
        {"scale": (2.0, 1.0)},
        {"scale": (1.0,)},
        {"scale": (1.0, float("nan"))},
        {"brightness": -0.1},
        {"brightness": 1.1},
        {"saturation": float("nan")},
        {"hue": 0.6},
    ],
)
def test_augmentation_names_a_wrong_value(values):
    ((name, value),) = values.items()
    with pytest.raises(InputError, match=re.escape(f"augment.{name}={value} ")):
        Augmentation(**values)
