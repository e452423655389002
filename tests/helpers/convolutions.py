"""Draws operands of convolutions, and compares results and gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

NHWC = ("NHWC", "HWIO", "NHWC")


def random(*shape, seed=0, dtype=jnp.float32):
    """Draws standard normal values."""
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def output_and_gradients(function, x, kernel, gradient):
    """Returns `function(x, kernel)`, and the gradients of both operands by that of the output; compiled anew."""

    def run(x, kernel, gradient):
        output, vjp = jax.vjp(function, x, kernel)
        return output, *vjp(gradient)

    return jax.jit(run)(x, kernel, gradient)


def same(conv, **options):
    """Returns the convolution of stride 1 that keeps the size, by a function like `lax.conv_general_dilated`."""
    return functools.partial(conv, window_strides=(1, 1), padding="SAME", dimension_numbers=NHWC, **options)


def assert_close(actual, expected, tolerance=1e-5):
    """Asserts that arrays are equal within a share of the greatest magnitude: sums in another order."""
    for got, want in zip(actual, expected, strict=True):
        assert got.dtype == want.dtype
        want = np.asarray(want, np.float32)
        np.testing.assert_allclose(np.asarray(got, np.float32), want, rtol=0, atol=tolerance * np.abs(want).max())


XLA = lax.conv_general_dilated
