"""Tests for segnet_jax/training/overlap_losses.py."""

import math

import hypothesis.extra.numpy as hnp
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segnet_jax.data.class_table import VOID
from segnet_jax.training.overlap_losses import dice, labelled_images, lovasz

LOSSES = {"dice": jax.jit(jax.value_and_grad(dice)), "lovasz": jax.jit(jax.value_and_grad(lovasz))}
SHAPE = (3, 2, 4)
K = 4

some_logits = hnp.arrays(np.float32, (*SHAPE, K), elements=st.floats(-8, 8, width=16))
some_labels = hnp.arrays(np.uint8, SHAPE, elements=st.sampled_from([0, 1, 2, VOID]))  # never class 3


def softmax(logits):
    exponentials = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def dice_of(probabilities, truth):
    return 1 - 2 * probabilities[truth].sum() / (probabilities.sum() + truth.sum())


def lovasz_of(probabilities, truth):
    """The Lovász extension by its definition: what each pixel adds to 1 - IoU of the set of wrong pixels, by sets."""

    def jaccard_loss(wrong):
        true = set(np.flatnonzero(truth))
        predicted = true ^ wrong
        return 1 - len(true & predicted) / len(true | predicted)

    errors = np.where(truth, 1 - probabilities, probabilities)
    value, wrong = 0.0, set()
    for pixel in np.argsort(-errors, kind="stable"):
        value += errors[pixel] * (jaccard_loss(wrong | {pixel}) - jaccard_loss(wrong))
        wrong.add(pixel)
    return value


REFERENCES = {"dice": dice_of, "lovasz": lovasz_of}


def by_loop(name, logits, labels):
    """Returns the sum over images of the mean over the classes of an image's labels, in float64."""
    total = 0.0
    for scores, label in zip(logits, labels, strict=True):
        probabilities, label = softmax(scores)[label < K], label[label < K]
        values = [REFERENCES[name](probabilities[:, k], label == k) for k in range(K) if (label == k).any()]
        total += np.mean(values) if values else 0.0
    return total


@settings(deadline=None, max_examples=25)
@given(logits=some_logits, labels=some_labels)
@pytest.mark.parametrize("name", LOSSES)
def test_overlap_losses_equal_a_loop_and_have_finite_gradients(name, logits, labels):
    loss, gradient = LOSSES[name](logits, labels)
    np.testing.assert_allclose(loss, by_loop(name, logits, labels), rtol=1e-4, atol=1e-5)
    assert 0 <= loss <= len(labels) + 1e-5
    assert np.isfinite(gradient).all()
    assert not gradient[labels == VOID].any()


def test_dice_by_hand():
    # Probabilities 3/4, 1/4 in each pixel, labels 0, 0, 1: P T is 3/2 and 1/4, P is 9/4 and 3/4.
    logits = jnp.full((1, 1, 4, 2), jnp.array([math.log(3), 0.0]))
    loss, _ = LOSSES["dice"](logits, np.array([[[0, 0, 1, VOID]]], np.uint8))
    np.testing.assert_allclose(loss, ((1 - 3 / 4.25) + (1 - 0.5 / 1.75)) / 2, rtol=1e-6)


