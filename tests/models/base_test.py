"""Tests for segnet_jax/models/base.py."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from segnet_jax.models.base import SegmentationModel
from tests.helpers.networks import images, random_variables
from tests.helpers.numpy_layers import convolve


class TwoLayers(SegmentationModel):
    """A network of one unit and a classifier, the smallest of these layers."""

    features: int = 3

    @nn.compact
    def __call__(self, x, train=False):
        x = x.astype(self.dtype)
        x = self.conv_bn(x, self.features, "conv1", train)
        self.sow("intermediates", "unit", x)
        return self.classifier(self.dropout(x, train), "classifier", kernel_size=1)


class Staged(SegmentationModel):
    """A network of two stages that can be rematerialised."""

    @nn.compact
    def __call__(self, x, train=False):
        for number in (1, 2):
            x = self.stage(number, lambda model, x, number=number: model.conv_bn(x, 4, f"conv{number}", train), x)
        return self.classifier(x, "classifier", kernel_size=3)


@functools.partial(jax.jit, static_argnums=0)
def evaluate(model, variables, x):
    """Returns logits, running averages and intermediate values, in evaluation."""
    return model.apply(variables, x, mutable=["batch_stats", "intermediates"])


@functools.partial(jax.jit, static_argnums=0)
def train(model, variables, x, dropout=None):
    """Returns logits, and the new running averages, in training."""
    rngs = None if dropout is None else {"dropout": dropout}
    return model.apply(variables, x, train=True, mutable=["batch_stats"], rngs=rngs)


def test_conv_bn_in_training_moves_the_running_averages_by_the_momentum():
    model, x = TwoLayers(num_classes=2, batch_norm_momentum=0.8), images(2, 6, 5, 2)
    variables = random_variables(model, channels=2)
    _, state = train(model, variables, x)
    kernel = np.asarray(variables["params"]["conv1"]["kernel"], np.float64)
    mean = np.mean([convolve(image, kernel).mean((0, 1)) for image in x], axis=0)
    old, new = variables["batch_stats"]["conv1_bn"]["mean"], state["batch_stats"]["conv1_bn"]["mean"]
    np.testing.assert_allclose(new, 0.8 * old + 0.2 * mean, rtol=1e-4, atol=1e-6)


def _on_devices(model, variables, x, devices):
    """Returns logits and running averages of a batch that is spread over devices."""
    step = jax.pmap(
        functools.partial(train, model), axis_name="batch", in_axes=(None, 0), devices=jax.local_devices()[:devices]
    )
    logits, state = step(variables, x.reshape(devices, -1, *x.shape[1:]))
    return logits.reshape(x.shape[0], *logits.shape[2:]), state["batch_stats"]["conv1_bn"]


def test_axis_name_makes_statistics_those_of_the_whole_batch():
    # Images of different brightness, so that the parts of the batch differ.
    x = images(8, 6, 5, 2) + jnp.arange(8.0).reshape(8, 1, 1, 1)
    alone, shared = TwoLayers(num_classes=2), TwoLayers(num_classes=2, axis_name="batch")
    # Initialisation and evaluation ask for no mapped axis.
    variables = random_variables(shared, x.shape[-1])
    np.testing.assert_array_equal(evaluate(shared, variables, x)[0], evaluate(alone, variables, x)[0])

    expected_logits, expected_state = train(alone, variables, x)
    expected = expected_state["batch_stats"]["conv1_bn"]
    logits, stats = _on_devices(shared, variables, x, 4)
    np.testing.assert_allclose(logits, expected_logits, rtol=1e-4, atol=1e-5)
    for key in ("mean", "var"):
        np.testing.assert_allclose(stats[key], np.broadcast_to(expected[key], (4, 3)), rtol=1e-4, atol=1e-6)

    # What no sharing looks like.
    logits, stats = _on_devices(alone, variables, x, 4)
    assert float(jnp.abs(logits - expected_logits).max()) > 0.1
    assert float(jnp.abs(stats["mean"][0] - stats["mean"][3]).max()) > 0.1


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_dtype_is_for_activations_only(dtype):
    x = images(2, 6, 5, 2)
    model, exact = TwoLayers(num_classes=2, dtype=dtype), TwoLayers(num_classes=2)
    variables = random_variables(model, x.shape[-1])
    logits, state = train(model, variables, x)
    assert logits.dtype == dtype
    assert evaluate(model, variables, x)[1]["intermediates"]["unit"][0].dtype == dtype
    for tree in (variables, state):
        assert {leaf.dtype for leaf in jax.tree.leaves(tree)} == {jnp.dtype(jnp.float32)}
    expected, expected_state = train(exact, variables, x)
    assert expected.dtype == jnp.float32
    np.testing.assert_allclose(logits.astype(jnp.float32), expected, atol=0.05)
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=0.02), state, expected_state)


def test_param_dtype_is_for_parameters_only():
    model, x = TwoLayers(num_classes=2, param_dtype=jnp.bfloat16), images(1, 6, 5, 2)
    variables = random_variables(model, x.shape[-1])
    assert {leaf.dtype for leaf in jax.tree.leaves(variables["params"])} == {jnp.dtype(jnp.bfloat16)}
    logits, state = train(model, variables, x)
    assert logits.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(state)} == {jnp.dtype(jnp.float32)}


def test_variables_start_by_hes_rule_zeros_and_ones():
    model = TwoLayers(num_classes=160, features=160)
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 2, 2, 96)))
    params = variables["params"]
    # Fan-in: the number of values that one output is summed from.
    for name, fan_in in (("conv1", 3 * 3 * 96), ("classifier", 160)):
        kernel = np.asarray(params[name]["kernel"], np.float64)
        deviations = kernel / np.sqrt(2 / fan_in)
        # Five standard errors of a normal sample's mean and variance.
        assert abs(deviations.mean()) < 5 / np.sqrt(kernel.size)
        assert abs(deviations.var() - 1) < 5 * np.sqrt(2 / kernel.size)
        # A truncated normal distribution would end at 2 or 3 of its standard deviations.
        assert np.abs(deviations).max() > 3.5
    zeros, ones = np.zeros(160), np.ones(160)
    np.testing.assert_array_equal(params["classifier"]["bias"], zeros)
    jax.tree.map(np.testing.assert_array_equal, params["conv1_bn"], {"scale": ones, "bias": zeros})
    jax.tree.map(np.testing.assert_array_equal, variables["batch_stats"]["conv1_bn"], {"mean": zeros, "var": ones})
    # The one bias of a convolution is the classifier's.
    assert {name: set(leaves) for name, leaves in params.items()} == {
        "conv1": {"kernel"},
        "conv1_bn": {"scale", "bias"},
        "classifier": {"kernel", "bias"},
    }


@pytest.mark.parametrize(
    ("multiplier", "features", "expected"), [(1.0, 64, 64), (0.25, 64, 16), (0.3, 64, 19), (0.001, 64, 1), (2.0, 3, 6)]
)
def test_width_multiplier_scales_all_features_but_the_classes(multiplier, features, expected):
    model = TwoLayers(num_classes=5, features=features, width_multiplier=multiplier)
    params = jax.eval_shape(model.init, jax.random.key(0), images(1, 2, 2, 1))["params"]
    assert params["conv1"]["kernel"].shape == (3, 3, 1, expected)
    assert params["classifier"]["kernel"].shape == (1, 1, expected, 5)


def test_conv_bn_of_a_large_image_takes_the_strip_wise_convolution():
    model, x = TwoLayers(num_classes=2, features=16), jnp.zeros((1, 80, 100, 16))
    variables = random_variables(model, x.shape[-1])
    for training, rows in itertools.product((True, False), (80, 79)):
        apply = functools.partial(model.apply, train=training, mutable=["batch_stats"])
        assert ("custom_vjp" in str(jax.make_jaxpr(apply)(variables, x[:, :rows]))) == (rows == 80)


def test_dropout_acts_in_training_only():
    x = images(1, 8, 8, 2)
    model, without = (TwoLayers(num_classes=2, features=8, dropout_rate=rate) for rate in (0.5, 0.0))
    variables = random_variables(model, x.shape[-1])
    many = [train(model, variables, x, jax.random.key(key))[0] for key in range(100)]
    assert float(jnp.abs(many[0] - many[1]).max()) > 0.1
    np.testing.assert_array_equal(many[0], train(model, variables, x, jax.random.key(0))[0])
    # Without a key: neither evaluation nor training at rate 0 draws anything.
    np.testing.assert_array_equal(evaluate(model, variables, x)[0], evaluate(without, variables, x)[0])
    plain, _ = train(without, variables, x)
    # What is kept is scaled up, so that the mean stays.
    np.testing.assert_allclose(np.mean(many, axis=(0, 1, 2, 3)), plain.mean((0, 1, 2)), atol=0.15)


@pytest.mark.parametrize("stages", [(), (1,), (2,), (1, 2), (3,)])
def test_stage_is_rematerialised_where_remat_stages_say(stages):
    x = images(2, 6, 5, 2)
    model = Staged(num_classes=2, remat="stages", remat_stages=stages)
    variables = random_variables(model, x.shape[-1])
    forward = jax.make_jaxpr(functools.partial(model.apply, train=True, mutable=["batch_stats"]))(variables, x)
    names = [equation.primitive.name for equation in forward.jaxpr.eqns]
    assert sum(name.startswith(("checkpoint", "remat")) for name in names) == len({1, 2} & set(stages or (1, 2))), names
