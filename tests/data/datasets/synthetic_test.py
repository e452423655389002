"""Tests for segnet_jax/data/datasets/synthetic.py."""

import pickle
from functools import partial

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from segnet_jax.data.class_table import VOID
from segnet_jax.data.datasets import road_scene
from segnet_jax.data.datasets.road_scene import (
    _SHADOW,
    CAR,
    LANE_MARKING,
    PAVEMENT,
    POLE,
    ROAD,
    SIGN,
    SKY,
    TREE,
    _Camera,
    _Paint,
    _Street,
    draw_scene,
)
from segnet_jax.data.datasets.synthetic import SYNTHETIC, SyntheticScenes
from segnet_jax.errors import InputError


def _elements(dataset):
    return [dataset[index] for index in range(len(dataset))]


@pytest.fixture(scope="module")
def scenes():
    return _elements(SyntheticScenes("train", length=50))


def test_synthetic_class_numbers_are_those_of_the_class_table():
    for label, name in enumerate(SYNTHETIC.names):
        assert getattr(road_scene, name.upper()) == label


def test_synthetic_scene_depends_on_seed_split_and_index_alone():
    dataset = SyntheticScenes("train", length=9, seed=5)
    forwards = [dataset[i] for i in range(9)]
    np.random.default_rng(0).random()
    backwards = [SyntheticScenes("train", length=1000, seed=5)[i] for i in reversed(range(9))]
    for one, other in zip(forwards, reversed(backwards), strict=True):
        np.testing.assert_array_equal(one["image"], other["image"])
        np.testing.assert_array_equal(one["label"], other["label"])
        assert one["name"] == other["name"]


def test_synthetic_no_two_scenes_of_any_split_or_seed_are_alike():
    parts = [SyntheticScenes(split, length=12, seed=seed) for split in ("train", "val", "test") for seed in (0, 1, 2)]
    elements = [element for part in parts for element in _elements(part)]
    assert len(elements) == 9 * 12
    assert len({element["image"].tobytes() for element in elements}) == 9 * 12
    # The layout differs too, not only noise and light.
    assert len({element["label"].tobytes() for element in elements}) == 9 * 12
    assert len({element["name"] for element in elements}) == 3 * 12


def test_synthetic_length_and_indices():
    dataset = pickle.loads(pickle.dumps(SyntheticScenes("test", (31, 40), length=3, seed=7)))
    assert (dataset.name, dataset.split, dataset.class_table) == ("synthetic", "test", SYNTHETIC)
    assert [element["name"] for element in _elements(dataset)] == ["test_00000", "test_00001", "test_00002"]
    assert dataset[-3]["name"] == "test_00000"
    assert dataset.shape(1) == (31, 40)
    for read in (dataset.__getitem__, dataset.shape):
        with pytest.raises(IndexError):
            read(3)
    assert [len(SyntheticScenes(split)) for split in ("train", "val", "test")] == [2000, 200, 200]


# A pixel's share of what 50 scenes show, by class: enough to learn from, and nothing swamps the rest.
@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("sky", 0.08, 0.25),
        ("building", 0.1, 0.35),
        ("pole", 0.025, 0.1),
        ("road", 0.2, 0.45),
        ("lane_marking", 0.02, 0.08),
        ("pavement", 0.03, 0.15),
        ("tree", 0.06, 0.25),
        ("sign", 0.007, 0.05),
        ("car", 0.03, 0.15),
        ("pedestrian", 0.005, 0.05),
    ],
)
def test_synthetic_every_class_is_common(scenes, name, least, most):
    label = SYNTHETIC.names.index(name)
    pixels = np.array([np.count_nonzero(element["label"] == label) for element in scenes])
    assert least < pixels.sum() / (len(scenes) * 90 * 120) < most
    # No fewer than 12 pixels, that is: a speck does not count.
    assert np.mean(pixels >= 12) >= 0.75


def test_synthetic_void_occurs_and_is_rare(scenes):
    shares = [np.mean(element["label"] == VOID) for element in scenes]
    assert 0.2 < np.mean(np.array(shares) > 0) < 0.95
    assert 0.0005 < np.mean(shares) < 0.03


