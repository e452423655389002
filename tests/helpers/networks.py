"""Fills networks with variables, compares them with PyTorch's, and offers its layers by name."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segnet_jax.models import create_model


def shapes(model, *size, channels=3):
    """Returns the shapes and types of the variables, without computing them; `size` is (H, W), by default 32x32."""
    return jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, *(size or (32, 32)), channels)))


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


class TorchLayers:
    """PyTorch's layers with the variables of a network in evaluation, by name, in float64; maps are [N, C, H, W]."""

    def __init__(self, variables):
        self.torch = pytest.importorskip("torch")
        self.functional = self.torch.nn.functional
        self.params, self.stats = variables["params"], variables.get("batch_stats", {})

    def tensor(self, array):
        return self.torch.tensor(np.array(array, np.float64))

    def image(self, array):
        return self.tensor(np.moveaxis(array, -1, 1))

    def conv(self, x, name, **options):
        params = self.params[name]
        bias = self.tensor(params["bias"]) if "bias" in params else None
        kernel = self.tensor(np.transpose(params["kernel"], (3, 2, 0, 1)))
        return self.functional.conv2d(x, kernel, bias, **options)

    def deconv(self, x, name, stride=1, padding=0):
        kernel = self.tensor(np.transpose(self.params[name]["kernel"], (2, 3, 0, 1)))
        return self.functional.conv_transpose2d(x, kernel, stride=stride, padding=padding)

    def norm(self, x, name):
        if f"{name}_bn" not in self.stats:
            return x
        values = {**self.stats[f"{name}_bn"], **self.params[f"{name}_bn"]}
        ordered = (self.tensor(values[key]) for key in ("mean", "var", "scale", "bias"))
        return self.functional.batch_norm(x, *ordered, eps=1e-5)

    def unit(self, x, name, **options):
        """Applies convolution, BatchNorm if there is one, and ReLU."""
        return self.functional.relu(self.norm(self.conv(x, name, **options), name))

    def pool(self, x):
        """Pools 2x2 in ceil mode, with the indices."""
        return self.functional.max_pool2d(x, 2, 2, ceil_mode=True, return_indices=True)

    def unpool(self, x, indices, size):
        return self.functional.max_unpool2d(x, indices, 2, 2, output_size=size)


def vgg_stages():
    """Returns the names of VGG16's convolutions, by stage."""
    return [[f"conv{stage}_{i}" for i in range(1, depth + 1)] for stage, depth in enumerate((2, 2, 3, 3, 3), start=1)]


def assert_parity(actual, expected):
    """Asserts that logits [N, H, W, K] are PyTorch's, [N, K, H, W], and that these vary."""
    expected = np.moveaxis(expected.numpy(), 1, -1)
    assert actual.shape == expected.shape
    assert expected.std(axis=(0, 1, 2)).min() > 0.01
    np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
