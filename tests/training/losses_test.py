"""Tests for segnet_jax/training/losses.py."""

import functools
import math
import re

import hypothesis.extra.numpy as hnp
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segnet_jax.data.class_table import VOID
from segnet_jax.training.losses import cross_entropy, distillation, focal, normalizer, pixel_weights

_WEIGHTS = np.array([0.5, 2.0, 0.0, 7.25], np.float32)
_cross_entropy = jax.jit(cross_entropy)
_value_and_grad = jax.jit(jax.value_and_grad(cross_entropy))
_pixel_weights = jax.jit(pixel_weights)
_smoothed = jax.jit(jax.value_and_grad(cross_entropy), static_argnums=3)
_focal = jax.jit(jax.value_and_grad(focal), static_argnums=3)
_distillation = jax.jit(jax.value_and_grad(distillation))
_normalizer = jax.jit(normalizer, static_argnums=2)


def loss_and_gradient_by_loop(logits, labels, weights):
    """Returns loss and gradient in float64, summed one pixel after the other."""
    loss, gradient = 0.0, np.zeros(logits.shape)
    for pixel in np.ndindex(labels.shape):
        label, scores = int(labels[pixel]), logits[pixel].astype(np.float64)
        if label >= len(weights):
            continue
        exponentials = np.exp(scores - scores.max())
        probabilities = exponentials / exponentials.sum()
        loss -= weights[label] * np.log(probabilities[label])
        gradient[pixel] = weights[label] * (probabilities - np.eye(len(weights))[label])
    return loss, gradient


def focal_by_loop(logits, labels, weights, gamma):
    """Returns the focal loss in float64, summed one pixel after the other."""
    loss = 0.0
    for pixel in np.ndindex(labels.shape):
        if labels[pixel] < len(weights):
            exponentials = np.exp(logits[pixel].astype(np.float64) - logits[pixel].max())
            probabilities = exponentials / exponentials.sum()
            others = np.delete(probabilities, labels[pixel]).sum()
            loss -= weights[labels[pixel]] * others**gamma * np.log(probabilities[labels[pixel]])
    return loss


def test_cross_entropy_of_equal_logits_by_hand():
    # Every class has probability 1/4; of the six pixels two are void.
    labels = np.array([[0, 1, 3], [VOID, 1, VOID]], np.uint8)
    loss = _cross_entropy(jnp.zeros((2, 3, 4)), labels, _WEIGHTS)
    assert loss.dtype == jnp.float32
    np.testing.assert_allclose(loss, (0.5 + 2 + 7.25 + 2) * math.log(4), rtol=1e-6)
    assert _normalizer(labels, _WEIGHTS, "pixels") == 4
    assert _normalizer(labels, _WEIGHTS, "weights") == 11.75


def test_cross_entropy_of_good_and_bad_predictions_by_hand():
    # A margin of log 3 between two classes: probabilities 3/4 and 1/4.
    logits = jnp.array([[math.log(3), 0.0], [math.log(3), 0.0]])
    weights = np.array([1.0, 10.0], np.float32)
    for labels, expected in {(0, 0): 2 * math.log(4 / 3), (0, 1): math.log(4 / 3) + 10 * math.log(4)}.items():
        loss, gradient = _value_and_grad(logits, np.array(labels, np.uint8), weights)
        np.testing.assert_allclose(loss, expected, rtol=1e-6)
        slope = {0: [-0.25, 0.25], 1: [7.5, -7.5]}
        np.testing.assert_allclose(gradient, [slope[label] for label in labels], rtol=1e-5)