def test_synthetic_poles_are_wide_enough_to_be_seen(scenes):
    runs = []
    for element in scenes:
        pole = np.pad(element["label"] == POLE, ((0, 0), (1, 1))).astype(np.int8)
        step = np.diff(pole, axis=1)
        runs += list(np.nonzero(step == -1)[1] - np.nonzero(step == 1)[1])
    assert np.median(runs) >= 3
    assert np.mean(np.array(runs) >= 2) > 0.9


def test_synthetic_surfaces_look_like_what_they_are(scenes):
    for element in scenes:
        image, label = element["image"].astype(float), element["label"]
        median = {k: np.median(image[label == k], axis=0) for k in np.unique(label)}
        road = median[ROAD]
        assert median[LANE_MARKING].mean() > road.mean() + 40
        assert median[SKY].mean() > road.mean()
        assert median[PAVEMENT].mean() > road.mean()
        red, green, blue = median[TREE]
        assert green > blue
    # The sun is not always the same: what is grey in one scene is darker than what is grey in another.
    roads = [np.median(element["image"][element["label"] == ROAD]) for element in scenes]
    assert max(roads) > 1.4 * min(roads)


def _contrast_on_label_borders(image, label):
    """Mean step of the image where the label steps, over horizontal and vertical neighbours."""
    steps = []
    for axis in (0, 1):
        border = np.diff(label.astype(int), axis=axis) != 0
        steps.append(np.abs(np.diff(image.astype(float), axis=axis)).mean(axis=-1)[border])
    return np.concatenate(steps).mean()


@pytest.mark.parametrize("size", [(90, 120), (75, 131)])
def test_synthetic_label_borders_lie_on_image_borders(size):
    shifts = [(rows, columns) for rows in (-1, 0, 1) for columns in (-1, 0, 1)]
    contrast = dict.fromkeys(shifts, 0.0)
    for element in _elements(SyntheticScenes("val", size=size, length=12)):
        image = element["image"][1:-1, 1:-1]
        for rows, columns in shifts:
            label = np.roll(element["label"], (rows, columns), axis=(0, 1))[1:-1, 1:-1]
            contrast[rows, columns] += _contrast_on_label_borders(image, label)
    best = contrast.pop((0, 0))
    assert best > 1.2 * max(contrast.values())


def test_synthetic_scene_is_alike_at_every_size():
    for seed in range(4):
        small = draw_scene(np.random.default_rng(seed), (90, 120))
        large = draw_scene(np.random.default_rng(seed), (270, 360))
        # The middle pixel of each 3 x 3 block.
        assert np.mean(large[1][1::3, 1::3] == small[1]) > 0.96
        blocks = large[0].reshape(90, 3, 120, 3, 3).mean(axis=(1, 3))
        assert np.mean(np.abs(blocks - small[0])) < 8


def _canvas(size=(90, 120)):
    rng = np.random.default_rng(0)
    return _Camera(size, rng), rng


def test_synthetic_near_things_hide_far_ones_in_both_image_and_label(monkeypatch):
    things = (
        (30.0, _Paint((0, 255, 0), TREE)),
        (4.0, _Paint((255, 0, 0), CAR)),
        (9.0, _Paint((0, 0, 255), SIGN)),
    )

    def objects(street):
        return [(z, partial(street.camera.upright, (0, -1, z), 1000, 1000, paint)) for z, paint in things]

    monkeypatch.setattr(_Street, "_objects", objects)
    image, label = draw_scene(np.random.default_rng(1))
    assert (label[:60] == CAR).all()
    assert (image[:60, :, 0] > 2 * image[:60, :, 1].astype(int)).all()


def test_synthetic_paint_without_label_and_haze_leave_the_label_map_alone():
    camera, rng = _canvas()
    camera.upright((0, 0, 10), 3, 3, _Paint((255, 0, 0), SIGN))
    _, before = camera.develop(rng)
    camera.upright((0, 1, 10), 1, 1, _Paint((0, 255, 0)))
    camera.flat((-5, 5), (5, 12), _SHADOW)
    image, after = camera.develop(rng)
    np.testing.assert_array_equal(before, after)
    assert np.count_nonzero(image[..., 1] > 2 * image[..., 0].astype(int)) > 50


