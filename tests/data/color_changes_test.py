"""Tests for segnet_jax/data/color_changes.py."""

import re
from unittest import mock

import numpy as np
import pytest

from segnet_jax.data.color_changes import ColorChanges
from segnet_jax.errors import InputError
from tests.helpers.examples import noise

_LUMA = np.array([0.299, 0.587, 0.114])


def rng_of(*draws):
    """A generator whose `uniform` gives these: for brightness, contrast, saturation and hue, from -1 to 1."""
    return mock.Mock(spec=np.random.Generator, uniform=mock.Mock(side_effect=draws))


def jittered(colors, draws, **amounts):
    """The colours [N, 3], as one image, after a jitter with these draws."""
    image = np.asarray(colors, np.uint8)[None]
    return ColorChanges(**amounts)(image, rng_of(*draws))[0].tolist()


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
        changed = ColorChanges(saturation=0.5, hue=0.5)(image.astype(np.uint8), rng)
        np.testing.assert_allclose(changed @ _LUMA, image @ _LUMA, atol=0.51)
        assert (changed != image).any()


def test_jitter_fills_the_ranges():
    image = np.full((2, 2, 3), 100, np.uint8)
    rng = np.random.default_rng(0)
    greys = []
    for _ in range(300):
        changed = ColorChanges(brightness=0.2, contrast=0.3, saturation=0.4, hue=0.5)(image, rng)
        assert changed.dtype == np.uint8
        # On even grey the other changes show nothing.
        assert np.ptp(changed) == 0
        greys.append(int(changed[0, 0, 0]))
    assert 80 <= min(greys) <= 82
    assert 118 <= max(greys) <= 120


def test_gamma_raises_colours_to_a_power():
    colors = [[0, 51, 255], [102, 153, 204]]
    # 255 * (v / 255) ** 2, and ** 0.5.
    assert jittered(colors, (1,), gamma=1) == [[0, 10, 255], [41, 92, 163]]
    assert jittered(colors, (-1,), gamma=1) == [[0, 114, 255], [161, 198, 228]]
    assert jittered(colors, (0,), gamma=1) == colors


def test_blur_is_a_gaussian_of_the_drawn_width():
    image = np.zeros((41, 41, 3), np.uint8)
    image[20, 20] = (255, 0, 255)
    image[:, :3] = 200
    found = ColorChanges(blur=4.0)(image, rng_of(0.5))
    weights = np.exp(-((np.arange(41) - 20.0) ** 2) / (2 * 2.0**2))
    weights /= weights.sum()
    np.testing.assert_allclose(found[5:36, 12:29, 0], 255 * np.outer(weights, weights)[5:36, 12:29], atol=0.51)
    assert not found[:, 12:, 1].any()
    # Beyond the border it goes on as at the border: all of a Gaussian up to 2.5 pixels, 1.25 deviations, to the right.
    np.testing.assert_allclose(found[:, 0], 200 * 0.894, atol=1)


def test_noise_has_the_drawn_deviation():
    image = np.full((100, 100, 3), 128, np.uint8)
    rng = np.random.default_rng(3)
    drawn = mock.Mock(spec=np.random.Generator, uniform=lambda: 0.5, standard_normal=rng.standard_normal)
    difference = ColorChanges(noise=20.0)(image, drawn).astype(float) - 128
    assert abs(difference.mean()) < 0.2
    assert difference.std() == pytest.approx(10, rel=0.02)
    assert np.abs(np.corrcoef(difference.reshape(-1, 3).T) - np.eye(3)).max() < 0.05


def test_color_changes_of_floats_leave_what_is_missing():
    image = np.random.default_rng(0).uniform(0, 255, (6, 7, 3)).astype(np.float32)
    changes = ColorChanges(brightness=0.2, gamma=0.5, blur=2.0, noise=3.0)
    whole = changes(image, np.random.default_rng(1))
    assert whole.dtype == np.float32
    assert (whole % 1 != 0).any()
    assert whole.min() >= 0
    assert whole.max() <= 255
    image[2, 3] = np.nan
    found = changes(image, np.random.default_rng(1))
    assert np.isnan(found[2, 3]).all()
    assert np.isnan(found).sum() == 3


@pytest.mark.parametrize(
    "values",
    [
        {"brightness": -0.1},
        {"brightness": 1.1},
        {"saturation": float("nan")},
        {"hue": 0.6},
        {"gamma": -1},
        {"blur": 101},
        {"noise": 256},
    ],
)
def test_color_changes_names_a_wrong_value(values):
    ((name, value),) = values.items()
    with pytest.raises(InputError, match=re.escape(f"augment.{name}={value} ")):
        ColorChanges(**values)
