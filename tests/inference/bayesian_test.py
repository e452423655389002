"""Tests for segnet_jax/inference/bayesian.py."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segnet_jax.inference.bayesian import sample_posterior
from segnet_jax.models import create_model
from tests.helpers.networks import logits_of


@pytest.fixture(scope="module")
def model():
    return create_model("segnet_basic", 3, width_multiplier=1 / 8, dropout_rate=0.5)


@pytest.fixture(scope="module")
def variables(model):
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 32, 48, 3)))
    # Averages that are not those of any batch show whether BatchNorm takes them.
    rng = np.random.default_rng(0)
    draw = functools.partial(jax.tree.map, lambda x: jnp.asarray(rng.uniform(0.5, 1.5, x.shape), jnp.float32))
    return {"params": variables["params"], "batch_stats": draw(variables["batch_stats"])}


@pytest.fixture(scope="module")
def images():
    return jnp.asarray(np.random.default_rng(1).normal(size=(3, 32, 48, 3)), jnp.float32)


KEYS = jax.random.split(jax.random.key(7), 3)


@functools.partial(jax.jit, static_argnames=("model", "samples"))
def sample(model, variables, images, keys, samples):
    return sample_posterior(model, variables, images, keys, samples=samples)


@jax.jit
def softmax(logits):
    return jax.nn.softmax(logits.astype(jnp.float32))


def test_sample_posterior_gives_mean_and_variance_of_the_passes(model, variables, images):
    samples = 5
    stochastic = model.clone(stochastic=True)

    @jax.jit
    def one_pass(image, key):
        return softmax(stochastic.apply(variables, image[None], rngs={"dropout": key})[0])

    passes = np.zeros((3, samples, 32, 48, 3))
    for i, t in np.ndindex(3, samples):
        passes[i, t] = one_pass(images[i], jax.random.fold_in(KEYS[i], t))
    posterior = sample(model, variables, images, KEYS, samples)
    assert posterior.probabilities.dtype == posterior.uncertainty.dtype == jnp.float32
    np.testing.assert_allclose(posterior.probabilities, passes.mean(axis=1), atol=1e-6)
    expected = passes.var(axis=1).mean(axis=-1)
    assert expected.mean() > 1e-3, "the passes differ"
    np.testing.assert_allclose(posterior.uncertainty, expected, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(posterior.probabilities.sum(axis=-1), 1.0, atol=1e-5)


def test_sample_posterior_of_one_pass_has_no_variance(model, variables, images):
    assert np.all(sample(model, variables, images, KEYS, 1).uncertainty == 0)


def test_sample_posterior_without_dropout_is_the_plain_prediction(model, variables, images):
    plain = softmax(logits_of(model, variables, images))
    deterministic = model.clone(dropout_rate=0.0)
    posterior = sample(deterministic, variables, images, KEYS, 6)
    np.testing.assert_allclose(posterior.probabilities, plain, atol=1e-6)
    assert np.all(posterior.uncertainty == 0)
    # The network that is not told to be stochastic leaves dropout out of an evaluation.
    np.testing.assert_array_equal(plain, softmax(logits_of(deterministic, variables, images)))


def test_sample_posterior_depends_on_the_key_of_an_image_and_not_on_its_batch(model, variables, images):
    whole = sample(model, variables, images, KEYS, 3)
    turned = sample(model, variables, images[::-1], KEYS[::-1], 3)
    np.testing.assert_allclose(turned.probabilities[::-1], whole.probabilities, atol=1e-6)
    np.testing.assert_allclose(turned.uncertainty[::-1], whole.uncertainty, atol=1e-7)
    other = sample(model, variables, images, jax.random.split(jax.random.key(8), 3), 3)
    assert np.abs(other.probabilities - whole.probabilities).max() > 0.05


def test_sample_posterior_needs_no_more_memory_for_more_passes(model, variables, images):
    def temporary_bytes(samples):
        return sample.lower(model, variables, images, KEYS, samples).compile().memory_analysis().temp_size_in_bytes

    few, many = temporary_bytes(2), temporary_bytes(64)
    assert few == many
    assert few < 64 * images.shape[0] * 32 * 48 * 3 * 4, "less than the probabilities of all passes would take"


def test_sample_posterior_gives_float32_moments_in_half_precision(model, variables, images):
    exact = sample(model, variables, images, KEYS, 2)
    half = sample(model.clone(dtype=jnp.bfloat16), variables, images, KEYS, 2)
    assert half.probabilities.dtype == jnp.float32
    np.testing.assert_allclose(half.probabilities.sum(axis=-1), 1.0, atol=1e-5)
    assert np.median(np.abs(half.probabilities - exact.probabilities)) < 0.02
