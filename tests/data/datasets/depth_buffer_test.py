"""Tests for segnet_jax/data/datasets/depth_buffer.py."""

import numpy as np
import pytest

from segnet_jax.data.datasets.depth_buffer import DepthBuffer


def test_depth_buffer_what_is_painted_later_hides_what_was_there():
    buffer = DepthBuffer((8, 6))
    buffer.polygon([(1, 1), (6, 1), (6, 4), (1, 4)], [20.0] * 4)
    buffer.ellipse((3, 2, 4, 3), 5.0)
    expected = np.full((6, 8), np.inf)
    expected[1:5, 1:7] = 20
    expected[2:4, 3:5] = 5
    np.testing.assert_allclose(buffer.distances(), expected)


def test_depth_buffer_ground_and_wall_of_a_pinhole_camera():
    """Of a focal length of 100 pixels, 2 m above the ground, with its vanishing point in row 10 and column 0."""
    ground, wall = DepthBuffer((60, 60)), DepthBuffer((60, 60))
    near, far = 4.0, 20.0
    rows = [10 + 100 * 2 / z for z in (near, near, far, far)]
    ground.polygon(list(zip((0, 60, 60, 0), rows, strict=True)), [near, near, far, far])
    found = ground.distances()[20:59]
    np.testing.assert_allclose(found, np.broadcast_to(200 / (np.arange(20, 59) + 0.5 - 10)[:, None], (39, 60)))
    # 3 m to the right of the camera: column 100 * 3 / z.
    columns = [300 / z for z in (6.0, 6.0, 30.0, 30.0)]
    wall.polygon(list(zip(columns, (0, 50, 30, 10), strict=True)), [6.0, 6.0, 30.0, 30.0])
    np.testing.assert_allclose(wall.distances()[20, 11:49], 300 / (np.arange(11, 49) + 0.5))


def test_depth_buffer_no_pixel_lies_beyond_the_corners():
    buffer = DepthBuffer((50, 50))
    # The outermost pixels of a polygon lie half outside of it.
    buffer.polygon([(0, 10), (49, 10), (49, 12), (0, 12)], [40.0, 40.0, 3.0, 3.0])
    buffer.polygon([(5, 30), (5, 30), (5, 40)], [7.0, 8.0, 9.0])
    found = buffer.distances()
    flat, thin = found[10:13], found[30:41, 5]
    assert flat.min() >= 3
    assert flat.max() <= 40
    assert (thin >= 7).all()
    assert (thin <= 9).all()


@pytest.mark.parametrize(("step", "first"), [(1, 0), (2, 1), (3, 1)])
def test_depth_buffer_every_so_many_pixels(step, first):
    buffer = DepthBuffer((12, 12))
    buffer.polygon([(0, 0), (12, 0), (12, 12), (0, 12)], [2.0, 2.0, 9.0, 9.0])
    np.testing.assert_array_equal(buffer.distances(step), buffer.distances()[first::step, first::step])
