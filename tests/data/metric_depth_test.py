"""Tests for segnet_jax/data/metric_depth.py."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segnet_jax.data.metric_depth import holds_rotated_millimetres, join_depth, sunrgbd_to_metres, to_metres
from tests.helpers.indoor_files import depths_of, rotated


def test_to_metres_marks_what_was_not_measured():
    metres = to_metres(np.array([[0, 500], [5000, 29649]], np.uint16), 5000)
    assert metres.dtype == np.float32
    np.testing.assert_allclose(metres, [[np.nan, 0.1], [1, 5.9298]], rtol=1e-6)
    np.testing.assert_allclose(to_metres(np.array([[0, 2525]], np.uint16)), [[np.nan, 2.525]], rtol=1e-6)


@given(st.integers(1, 65535))
def test_sunrgbd_to_metres_turns_the_bits_back(millimetres):
    coded = rotated(np.array([[millimetres]], np.uint16))
    assert sunrgbd_to_metres(coded)[0, 0] == pytest.approx(min(millimetres / 1000, 8.0), rel=1e-6)


def test_sunrgbd_to_metres_by_hand():
    # 20200 / 8 = 2525 mm; 9000 mm is 0b10001100101000, whose highest bits come last: 9000 * 8 - 65536 + 1.
    metres = sunrgbd_to_metres(np.array([[20200, 72000 - 65536 + 1, 0]], np.uint16))
    np.testing.assert_allclose(metres, [[2.525, 8.0, np.nan]], rtol=1e-6)


def test_holds_rotated_millimetres():
    depth = depths_of(1)[0]
    assert holds_rotated_millimetres(rotated(depth))
    assert not holds_rotated_millimetres(depth * 6 + 1)
    assert holds_rotated_millimetres(np.zeros((2, 2), np.uint16))


def test_join_depth():
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    joined = join_depth(image, np.array([[1.5, np.nan], [0.25, 8]], np.float32))
    assert (joined.dtype, joined.shape) == (np.float32, (2, 2, 4))
    np.testing.assert_array_equal(joined[..., :3], image)
    np.testing.assert_array_equal(joined[..., 3], [[1.5, np.nan], [0.25, 8]])
