"""Tests for segnet_jax/inference/augmented.py."""

import jax.numpy as jnp
import numpy as np
import pytest

from segnet_jax.inference.augmented import augmented_probabilities


class LeftNeighbour:
    """A network of two classes that sees a pixel and the one to its left."""

    num_classes = 2

    def apply(self, variables, images, train):
        assert not train
        left = jnp.pad(images, ((0, 0), (0, 0), (1, 0), (0, 0)))[:, :, :-1]
        return jnp.concatenate([variables * images + left, images - left], axis=-1)


def probabilities_of(images):
    logits = np.asarray(LeftNeighbour().apply(2.0, images, train=False), np.float64)
    exponentials = np.exp(logits)
    return exponentials / exponentials.sum(-1, keepdims=True)


def halved(x):
    """Returns the means of blocks of 2x2, weighed with their neighbours as a bilinear filter of twice the width is."""
    for axis in (1, 2):
        x = np.moveaxis(x, axis, 0)
        weights = np.zeros((len(x) // 2, len(x)))
        for i in range(len(weights)):
            for tap, weight in zip(range(2 * i - 1, 2 * i + 3), (1, 3, 3, 1), strict=True):
                if 0 <= tap < len(x):
                    weights[i, tap] = weight
        weights /= weights.sum(1, keepdims=True)
        x = np.moveaxis(np.tensordot(weights, x, 1), 0, axis)
    return x


def doubled(x):
    """Returns the map of twice the size, whose values lie a quarter pixel beside the old ones."""
    for axis in (1, 2):
        x = np.moveaxis(x, axis, 0)
        before, after = np.concatenate([x[:1], x[:-1]]), np.concatenate([x[1:], x[-1:]])
        x = np.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], 1).reshape(-1, *x.shape[1:])
        x = np.moveaxis(x, 0, axis)
    return x


IMAGES = np.random.default_rng(0).normal(size=(2, 6, 8, 1)).astype(np.float32)


@pytest.mark.parametrize(
    ("scales", "flip", "expected"),
    [
        ((1.0,), True, [probabilities_of(IMAGES), probabilities_of(IMAGES[:, :, ::-1])[:, :, ::-1]]),
        ((1.0, 0.5), False, [probabilities_of(IMAGES), doubled(probabilities_of(halved(IMAGES)))]),
        (
            (0.5,),
            True,
            [
                doubled(probabilities_of(halved(IMAGES))),
                doubled(probabilities_of(halved(IMAGES)[:, :, ::-1]))[:, :, ::-1],
            ],
        ),
    ],
    ids=["flip", "scales", "both"],
)
def test_augmented_probabilities_are_the_mean_over_copies(scales, flip, expected):
    found = augmented_probabilities(LeftNeighbour(), 2.0, IMAGES, scales=scales, flip=flip)
    np.testing.assert_allclose(found, np.mean(expected, axis=0), atol=1e-5)
    np.testing.assert_allclose(np.sum(found, axis=-1), 1.0, atol=1e-5)