@settings(deadline=None, max_examples=50)
@given(
    logits=hnp.arrays(np.float32, (2, 3, 5, 4), elements=st.floats(-30, 30, width=16)),
    labels=hnp.arrays(np.uint8, (2, 3, 5), elements=st.sampled_from([0, 1, 2, 3, 4, 100, 254, VOID])),
    weights=hnp.arrays(np.float32, 4, elements=st.sampled_from([0.0, 0.125, 1.0, 9.5])),
)
def test_cross_entropy_and_gradient_equal_a_loop(logits, labels, weights):
    loss, gradient = _value_and_grad(logits, labels, weights)
    expected_loss, expected_gradient = loss_and_gradient_by_loop(logits, labels, weights)
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-4, atol=1e-5)
    per_pixel = np.array([weights[label] if label < 4 else 0 for label in labels.ravel()]).reshape(labels.shape)
    np.testing.assert_array_equal(_pixel_weights(labels, weights), per_pixel)
    np.testing.assert_allclose(_normalizer(labels, weights, "weights"), per_pixel.sum(), rtol=1e-6)
    assert _normalizer(labels, weights, "pixels") == (labels < 4).sum()


@pytest.mark.parametrize("dtype", [np.uint8, np.int32])
def test_cross_entropy_never_counts_void(dtype):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 4, 4, 4)).astype(np.float32)
    labels = rng.integers(0, 4, (2, 4, 4)).astype(dtype)
    void = rng.random(labels.shape) < 0.4
    masked = np.where(void, VOID, labels).astype(dtype)
    loss, gradient = _value_and_grad(logits, masked, _WEIGHTS)
    assert not gradient[void].any()
    # The labelled pixels alone give the same, and the logits of void ones changes nothing.
    np.testing.assert_allclose(loss, _cross_entropy(logits[~void], labels[~void], _WEIGHTS), rtol=1e-6)
    wild = np.where(void[..., None], 1e4 * rng.normal(size=logits.shape), logits).astype(np.float32)
    wild_loss, wild_gradient = _value_and_grad(wild, masked, _WEIGHTS)
    assert wild_loss == loss
    np.testing.assert_array_equal(wild_gradient, gradient)
    for by in ("pixels", "weights"):
        assert _normalizer(masked, _WEIGHTS, by) == _normalizer(labels[~void], _WEIGHTS, by)


def test_normalizer_counts_a_class_of_weight_zero_as_labelled():
    labels = np.array([2, 2, 0], np.uint8)
    np.testing.assert_allclose(_cross_entropy(jnp.zeros((3, 4)), labels, _WEIGHTS), 0.5 * math.log(4), rtol=1e-6)
    assert _normalizer(labels, _WEIGHTS, "pixels") == 3
    assert _normalizer(labels, _WEIGHTS, "weights") == 0.5


def test_pixel_weights_of_255_classes_still_leave_out_void():
    # 255 classes: the last one is 254, and 255 is still void.
    labels = np.array([254, VOID], np.uint8)
    weights = np.arange(255, dtype=np.float32)
    np.testing.assert_array_equal(_pixel_weights(labels, weights), [254, 0])
    assert _normalizer(labels, weights, "pixels") == 1


