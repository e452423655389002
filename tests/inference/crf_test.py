"""Tests for segnet_jax/inference/crf.py."""

import numpy as np
import pytest
from scipy import special

from segnet_jax.inference.crf import DenseCRF


def exact_mean_field(crf, image, probabilities):
    """Computes Krähenbühl and Koltun's algorithm 1 over every pair of pixels, in float64."""
    height, width, num_classes = probabilities.shape
    places = np.indices((height, width)).reshape(2, -1).T.astype(float)
    colors = image.reshape(len(places), -1).astype(float)

    def kernel(*features):
        squares = sum(((x[:, None] - x) ** 2).sum(axis=-1) / std**2 for x, std in features)
        values = np.exp(-squares / 2)
        return values / values.sum(axis=1, keepdims=True)

    weighted = crf.position_weight * kernel((places, crf.position_std))
    weighted += crf.bilateral_weight * kernel((places, crf.bilateral_position_std), (colors, crf.bilateral_color_std))
    unary = -np.log(np.maximum(probabilities.reshape(-1, num_classes).astype(float), 1e-20))
    marginals = probabilities.reshape(-1, num_classes)
    differ = 1 - np.eye(num_classes)
    for _ in range(crf.iterations):
        # Potts model: a label costs the weighted marginals of all others in the neighbourhood.
        marginals = special.softmax(-unary - (weighted @ marginals) @ differ, axis=1)
    return marginals.reshape(probabilities.shape)


def scene(seed=0, height=20, width=28, num_classes=3, noise=0.35):
    """Draws a noisy image of three regions, its labels, and uncertain probabilities that are wrong in places."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((height, width), int)
    labels[:, width // 2 :] = 1
    labels[height // 2 :, : width // 3] = 2
    colors = np.array([(200, 40, 40), (40, 180, 60), (50, 60, 210)])
    image = np.clip(colors[labels] + rng.normal(0, 6, (height, width, 3)), 0, 255).astype(np.uint8)
    logits = np.eye(num_classes)[labels] * 1.5 + rng.normal(size=(height, width, num_classes)) * noise * 4
    return image, labels, special.softmax(logits, axis=-1).astype(np.float32)


@pytest.mark.parametrize(
    "crf",
    [
        DenseCRF(),
        DenseCRF(iterations=1),
        DenseCRF(iterations=3, position_weight=0.7, position_std=1.5, bilateral_weight=2.0, bilateral_position_std=6.0),
        DenseCRF(iterations=4, bilateral_color_std=60.0, bilateral_position_std=4.0),
    ],
)
def test_dense_crf_marginals_are_near_the_exact_ones(crf):
    image, labels, probabilities = scene()
    expected = exact_mean_field(crf, image, probabilities)
    found = np.asarray(crf(image, probabilities))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.sum(axis=-1), 1, atol=1e-5)
    assert np.abs(found - expected).mean() < 0.01
    assert np.mean(found.argmax(-1) == expected.argmax(-1)) > 0.99
    assert np.abs(probabilities - expected).mean() > 0.05, "the CRF does more than its error"


def test_dense_crf_with_the_position_kernel_alone_is_exact():
    image, _, probabilities = scene(1, 13, 17)
    crf = DenseCRF(iterations=5, bilateral_weight=0.0, position_std=2.0)
    np.testing.assert_allclose(crf(image, probabilities), exact_mean_field(crf, image, probabilities), atol=2e-6)


def test_dense_crf_follows_the_image():
    image, labels, probabilities = scene(noise=0.3)
    before = np.mean(probabilities.argmax(-1) == labels)
    after = np.mean(np.asarray(DenseCRF()(image, probabilities)).argmax(-1) == labels)
    assert before < 0.9
    assert after > 0.99


def test_dense_crf_without_weights_leaves_the_prediction():
    image, _, probabilities = scene()
    silent = DenseCRF(position_weight=0.0, bilateral_weight=0.0)
    np.testing.assert_allclose(silent(image, probabilities), probabilities, atol=1e-6)


def test_dense_crf_keeps_equal_pixels_equal():
    # Whatever the weights, a network's certainty about an image of one colour is not changed where all agree.
    probabilities = np.tile(np.float32([0.6, 0.3, 0.1]), (6, 9, 1))
    result = np.asarray(DenseCRF()(np.full((6, 9, 3), 90, np.uint8), probabilities))
    np.testing.assert_allclose(result, np.broadcast_to(result[0, 0], result.shape), atol=1e-5)
    assert result[0, 0, 0] > 0.99


def test_dense_crf_can_overrule_a_probability_of_zero():
    image = np.full((9, 9, 3), 120, np.uint8)
    probabilities = np.tile(np.float32([0.0, 1.0]), (9, 9, 1))
    probabilities[4, 4] = [1.0, 0.0]
    result = np.asarray(DenseCRF(position_weight=60.0)(image, probabilities))
    assert np.isfinite(result).all()
    assert result[4, 4].argmax() == 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 1)])
def test_dense_crf_takes_any_size_and_number_of_channels(shape):
    probabilities = np.random.default_rng(0).dirichlet(np.ones(3), shape).astype(np.float32)
    for channels in (1, 3, 4):
        image = np.random.default_rng(1).integers(0, 256, (*shape, channels), np.uint8)
        crf = DenseCRF(iterations=2)
        np.testing.assert_allclose(crf(image, probabilities), exact_mean_field(crf, image, probabilities), atol=0.05)
