"""Fills networks with variables, and compares what they compute."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from segnet_jax.models import create_model
from tests.helpers.numpy_layers import NumpyLayers


@functools.cache
def shapes(model, channels=3):
    """Returns the shapes and types of the variables, without computing them."""
    return jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, channels)))


def count(tree):
    """Returns the number of values in the arrays of a tree."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def random_variables(model, channels=3, seed=0):
    """Draws variables, for images of so many channels, that keep the activations alive at any depth."""
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        name = path[-1].key
        if name == "kernel":
            values = rng.normal(size=leaf.shape) * np.sqrt(2 / np.prod(leaf.shape[:-1]))
        elif name in ("scale", "var"):
            values = rng.uniform(0.7, 1.4, leaf.shape)
        else:
            values = rng.normal(size=leaf.shape) * 0.3
        return jnp.asarray(values, leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, shapes(model, channels=channels))


def small_model(name, **fields):
    """Creates a network of three classes with few features, and draws variables for it."""
    model = create_model(name, 3, **{"width_multiplier": 1 / 16, **fields})
    return model, random_variables(model)


def images(*shape, seed=1):
    """Draws normalised images, float32 of that shape."""
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def mirrored(variables):
    """Mirrors the kernels, left and right: of a mirrored image, such a network gives the mirrored logits."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf[:, ::-1] if path[-1].key == "kernel" else leaf, variables
    )


@functools.partial(jax.jit, static_argnums=0)
def gradients(model, variables, x):
    """Returns the gradients, in training, of a loss over three classes that weights them differently."""

    def loss(params):
        logits, _ = model.apply(
            {**variables, "params": params},
            x,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(0)},
        )
        return jnp.mean(jnp.sin(logits) * jnp.arange(3))

    return jax.grad(loss)(variables["params"])


def assert_all_reached(tree):
    """Asserts that every leaf of a gradient is finite and somewhere not zero."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        assert np.isfinite(leaf).all(), path
        assert np.abs(leaf).max() > 1e-9, path


def vgg_stages():
    """Returns the names of VGG16's convolutions, by stage."""
    return [[f"conv{stage}_{i}" for i in range(1, depth + 1)] for stage, depth in enumerate((2, 2, 3, 3, 3), start=1)]


@functools.partial(jax.jit, static_argnums=0)
def logits_of(model, variables, x):
    """Returns the logits in evaluation."""
    return model.apply(variables, x)


def assert_logits(model, variables, x, reference):
    """Asserts that the logits are those that `reference(layers, image)` computes by NumPy, and that these vary."""
    layers = NumpyLayers(variables)
    for actual, image in zip(logits_of(model, variables, x), np.asarray(x, np.float64), strict=True):
        expected = reference(layers, image)
        assert actual.shape == expected.shape
        assert expected.std(axis=(0, 1)).min() > 0.01
        np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
