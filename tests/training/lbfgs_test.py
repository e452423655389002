"""Tests for segnet_jax/training/lbfgs.py."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from segnet_jax.training import lbfgs


@functools.partial(jax.jit, static_argnums=(0, 2, 3))
def minimize(function, params, iterations, memory=10):
    return lbfgs.minimize(jax.value_and_grad(function), params, iterations=iterations, memory=memory)


def regression_problem(pixels=300, features=6, classes=4):
    """Draws a weighted softmax regression without bias: convex, with labels that no weights explain."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(pixels, features)) * rng.uniform(0.2, 3, features)
    scores = x @ rng.normal(size=(features, classes)) + 2 * rng.normal(size=(pixels, classes))
    return x, scores.argmax(1), rng.uniform(0.3, 2, classes)


X, LABELS, WEIGHTS = regression_problem()


def cross_entropy(params):
    logits = jnp.asarray(X, jnp.float32) @ params["kernel"]
    nll = jax.nn.logsumexp(logits, axis=-1) - logits[jnp.arange(len(LABELS)), LABELS]
    return jnp.mean(jnp.asarray(WEIGHTS, jnp.float32)[LABELS] * nll)


def numpy_cross_entropy(flat):
    """Returns loss and gradient in float64, written out."""
    logits = X @ flat.reshape(X.shape[1], -1)
    logits -= logits.max(axis=1, keepdims=True)
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    rows = np.arange(len(LABELS))
    weights = WEIGHTS[LABELS]
    errors = probabilities * weights[:, None]
    errors[rows, LABELS] -= weights
    return -np.mean(weights * np.log(probabilities[rows, LABELS])), (X.T @ errors / len(LABELS)).ravel()


def test_minimize_solves_a_convex_problem_as_scipy_does():
    start = np.random.default_rng(0).normal(size=(6, 4))
    reference = optimize.minimize(
        numpy_cross_entropy, start.ravel(), jac=True, method="L-BFGS-B", options={"gtol": 1e-8, "ftol": 1e-14}
    )
    found = minimize(cross_entropy, {"kernel": jnp.asarray(start, jnp.float32)}, 60)
    assert float(found.initial_value) == pytest.approx(numpy_cross_entropy(start.ravel())[0], rel=1e-5)
    assert float(found.value) < 0.5 * float(found.initial_value)
    assert float(found.value) <= reference.fun + 1e-5
    # A constant added to all classes changes nothing, so weights are compared without it.
    kernels = [np.reshape(k, (6, 4)) for k in (found.params["kernel"], reference.x)]
    centred = [kernel - kernel.mean(axis=1, keepdims=True) for kernel in kernels]
    np.testing.assert_allclose(*centred, atol=5e-3)


def test_minimize_returns_value_and_gradient_at_its_parameters():
    found = minimize(cross_entropy, {"kernel": jnp.ones((6, 4))}, 7)
    value, gradient = numpy_cross_entropy(np.asarray(found.params["kernel"], np.float64).ravel())
    assert float(found.value) == pytest.approx(value, rel=1e-5)
    np.testing.assert_allclose(found.grads["kernel"].ravel(), gradient, atol=1e-5)


def test_minimize_is_never_worse_with_more_iterations():
    values = [float(minimize(cross_entropy, {"kernel": jnp.ones((6, 4))}, n).value) for n in (1, 2, 4, 8)]
    assert values == sorted(values, reverse=True)
    assert len(set(values)) == 4


def walled(params):
    """Returns a bowl with a plateau in the middle that its gradient does not show."""
    return jnp.sum(params**2) + 100.0 * (jnp.sum(params**2) < 1.0)


@pytest.mark.parametrize("distance", [1.0, 1.5, 20.0])
def test_minimize_never_raises_a_loss_that_jumps(distance):
    start = jnp.full(4, distance / 2)
    found = minimize(walled, start, 20)
    assert float(found.initial_value) == pytest.approx(distance**2, rel=1e-5)
    assert 1.0 <= float(found.value) <= float(found.initial_value)
    assert float(found.value) == pytest.approx(float(walled(found.params)), rel=1e-5)


def test_minimize_leaves_the_parameters_where_nothing_is_lower():
    for start in (jnp.full(4, 0.5), jnp.zeros(4)):
        found = minimize(walled, start, 20)
        np.testing.assert_array_equal(found.params, start)
        assert int(found.iterations) == 0
