"""Tests for segnet_jax/data/masking.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segnet_jax.data import preprocessing
from segnet_jax.data.masking import Masking, Missing, valid_pixels
from segnet_jax.errors import InputError


def photographs(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


@pytest.mark.parametrize("block", [1, 3, 8])
def test_valid_pixels_are_missing_with_the_given_probability(block):
    size = (40, 52)
    valid = np.stack([valid_pixels(jax.random.key(seed), size, 0.3, block) for seed in range(20)])
    assert valid.shape == (20, *size)
    # Every square is missing or valid as a whole.
    corners = valid[:, ::block, ::block]
    np.testing.assert_array_equal(corners.repeat(block, 1).repeat(block, 2)[:, : size[0], : size[1]], valid)
    # Five standard deviations of a binomial variable.
    assert 1 - corners.mean() == pytest.approx(0.3, abs=5 * np.sqrt(0.3 * 0.7 / corners.size))


def test_valid_pixels_are_missing_independently():
    valid = valid_pixels(jax.random.key(0), (300, 300), 0.5)
    for shifted in (np.roll(valid, 1, axis=0), np.roll(valid, 1, axis=1)):
        assert (np.asarray(valid) == shifted).mean() == pytest.approx(0.5, abs=5 * 0.5 / 300)


def test_valid_pixels_of_a_greater_share_are_fewer_of_the_same():
    shares = (0.0, 0.2, 0.5, 0.9, 1.0)
    masks = [np.asarray(valid_pixels(jax.random.key(1), (20, 30), share)) for share in shares]
    assert masks[0].all()
    assert not masks[-1].any()
    for valid, fewer in zip(masks[:-1], masks[1:], strict=True):
        assert not (fewer & ~valid).any()
        assert fewer.sum() < valid.sum()


def test_masking_draws_a_share_for_each_image():
    masking = Masking(pixels=(0.2, 0.6))
    valid = np.asarray(masking(jax.random.key(0), jnp.zeros((400, 24, 24, 3), jnp.uint8)))
    assert valid.shape == (400, 24, 24, 1)
    shares = 1 - valid.mean(axis=(1, 2, 3))
    # Uniform from 0.2 to 0.6, and a binomial's spread around that.
    assert shares.mean() == pytest.approx(0.4, abs=0.03)
    assert shares.std() == pytest.approx(0.4 / np.sqrt(12), rel=0.1)
    assert shares.min() > 0.2 - 5 * 0.02
    assert shares.max() < 0.6 + 5 * 0.021


def test_masking_takes_whole_modalities_each_as_often():
    masking = Masking(modality=0.4, num_modalities=2)
    valid = np.asarray(masking(jax.random.key(2), jnp.zeros((2000, 3, 4, 4), jnp.uint8)))
    whole = valid.all(axis=(1, 2))
    np.testing.assert_array_equal(whole, valid.any(axis=(1, 2)))
    assert not (~whole).all(axis=1).any(), "one modality is always there"
    assert (~whole).mean(axis=0) == pytest.approx([0.2, 0.2], abs=5 * np.sqrt(0.2 * 0.8 / 2000))


def test_masking_is_a_function_of_the_key():
    masking, images = Masking(pixels=(0.5, 0.5)), jnp.zeros((2, 9, 9, 3))
    first, again, other = (np.asarray(masking(jax.random.key(seed), images)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert (first[0] != first[1]).any()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"pixels": (0.5, 0.2)}, "masking.pixels"),
        ({"pixels": (0.5,)}, "masking.pixels"),
        ({"block": 0}, "masking.block=0"),
        ({"modality": 1.5, "num_modalities": 2}, "masking.modality=1.5"),
        ({"modality": 0.5}, "the only modality"),
    ],
)
def test_masking_refuses_values_that_make_no_sense(fields, message):
    with pytest.raises(InputError, match=message):
        Masking(**fields)


def test_masking_is_true_if_anything_can_be_missing():
    assert not Masking()
    assert not Masking(block=4)
    assert Masking(pixels=(0.0, 0.1))
    assert Masking(modality=0.1, num_modalities=2)


def test_missing_hides_the_same_of_an_image_in_any_batch():
    images = photographs(4, 15, 17, 3)
    missing = Missing(preprocessing.imagenet, share=0.4, block=2)
    together = np.asarray(missing(images))
    np.testing.assert_array_equal(together[::-1], missing(images[::-1]))
    np.testing.assert_array_equal(together[2:3], missing(images[2:3]))
    valid = np.asarray(missing.valid_mask(images))
    assert (valid[0] != valid[1]).any()
    np.testing.assert_array_equal(together, np.where(valid, preprocessing.imagenet(images), 0))
    assert 1 - valid.mean() == pytest.approx(0.4, abs=5 * np.sqrt(0.24 / (valid.size / 4)))


def test_missing_without_a_modality():
    images = photographs(2, 8, 9, 4)
    normalize = preprocessing.create_normalization("lcn", preprocessing.RGBD)
    whole = np.asarray(normalize(images))
    for modality, channels in ((0, slice(0, 3)), (1, slice(3, 4))):
        found = np.asarray(Missing(normalize, modality=modality, num_modalities=2)(images))
        assert not found[..., channels].any()
        kept = [c for c in range(4) if c not in range(4)[channels]]
        np.testing.assert_allclose(found[..., kept], whole[..., kept], rtol=1e-4, atol=1e-5)
