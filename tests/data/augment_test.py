"""Tests for segnet_jax/data/augment.py."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segnet_jax.data.augment import Augmentation
from segnet_jax.data.class_table import VOID
from segnet_jax.data.color_changes import ColorChanges
from segnet_jax.errors import InputError
from tests.helpers.examples import example_of, floats_of, map_of, noise, places_by_image, places_by_label

_ALL = Augmentation(
    scale=(0.5, 2.0),
    crop_size=(7, 9),
    flip=True,
    class_crops=0.5,
    colors=ColorChanges(0.2, 0.2, 0.2, 0.1, 0.2, 1.0, 3.0),
)


def test_augmentation_by_default_changes_nothing():
    example = noise(4, 5)
    changed = Augmentation()(example, np.random.default_rng(0))
    assert changed.keys() == example.keys()
    np.testing.assert_array_equal(changed["image"], example["image"])
    np.testing.assert_array_equal(changed["label"], example["label"])


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
    # As it is drawn, by its logarithm: the rounding decides where a length is halfway between two numbers of pixels.
    factor = float(np.exp(np.log(factor)))
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
    jitter = Augmentation(colors=ColorChanges(brightness=0.5, contrast=0.5, saturation=0.5, hue=0.5))
    changed = jitter(deep, np.random.default_rng(1))["image"]
    np.testing.assert_array_equal(changed[..., 3], deep["image"][..., 3])
    assert (changed[..., :3] != deep["image"][..., :3]).any()


def test_augmentation_changes_colours_of_rgb_alone():
    """Wherever it is among the modalities; and of one channel alone, which mirroring moves."""
    example = noise(9, 8)
    deep = {**example, "image": np.dstack([example["image"][..., :1], example["image"], example["image"][..., 2:]])}
    amounts = {"flip": True, "colors": ColorChanges(brightness=0.5, contrast=0.5, saturation=0.5, hue=0.5)}
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
    augmentation = Augmentation(
        flip=True, colors=ColorChanges(brightness=0.5), modalities=(("thermal", 1), ("normals", 3))
    )
    turned = [[(0, 247, 51, 61), (100, 248, 50, 60)]] * 2
    found = [augmentation(example, np.random.default_rng(seed))["image"].tolist() for seed in range(8)]
    mirrored = np.array(turned).tolist()
    assert all(result in (image.tolist(), mirrored) for result in found)
    assert mirrored in found
    assert image[0, 0].tolist() == [100, 7, 50, 60]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**20), st.sampled_from([(), (7, 9), (13, 5), (20, 24)]), st.floats(0.4, 2.5))
def test_augmentation_of_floats_keeps_channels_and_label_together(seed, crop, factor):
    """Every channel tells its own column and row, in its own unit, and the label the same; outside all is missing."""
    rows, columns = np.indices((12, 16)).astype(np.float32)
    image = np.stack([columns * 10, rows * 10, columns * 1e-3, rows * 1e3], axis=-1)
    example = floats_of(image, rows * 16 + columns)
    moves = Augmentation(scale=(factor, factor), crop_size=crop, flip=True, modalities=(("bands", 3), ("depth", 1)))
    changed = moves(example, np.random.default_rng(seed))
    found, label = changed["image"], changed["label"]
    assert (found.dtype, found.shape) == (np.float32, (*(crop or (12, 16)), 4))
    outside = label == VOID
    assert np.isnan(found[outside]).all() and not np.isnan(found[~outside]).any()
    row, column = np.divmod(label[~outside].astype(float), 16)
    units = found[~outside] / np.array([10, 10, 1e-3, 1e3])
    # All channels lie in the same place, and the label at the nearest pixel, half of one away at most in either.
    np.testing.assert_allclose(units[:, 0], units[:, 2], atol=1e-3)
    np.testing.assert_allclose(units[:, 1], units[:, 3], atol=1e-3)
    reach = 0.51 + 0.5 / factor if factor < 1 else 0.51
    assert np.abs(units[:, 0] - column).max() <= reach
    assert np.abs(units[:, 1] - row).max() <= reach


def test_augmentation_of_floats_changes_colours_of_rgb_alone_and_mirrors_normals():
    rng = np.random.default_rng(0)
    eight = rng.integers(0, 256, (5, 6, 3), np.uint8)
    depth, normals = rng.normal(2, 1, (5, 6, 1)), rng.normal(0, 1, (5, 6, 3))
    image = np.concatenate([eight, depth, normals], axis=-1).astype(np.float32)
    image[0, 0, 1] = image[1, 1, 3] = np.nan
    amounts = {"colors": ColorChanges(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.1)}
    modalities = (("rgb", 3), ("depth", 1), ("normals", 3))
    mirrored = 0
    for seed in range(6):
        changed = Augmentation(flip=True, **amounts, modalities=modalities)(
            floats_of(image, np.arange(30).reshape(5, 6)), np.random.default_rng(seed)
        )
        found, step = changed["image"], 1 if changed["label"][0, 0] == 0 else -1
        mirrored += step < 0
        np.testing.assert_array_equal(found[..., 3], image[:, ::step, 3])
        np.testing.assert_array_equal(found[..., 4:], image[:, ::step, 4:] * np.float32((step, 1, 1)))
        # As of 8 bits, but for rounding, and for the mean grey, which a pixel is left out of.
        colors = Augmentation(flip=True, **amounts)(example_of(eight), np.random.default_rng(seed))["image"]
        is_there = ~np.isnan(found[..., :3]).any(axis=-1)
        assert is_there.sum() == 29
        assert np.abs(found[is_there, :3] - colors[is_there].astype(float)).max() < 4
    assert 0 < mirrored < 6
    nothing = floats_of(np.full((2, 3, 3), np.nan))
    assert np.isnan(Augmentation(colors=ColorChanges(brightness=0.5))(nothing, np.random.default_rng(0))["image"]).all()


@pytest.mark.parametrize(
    "values",
    [
        {"scale": (0.0, 1.0)},
        {"scale": (2.0, 1.0)},
        {"scale": (1.0,)},
        {"scale": (1.0, float("nan"))},
        {"class_crops": 1.1},
    ],
)
def test_augmentation_names_a_wrong_value(values):
    ((name, value),) = values.items()
    with pytest.raises(InputError, match=re.escape(f"augment.{name}={value} ")):
        Augmentation(**values)


def test_class_crops_have_their_middle_on_a_class_drawn_evenly():
    """Of a large class and a small one, each gets half of the crops; void is never drawn."""
    label = np.zeros((40, 60), np.uint8)
    label[8:12, 40:44] = 7
    label[30:] = VOID
    example = example_of(np.dstack([label] * 3), label)
    augmentation = Augmentation(crop_size=(5, 5), class_crops=1.0)
    middles = [augmentation(example, np.random.default_rng(seed))["label"][2, 2] for seed in range(400)]
    found = dict(zip(*np.unique(middles, return_counts=True), strict=True))
    # Crops that the border moves inwards keep their class here, for the small one is far from it.
    assert set(found) == {0, 7}
    assert 160 <= found[7] <= 240
    half = Augmentation(crop_size=(5, 5), class_crops=0.5)
    rare = [7 in half(example, np.random.default_rng(seed))["label"] for seed in range(400)]
    assert 0.2 <= np.mean(rare) <= 0.32  # half of a half, and some that see it by chance


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_class_crops_go_with_the_scale(factor):
    label = np.zeros((40, 60), np.uint8)
    label[20:24, 30:34] = 7
    augmentation = Augmentation(crop_size=(9, 9), class_crops=1.0, scale=(factor, factor))
    example = example_of(np.dstack([label] * 3), label)
    found = [augmentation(example, np.random.default_rng(seed))["label"] for seed in range(60)]
    middles = [int(crop[4, 4]) for crop in found]
    assert 15 <= middles.count(7) <= 45
    assert all(crop.shape == (9, 9) for crop in found)


def test_class_crops_of_void_images_are_anywhere():
    example = example_of(np.zeros((6, 8, 3)), np.full((6, 8), VOID))
    changed = Augmentation(crop_size=(3, 3), class_crops=1.0)(example, np.random.default_rng(0))
    assert changed["label"].tolist() == [[VOID] * 3] * 3