def test_lovasz_by_hand():
    # Class 0 has two of three pixels, with errors 0.1 and 0.3, and a wrong one of 0.4. In falling order they take from
    # the IoU: the wrong one 1/3 (from 2/2 to 2/3), the next 1/3, the last 1/3. Class 1: 0.6, 0.4 of the true one, 0.3.
    probability = np.array([0.9, 0.7, 0.4])
    logits = np.log(np.stack([probability, 1 - probability], -1)).astype(np.float32)
    labels = np.array([[[0, 0, 1]]], np.uint8)
    class_0 = (0.4 + 0.3 + 0.1) / 3
    # Errors of class 1: 0.4 (the true one, which takes the whole), then 0.3 and 0.1, which take nothing more.
    class_1 = 0.4
    loss, gradient = LOSSES["lovasz"](logits[None, None], labels)
    np.testing.assert_allclose(loss, (class_0 + class_1) / 2, rtol=1e-6)
    # By the probability of class 0, the slopes of the mean are -1/6, -1/6 and 1/6 + 1/2.
    own = probability * (1 - probability) * np.array([-1, -1, 4]) / 6
    np.testing.assert_allclose(gradient[0, 0], np.stack([own, -own], -1), rtol=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_overlap_losses_of_certain_predictions_are_the_scores_themselves(name):
    rng = np.random.default_rng(3)
    labels, predictions = rng.integers(0, K, (2, 6, 7)).astype(np.uint8), rng.integers(0, K, (2, 6, 7))
    logits = 100 * np.eye(K, dtype=np.float32)[predictions]
    expected = 0.0
    for label, prediction in zip(labels, predictions, strict=True):
        both = [np.sum((label == k) & (prediction == k)) for k in range(K)]
        sizes = [np.sum(label == k) + np.sum(prediction == k) for k in range(K)]
        ratios = [(2 * b / s) if name == "dice" else b / (s - b) for b, s in zip(both, sizes, strict=True)]
        expected += np.mean([1 - ratio for ratio in ratios])
    np.testing.assert_allclose(LOSSES[name](logits, labels)[0], expected, rtol=1e-5)
    right = 100 * np.eye(K, dtype=np.float32)[labels]
    np.testing.assert_allclose(LOSSES[name](right, labels)[0], 0, atol=1e-6)


def test_dice_equals_optax_s_without_void_pixels():
    rng = np.random.default_rng(4)
    logits, labels = rng.normal(size=(2, 6, 7, K)).astype(np.float32), rng.integers(0, K, (2, 6, 7)).astype(np.uint8)
    expected = optax.losses.dice_loss(logits, jax.nn.one_hot(labels, K), smooth=0.0)
    np.testing.assert_allclose(LOSSES["dice"](logits, labels)[0], expected.sum(), rtol=1e-5)


def test_lovasz_keeps_the_weight_of_a_pixel_among_many():
    # 2 ** 18 pixels, all of class 0 but one: neighbouring values of the IoU differ by less than float32 tells apart.
    labels = np.zeros((1, 512, 512), np.uint8)
    labels[0, 0, 0] = 1
    logits = np.zeros((1, 512, 512, 2), np.float32)
    loss, gradient = LOSSES["lovasz"](logits, labels)
    # All errors are 1/2: so is the loss of each class.
    np.testing.assert_allclose(loss, 0.5, rtol=1e-5)
    np.testing.assert_allclose(np.abs(np.asarray(gradient, np.float64)).sum(), 2 * 0.25, rtol=1e-3)


@pytest.mark.parametrize("name", LOSSES)
def test_overlap_losses_move_by_their_gradients(name):
    rng = np.random.default_rng(5)
    logits, labels = rng.normal(size=(*SHAPE, K)).astype(np.float32), rng.integers(0, K + 1, SHAPE).astype(np.uint8)
    labels[labels == K] = VOID
    direction = rng.normal(size=logits.shape)
    _, gradient = LOSSES[name](logits, labels)
    # No errors change their order on so short a way.
    after, before = (by_loop(name, logits + sign * 1e-6 * direction, labels) for sign in (1, -1))
    np.testing.assert_allclose((gradient * direction).sum(), (after - before) / 2e-6, rtol=1e-3)


@pytest.mark.parametrize("name", LOSSES)
def test_overlap_losses_do_not_see_void_pixels(name):
    rng = np.random.default_rng(6)
    logits, labels = rng.normal(size=(*SHAPE, K)).astype(np.float32), rng.integers(0, K, SHAPE).astype(np.uint8)
    labels[0, 0], labels[1] = VOID, 200  # any value that is no class
    loss, gradient = LOSSES[name](logits, labels)
    wild = np.where(labels[..., None] < K, logits, 1e4 * rng.normal(size=logits.shape)).astype(np.float32)
    wild_loss, wild_gradient = LOSSES[name](wild, labels)
    assert loss == wild_loss
    np.testing.assert_array_equal(gradient, wild_gradient)
    # An image without a label adds nothing, and is not counted.
    rest = [0, 2]
    np.testing.assert_allclose(loss, by_loop(name, logits[rest], labels[rest]), rtol=1e-5)
    assert labelled_images(labels, K) == 2
    nothing, no_gradient = LOSSES[name](logits, np.full_like(labels, VOID))
    assert nothing == 0
    assert not no_gradient.any()


@pytest.mark.parametrize("name", LOSSES)
def test_overlap_losses_are_sums_over_images(name):
    rng = np.random.default_rng(7)
    logits, labels = rng.normal(size=(*SHAPE, K)).astype(np.float32), rng.integers(0, K, SHAPE).astype(np.uint8)
    whole, gradient = LOSSES[name](logits, labels)
    parts = [LOSSES[name](logits[i : i + 1], labels[i : i + 1]) for i in range(len(labels))]
    np.testing.assert_allclose(whole, sum(part for part, _ in parts), rtol=1e-6)
    np.testing.assert_allclose(gradient, np.concatenate([part for _, part in parts]), rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("name", LOSSES)
def test_overlap_losses_compute_half_precision_logits_in_float32(name):
    rng = np.random.default_rng(8)
    labels = rng.integers(0, K, (1, 64, 64)).astype(np.uint8)
    logits = jnp.asarray(rng.normal(size=(1, 64, 64, K)), jnp.bfloat16)
    loss, gradient = LOSSES[name](logits, labels)
    expected, expected_gradient = LOSSES[name](logits.astype(jnp.float32), labels)
    assert (loss.dtype, gradient.dtype) == (jnp.float32, jnp.bfloat16)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    np.testing.assert_allclose(np.asarray(gradient, np.float32), expected_gradient, rtol=1e-2, atol=1e-9)
