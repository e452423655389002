"""Tests for segnet_jax/inference/tiles.py."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from segnet_jax.errors import InputError
from segnet_jax.inference.tiles import blend_tiles


def whole(bands):
    """Joins bands, and asserts that they follow each other."""
    parts = []
    for top, band in bands:
        assert top == sum(map(len, parts))
        parts.append(band)
    return np.concatenate(parts)


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(st.integers(1, 260), st.integers(1, 260)),
    tile=st.sampled_from([64, 96, 128]),
    overlap=st.sampled_from([32, 64]),
)
def test_blend_tiles_gives_a_score_that_looks_at_its_pixel_alone_to_every_pixel(size, tile, overlap):
    if overlap > tile // 2:
        overlap = 32
    image = np.random.default_rng(0).random((*size, 2), np.float32)
    shapes = []

    def score(part):
        shapes.append(part.shape)
        return np.concatenate([3 * part, 1 - part[..., :1]], axis=-1)

    scores = whole(blend_tiles(score, image, tile=tile, overlap=overlap))
    np.testing.assert_allclose(scores, score(image), rtol=1e-5, atol=1e-6)
    assert max(max(shape[:2]) for shape in shapes[:-1]) <= tile


def test_blend_tiles_equals_the_whole_image_where_a_score_reaches_a_quarter_of_the_overlap():
    image = np.random.default_rng(1).random((300, 211, 1), np.float32)
    radius = 16

    def score(part):
        return ndimage.uniform_filter(part, (2 * radius + 1, 2 * radius + 1, 1), mode="constant")

    scores = whole(blend_tiles(score, image, tile=128, overlap=64))
    np.testing.assert_allclose(scores, score(image), rtol=1e-4, atol=1e-5)


def test_blend_tiles_goes_over_from_tile_to_tile_linearly():
    # Tiles of 64 begin at 0, 32 and 64; each gives its number as the score.
    numbers = iter(range(3))
    image = np.zeros((64, 128, 1), np.float32)
    scores = whole(blend_tiles(lambda part: np.full((*part.shape[:2], 1), next(numbers)), image, tile=64, overlap=32))
    assert (scores[:, :40] == 0).all()
    np.testing.assert_allclose(scores[5, 40:56, 0], (np.arange(16) + 0.5) / 16, rtol=1e-6)
    np.testing.assert_allclose(scores[5, 56:72, 0], 1, rtol=1e-6)
    np.testing.assert_allclose(scores[5, 88:, 0], 2, rtol=1e-6)


@pytest.mark.parametrize(("tile", "overlap"), [(32, 32), (100, 32), (128, 96), (128, 0), (128, 48)])
def test_blend_tiles_refuses_what_does_not_fit(tile, overlap):
    with pytest.raises(InputError, match=f"Tiles of {tile} with an overlap of {overlap} pixels do not fit"):
        list(blend_tiles(lambda part: part, np.zeros((10, 10, 1)), tile=tile, overlap=overlap))