def test_cross_entropy_of_large_logits_neither_overflows_nor_vanishes():
    logits = jnp.array([[2e4, -2e4, 0.0, 0.0]])
    loss, gradient = _value_and_grad(logits, np.array([1], np.uint8), np.ones(4, np.float32))
    np.testing.assert_allclose(loss, 4e4, rtol=1e-6)
    np.testing.assert_allclose(gradient, [[1, -1, 0, 0]], atol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_cross_entropy_sums_half_precision_logits_in_float32(dtype):
    # 2 ** 12 equal pixels: bfloat16 would stop counting at 2 ** 8, float16 at 2 ** 11.
    logits = jnp.zeros((4096, 4), dtype).at[:, 0].set(1)
    labels = np.zeros(4096, np.uint8)
    loss, gradient = _value_and_grad(logits, labels, np.ones(4, np.float32))
    assert loss.dtype == jnp.float32
    assert gradient.dtype == dtype
    np.testing.assert_allclose(loss, 4096 * math.log1p(3 / math.e), rtol=1e-5)
    probability = math.e / (math.e + 3)
    expected = np.array([probability - 1] + [(1 - probability) / 3] * 3)
    np.testing.assert_allclose(np.asarray(gradient[7], np.float32), expected, rtol=1e-2)


def test_cross_entropy_summed_over_devices_equals_the_whole_batch():
    rng = np.random.default_rng(4)
    logits = rng.normal(size=(4, 2, 6, 4)).astype(np.float32)
    labels = rng.choice(np.array([0, 1, 3, VOID], np.uint8), size=(4, 2, 6))

    def shares(logits, labels):
        total = jax.lax.psum(_cross_entropy(logits, labels, _WEIGHTS), "batch")
        return total / jax.lax.psum(_normalizer(labels, _WEIGHTS, "weights"), "batch")

    whole = _cross_entropy(logits, labels, _WEIGHTS) / _normalizer(labels, _WEIGHTS, "weights")
    losses = jax.pmap(shares, axis_name="batch", devices=jax.local_devices()[:4])(logits, labels)
    np.testing.assert_allclose(losses, np.full(4, whole), rtol=1e-5)


def test_cross_entropy_compiles_to_no_scatter_and_no_gather():
    def operations(function, *args):
        lowered = jax.jit(function).lower(*args)
        text = f"{lowered.as_text()}\n{lowered.compile().as_text()}"
        return set(re.findall(r"""(?:stablehlo\.|\s)(scatter|gather)"?\(""", text))

    logits, labels = jnp.ones((2, 5, 6, 4)), np.ones((2, 5, 6), np.uint8)
    assert not operations(jax.value_and_grad(cross_entropy), logits, labels, _WEIGHTS)
    for by in ("pixels", "weights"):
        assert not operations(functools.partial(normalizer, by=by), labels, _WEIGHTS)
    # What the usual way of picking a logit looks like.
    picked = jax.grad(lambda logits, labels: jnp.sum(jnp.take_along_axis(logits, labels[..., None], -1)))
    assert operations(picked, logits, labels) == {"scatter"}


def test_normalizer_takes_any_value_that_is_no_class_for_unlabelled():
    labels = jnp.asarray([-1, 0, 1, 2, 255])
    weights = jnp.asarray([2.0, 3.0])
    assert normalizer(labels, weights, "pixels") == 2
    assert normalizer(labels, weights, "weights") == 5


def test_cross_entropy_with_label_smoothing_by_hand():
    # Probabilities 3/4 and 1/4, targets 0.9 and 0.1; the weight is that of the pixel's own class.
    logits = jnp.array([[math.log(3), 0.0], [math.log(3), 0.0], [5.0, 1.0]])
    weights = np.array([1.0, 10.0], np.float32)
    loss, gradient = _smoothed(logits, np.array([0, 1, VOID], np.uint8), weights, 0.2)
    good, bad = math.log(4 / 3), math.log(4)
    np.testing.assert_allclose(loss, 0.9 * good + 0.1 * bad + 10 * (0.1 * good + 0.9 * bad), rtol=1e-6)
    np.testing.assert_allclose(gradient, [[-0.15, 0.15], [6.5, -6.5], [0, 0]], rtol=1e-5)


@settings(deadline=None, max_examples=25)
@given(
    logits=hnp.arrays(np.float32, (3, 5, 4), elements=st.floats(-30, 30, width=16)),
    labels=hnp.arrays(np.uint8, (3, 5), elements=st.sampled_from([0, 1, 2, 3, 4, VOID])),
)
def test_cross_entropy_with_label_smoothing_equals_optax_s(logits, labels):
    def expected(logits):
        targets = optax.smooth_labels(jax.nn.one_hot(labels, 4), 0.3)
        return jnp.sum(pixel_weights(labels, _WEIGHTS) * optax.softmax_cross_entropy(logits, targets))

    loss, gradient = _smoothed(logits, labels, _WEIGHTS, 0.3)
    expected_loss, expected_gradient = jax.value_and_grad(expected)(logits)
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-4, atol=1e-4)


