"""Tests for segnet_jax/inference/preparation.py."""

import pytest

from segnet_jax.inference.preparation import Preparation


@pytest.mark.parametrize(
    ("size", "method", "expected"),
    [
        ((), "stretch", (375, 1242)),
        ((180, 240), "stretch", (180, 240)),
        ((180, 240), "fit", (72, 240)),  # 375 * 240 / 1242 = 72.46
        ((180, 240), "crop", (180, 596)),  # 1242 * 180 / 375 = 596.16
        ((360, 480), "center", (375, 1242)),
    ],
)
def test_network_size_shows_whole_images_at_the_scale_of_training(size, method, expected):
    assert Preparation(size, method, 65535, None, 0).network_size(375, 1242) == expected