def test_synthetic_perspective():
    camera, rng = _canvas()
    # 2 m x 1 m, 10 m away, at a focal length of 100 pixels: 20 x 10 pixels, on the vanishing row at the eye's height.
    camera.upright((0, camera.eye, 10), 2, 1, _Paint((0, 0, 0), CAR))
    rows, columns = np.nonzero(camera.develop(rng)[1] == CAR)
    assert abs(np.ptp(columns) + 1 - 20) <= 1
    assert abs(np.ptp(rows) + 1 - 10) <= 1
    assert abs(rows.max() + 1 - camera.horizon) <= 1
    assert abs(columns.mean() + 0.5 - 60 - camera.column(0, 10)) <= 1


def test_synthetic_distance_dims_towards_the_haze():
    camera, _ = _canvas()
    paint = _Paint((0, 0, 0))
    near, middle, far = (np.array(camera._shade(paint, z)[:3]) for z in (1, 100, 10000))
    assert (near < 5).all()
    assert (near < middle).all()
    assert (middle < far).all()
    np.testing.assert_allclose(far, camera.haze, atol=1)


@pytest.mark.parametrize("size", [(1, 1), (60, 80)])
def test_synthetic_depth_changes_nothing_else(size):
    plain, deep = (SyntheticScenes("val", size, 3, depth=depth) for depth in (False, True))
    assert (plain.modalities, deep.modalities) == ((3,), (3, 1))
    for index in range(3):
        one, other = plain[index], deep[index]
        assert (other["image"].dtype, other["image"].shape) == (np.uint8, (*size, 4))
        np.testing.assert_array_equal(other["image"][..., :3], one["image"])
        np.testing.assert_array_equal(other["label"], one["label"])
        assert other["name"] == one["name"]


def test_synthetic_depth_of_the_ground_is_that_of_the_camera():
    ground = (ROAD, LANE_MARKING, PAVEMENT)
    for seed in range(8):
        image, label = draw_scene(np.random.default_rng(seed), (180, 240), depth=True)
        # Only the sky is out of sight.
        np.testing.assert_array_equal(image[..., 3] == 255, label == SKY)
        # The same camera stands there: it is drawn before the street.
        camera = _Camera((180, 240), np.random.default_rng(seed))
        rows, columns = np.nonzero(np.isin(label, ground))
        # Two pixels of the picture are one of the layout, whose focal length is 100.
        metres = 100 * camera.eye / (rows / 2 + 0.25 - camera.horizon)
        near = metres < 40
        found = image[rows, columns, 3][near] / 2.5
        # Half a step, and the half pixel by which a row may be off.
        bound = 0.2 + metres[near] ** 2 / (100 * camera.eye) * 0.3
        assert near.sum() > 3000
        assert (np.abs(found - metres[near]) <= bound).all()


def test_synthetic_depth_of_things():
    camera, rng = _Camera((90, 120), np.random.default_rng(0), depth=True), np.random.default_rng(0)
    # At 20 m a sign of 4 m x 4 m, a disc before it at 8 m, and a pale shadow over both, which has no surface.
    camera.upright((0, camera.eye - 2, 20), 4, 4, _Paint((255, 0, 0), SIGN))
    camera.ellipse((0, camera.eye, 8), (0.3, 0.3), _Paint((0, 255, 0), TREE))
    camera.flat((-5, 5), (5, 12), _SHADOW)
    image, label = camera.develop(rng)
    assert (image[label == SIGN, 3] == 50).all()
    assert (image[label == TREE, 3] == 20).all()
    assert (image[label == SKY, 3] == 255).all()
    assert np.count_nonzero(label == TREE) > 20


@settings(deadline=None, max_examples=25)
@example(height=1, width=400, seed=0)
@example(height=400, width=1, seed=0)
@given(height=st.integers(1, 70), width=st.integers(1, 70), seed=st.integers(0, 2**32 - 1))
def test_synthetic_any_size(height, width, seed):
    image, label = draw_scene(np.random.default_rng(seed), (height, width))
    assert image.shape == (height, width, 3)
    assert label.shape == (height, width)
    assert image.dtype == label.dtype == np.uint8
    assert set(np.unique(label)) <= {*range(10), VOID}


def test_synthetic_scenes_refuse_an_unknown_split():
    with pytest.raises(InputError, match=r"^No split 'training' .*\['train', 'val', 'test'\]\.$"):
        SyntheticScenes("training")