def test_focal_by_hand():
    # Probabilities 3/4 and 1/4 of the own class: factors (1/4) ** 2 and (3/4) ** 2.
    logits = jnp.array([[math.log(3), 0.0], [math.log(3), 0.0], [5.0, 1.0]])
    labels, weights = np.array([0, 1, VOID], np.uint8), np.array([1.0, 10.0], np.float32)
    loss, gradient = _focal(logits, labels, weights, 2.0)
    np.testing.assert_allclose(loss, math.log(4 / 3) / 16 + 10 * math.log(4) * 9 / 16, rtol=1e-6)
    # Slope by p: -(1 - p) ** 2 / p + 2 (1 - p) log p, times p (1 - p) for the logit of the own class.
    own = [p * (1 - p) * (-((1 - p) ** 2) / p + 2 * (1 - p) * math.log(p)) for p in (3 / 4, 1 / 4)]
    np.testing.assert_allclose(gradient, [[own[0], -own[0]], [-10 * own[1], 10 * own[1]], [0, 0]], rtol=1e-5)


@settings(deadline=None, max_examples=25)
@given(
    logits=hnp.arrays(np.float32, (3, 5, 4), elements=st.floats(-30, 30, width=16)),
    labels=hnp.arrays(np.uint8, (3, 5), elements=st.sampled_from([0, 1, 2, 3, 4, VOID])),
    gamma=st.sampled_from([0.5, 2.0]),
)
def test_focal_equals_a_loop(logits, labels, gamma):
    loss, gradient = _focal(logits, labels, _WEIGHTS, gamma)
    np.testing.assert_allclose(loss, focal_by_loop(logits, labels, _WEIGHTS, gamma), rtol=1e-4, atol=1e-4)
    assert np.isfinite(gradient).all()
    assert not gradient[labels > 3].any()


def test_focal_with_gamma_0_is_the_cross_entropy():
    rng = np.random.default_rng(1)
    logits, labels = rng.normal(size=(40, 4)).astype(np.float32), rng.integers(0, 5, 40).astype(np.uint8)
    found, expected = _focal(logits, labels, _WEIGHTS, 0.0), _value_and_grad(logits, labels, _WEIGHTS)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_focal_of_extreme_logits_is_finite(gamma):
    # A certain and right pixel, a certain and wrong one, and a void one of which no likelihood can be made.
    logits = jnp.array([[3e4, 0.0, 0.0, 0.0], [0.0, 3e4, 0.0, 0.0], [-3e4, -3e4, -3e4, -3e4]])
    loss, gradient = _focal(logits, np.array([0, 0, VOID], np.uint8), np.ones(4, np.float32), gamma)
    np.testing.assert_allclose(loss, 3e4, rtol=1e-6)
    np.testing.assert_allclose(gradient, [[0, 0, 0, 0], [-1, 1, 0, 0], [0, 0, 0, 0]], atol=1e-6)
    half, half_gradient = _focal(logits.astype(jnp.bfloat16), np.full(3, VOID, np.uint8), np.ones(4, np.float32), gamma)
    assert (half, half.dtype, half_gradient.dtype) == (0, jnp.float32, jnp.bfloat16)


def test_distillation_by_hand():
    # The network has the probabilities 3/4 and 1/4, the teacher 1/2 and 1/2, the same, and certainty; then void.
    logits = jnp.tile(jnp.array([math.log(3), 0.0]), (4, 1))
    teacher = np.array([[0.5, 0.5], [0.75, 0.25], [0.0, 1.0], [0.5, 0.5]], np.float32)
    labels = np.array([0, 1, 1, VOID], np.uint8)
    loss, gradient = _distillation(logits, labels, np.array([2.0, 10.0], np.float32), teacher)
    np.testing.assert_allclose(loss, 2 * 0.5 * math.log(4 / 3) + 10 * math.log(4), rtol=1e-6)
    np.testing.assert_allclose(gradient, [[0.5, -0.5], [0, 0], [7.5, -7.5], [0, 0]], atol=1e-6)


@settings(deadline=None, max_examples=25)
@given(
    logits=hnp.arrays(np.float32, (3, 5, 4), elements=st.floats(-30, 30, width=16)),
    labels=hnp.arrays(np.uint8, (3, 5), elements=st.sampled_from([0, 1, 2, 3, 4, VOID])),
)
def test_distillation_from_the_labels_is_cross_entropy(logits, labels):
    found = _distillation(logits, labels, _WEIGHTS, np.eye(4, dtype=np.float32)[labels % 4])
    for value, expected in zip(found, _value_and_grad(logits, labels, _WEIGHTS), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-4)
