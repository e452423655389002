"""Tests for segnet_jax/ops/overlapping_pool.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from segnet_jax.ops.overlapping_pool import overlapping_max_pool


# With the border behind the last pixel that ceil mode takes.
@pytest.mark.parametrize(
    ("size", "stride", "behind"),
    [((9, 8), 1, (1, 1)), ((9, 8), 2, (1, 2)), ((10, 11), 2, (2, 1)), ((1, 1), 2, (1, 1)), ((1, 2), 1, (1, 1))],
)
def test_overlapping_max_pool_has_values_and_gradients_of_xla(size, stride, behind):
    keys = jax.random.split(jax.random.key(0), 2)
    # Few values, so that many are equal.
    x = jnp.round(2 * jax.random.normal(keys[0], (2, *size, 3)))

    def plain(x):
        return nn.max_pool(x, (3, 3), strides=(stride, stride), padding=[(1, after) for after in behind])

    def ours(x):
        return overlapping_max_pool(x, stride)

    weights = jax.random.normal(keys[1], jax.eval_shape(plain, x).shape)

    def values_and_gradient(function, x):
        y, vjp = jax.vjp(function, x)
        return function(x), y, vjp(weights)[0]

    both = jax.jit(lambda x: [values_and_gradient(function, x) for function in (ours, plain)])
    (y, y_in_training, gradient), (expected, _, expected_gradient) = both(x)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(y_in_training, expected)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-6, atol=1e-6)


def test_overlapping_max_pool_of_a_nan_that_wins_and_gets_the_gradient():
    x = jnp.array([[3.0, jnp.nan], [4.0, 5.0]])[None, :, :, None]
    y, gradient = jax.vjp(lambda x: overlapping_max_pool(x, 1), x)
    assert np.isnan(y).all()
    np.testing.assert_array_equal(gradient(jnp.ones_like(y))[0][0, :, :, 0], [[0, 4], [0, 0]])


def test_overlapping_max_pool_scatters_nothing_on_cpus():
    def loss(x):
        return overlapping_max_pool(x, 2).sum()

    program = jax.jit(jax.grad(loss)).lower(jnp.zeros((1, 8, 8, 4))).compile().as_text()
    assert "select-and-scatter" not in program
    assert " scatter(" not in program
