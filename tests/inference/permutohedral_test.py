"""Tests for segnet_jax/inference/permutohedral.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from segnet_jax.data.datasets.camvid import Camvid
from segnet_jax.data.resize import resize
from segnet_jax.errors import InputError
from segnet_jax.inference.permutohedral import _enclosing_simplex, build_lattice, filter_points


def exact(features, values):
    """Returns the normalised Gaussian filter over all pairs of points."""
    squares = ((features[:, None] - features) ** 2).sum(axis=-1)
    kernel = np.exp(-squares / 2)
    return kernel @ values / kernel.sum(axis=1, keepdims=True)


def approximate(features, values):
    ones = np.ones((len(values), 1))
    sums = np.asarray(filter_points(build_lattice(features), jnp.asarray(np.concatenate([values, ones], axis=1))))
    return sums[:, :-1] / sums[:, -1:]


@settings(max_examples=40, deadline=None)
@given(dimensions=st.integers(1, 6), seed=st.integers(0, 2**32 - 1), scale=st.sampled_from([0.1, 3.0, 200.0]))
def test_enclosing_simplex_places_every_point_by_its_barycentric_coordinates(dimensions, seed, scale):
    rng = np.random.default_rng(seed)
    # Points of the lattice itself and on the faces between simplices are among them.
    features = np.concatenate([rng.normal(size=(20, dimensions)) * scale, np.zeros((1, dimensions))])
    keys, weights = _enclosing_simplex(features)
    assert keys.shape == (21, dimensions + 1, dimensions)
    assert (weights > -1e-9).all()
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-9)
    # On the hyperplane: coordinate i is the sum of those after it, less i times its own (Adams et al., section 3.1).
    scaled = (
        features
        * (dimensions + 1)
        * np.sqrt(2 / 3)
        / np.sqrt(np.arange(1, dimensions + 1) * np.arange(2, dimensions + 2))
    )
    elevated = [scaled[:, i:].sum(axis=1) - (i * scaled[:, i - 1] if i else 0) for i in range(dimensions)]
    np.testing.assert_allclose(
        (weights[..., None] * keys).sum(axis=1), np.transpose(elevated), atol=1e-7 * scale + 1e-9
    )
    # The vertices of a simplex are those with remainders 0 to d, one each.
    remainders = np.sort(keys % (dimensions + 1), axis=1)
    last = -keys.sum(axis=-1) % (dimensions + 1)
    np.testing.assert_array_equal(np.sort(last, axis=1), np.tile(np.arange(dimensions + 1), (21, 1)))
    np.testing.assert_array_equal(remainders, np.tile(np.arange(dimensions + 1)[:, None], (21, 1, dimensions)))


def test_build_lattice_makes_neighbors_each_others():
    features = np.random.default_rng(0).normal(size=(60, 3)) * 2
    neighbors = np.asarray(build_lattice(features).neighbors)
    size = neighbors.shape[-1]
    found = 0
    for before, after in neighbors:
        for vertex in np.flatnonzero(before < size):
            assert after[before[vertex]] == vertex
            found += 1
        assert (before != np.arange(size)).all()
        assert np.count_nonzero(before < size) == np.count_nonzero(after < size)
    assert found > 4 * 60


def test_filter_points_filters_a_dense_line_as_a_gaussian_does():
    # One dimension, far apart in units of the points' distance: the lattice is nearly a Gaussian's convolution.
    features = np.arange(400)[:, None] / 20
    values = np.random.default_rng(0).uniform(size=(400, 2))
    values = ndimage.gaussian_filter1d(values, 6, axis=0)
    np.testing.assert_allclose(approximate(features, values), exact(features, values), atol=0.01)


@pytest.mark.parametrize(("position_std", "color_std"), [(50, 10), (8, 20), (3, 60)])
@pytest.mark.parametrize(
    ("smooth_image", "smooth_values", "greatest", "mean"),
    [(True, True, 0.03, 0.003), (False, True, 0.03, 0.003), (True, False, 0.13, 0.015), (False, False, 0.13, 0.015)],
)
def test_filter_points_gives_bilateral_sums_near_the_exact_ones(
    position_std, color_std, smooth_image, smooth_values, greatest, mean
):
    rng = np.random.default_rng(1)
    height, width = 24, 32
    image = rng.uniform(0, 255, (height, width, 3))
    values = rng.dirichlet(np.full(4, 0.3), (height, width))
    if smooth_image:
        image = ndimage.gaussian_filter(image, (3, 3, 0))
        image = (image - image.min()) / np.ptp(image) * 255
    if smooth_values:
        values = ndimage.gaussian_filter(values, (2, 2, 0))
    places = np.indices((height, width)).reshape(2, -1).T
    features = np.concatenate([places / position_std, image.reshape(-1, 3) / color_std], axis=1)
    values = values.reshape(-1, 4)
    expected = exact(features, values)
    error = np.abs(approximate(features, values) - expected)
    assert error.max() < greatest
    assert error.mean() < mean
    # The filter does much more than the error: the values themselves are far from its result.
    assert np.abs(values - expected).mean() > 3 * error.mean()


def test_filter_points_of_a_photograph_is_near_the_exact_one_on_average(camvid_root):
    example = resize(Camvid(camvid_root, "train")[0], (30, 40))
    places = np.indices((30, 40)).reshape(2, -1).T
    features = np.concatenate([places / 50, example["image"].reshape(-1, 3) / 10.0], axis=1)
    values = np.eye(12)[np.minimum(example["label"], 11).ravel()]
    assert np.abs(approximate(features, values) - exact(features, values)).mean() < 0.005


def test_filter_points_is_linear_and_keeps_constants():
    rng = np.random.default_rng(2)
    features = rng.normal(size=(50, 4))
    lattice = build_lattice(features)
    a, b = rng.normal(size=(2, 50, 3)).astype(np.float32)
    together = filter_points(lattice, jnp.asarray(2 * a - b))
    apart = 2 * filter_points(lattice, jnp.asarray(a)) - filter_points(lattice, jnp.asarray(b))
    np.testing.assert_allclose(together, apart, atol=1e-4)
    np.testing.assert_allclose(approximate(features, np.full((50, 2), 0.3)), 0.3, rtol=1e-5)


def test_filter_points_leaves_points_far_apart_independent():
    features = np.array([[0.0, 0.0], [0.1, 0.0], [40.0, 40.0]])
    result = approximate(features, np.array([[1.0], [0.0], [5.0]]))
    np.testing.assert_allclose(result[:2], 0.5, atol=0.05)
    assert result[2] == pytest.approx(5)


def test_filter_points_compiles_once_for_lattices_of_like_images():
    compiled = jax.jit(filter_points)
    for seed in range(3):
        features = np.random.default_rng(seed).normal(size=(64, 3))
        compiled(build_lattice(features), jnp.ones((64, 2)))
    assert compiled._cache_size() == 1


def test_build_lattice_refuses_a_spread_that_cannot_be_numbered():
    features = np.concatenate([np.zeros((1, 5)), np.full((1, 5), 1e5)])
    with pytest.raises(InputError, match="raise crf.bilateral_position_std or crf.bilateral_color_std"):
        build_lattice(features)
