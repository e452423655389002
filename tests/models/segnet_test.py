"""Tests for segnet_jax/models/segnet.py."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segnet_jax.errors import InputError
from segnet_jax.models import create_model
from segnet_jax.models.segnet import SegNet, SegNetBasic
from segnet_jax.runtime.compilation import Compiled
from tests.helpers.networks import assert_logits, images, random_variables, shapes
from tests.helpers.numpy_layers import pool, unpool

# The layers of the authors' prototxts in the order of computation: name, features; a number stands for that stage's
# pooling (positive) or unpooling (negative). The classifier follows.
_SEGNET: list[Any] = [
    *[("conv1_1", 64), ("conv1_2", 64), 1],
    *[("conv2_1", 128), ("conv2_2", 128), 2],
    *[("conv3_1", 256), ("conv3_2", 256), ("conv3_3", 256), 3],
    *[("conv4_1", 512), ("conv4_2", 512), ("conv4_3", 512), 4],
    *[("conv5_1", 512), ("conv5_2", 512), ("conv5_3", 512), 5],
    *[-5, ("conv5_3_D", 512), ("conv5_2_D", 512), ("conv5_1_D", 512)],
    *[-4, ("conv4_3_D", 512), ("conv4_2_D", 512), ("conv4_1_D", 256)],
    *[-3, ("conv3_3_D", 256), ("conv3_2_D", 256), ("conv3_1_D", 128)],
    *[-2, ("conv2_2_D", 128), ("conv2_1_D", 64)],
    *[-1, ("conv1_2_D", 64)],
]
_BASIC: list[Any] = [
    *[("conv1", 64), 1, ("conv2", 64), 2, ("conv3", 64), 3, ("conv4", 64), 4],
    *[-4, ("conv_decode4", 64), -3, ("conv_decode3", 64), -2, ("conv_decode2", 64), -1, ("conv_decode1", 64)],
]
# Per network: its layers, the side of their kernels, the classifier's name and kernel.
_NETWORKS = {SegNet: (_SEGNET, 3, "conv1_1_D", 3), SegNetBasic: (_BASIC, 7, "conv_classifier", 1)}
_BOTH = pytest.mark.parametrize("network", [SegNet, SegNetBasic])


def convolutions(network):
    return [layer for layer in _NETWORKS[network][0] if isinstance(layer, tuple)]


@_BOTH
def test_segnet_has_the_names_and_kernels_of_the_prototxts(network):
    _, size, classifier, classifier_size = _NETWORKS[network]
    variables = shapes(network(num_classes=11))
    expected: dict[str, dict[str, tuple[int, ...]]] = {}
    depth = 3
    for name, features in convolutions(network):
        expected[name] = {"kernel": (size, size, depth, features)}
        expected[f"{name}_bn"] = {"scale": (features,), "bias": (features,)}
        depth = features
    stats = {name: {"mean": leaf["bias"], "var": leaf["bias"]} for name, leaf in expected.items() if "bias" in leaf}
    expected[classifier] = {"kernel": (classifier_size, classifier_size, depth, 11), "bias": (11,)}
    assert jax.tree.map(lambda leaf: leaf.shape, variables["params"]) == expected
    assert jax.tree.map(lambda leaf: leaf.shape, variables["batch_stats"]) == stats


def test_segnet_with_a_separate_classifier_has_a_convolution_more():
    plain, separate = (shapes(SegNet(num_classes=11, separate_classifier=more)) for more in (False, True))
    assert separate["params"]["conv1_1_D"]["kernel"].shape == (3, 3, 64, 64)
    assert separate["params"]["conv_classifier"]["kernel"].shape == (3, 3, 64, 11)
    assert separate["params"].keys() - plain["params"].keys() == {"conv1_1_D_bn", "conv_classifier"}
    assert separate["batch_stats"].keys() - plain["batch_stats"].keys() == {"conv1_1_D_bn"}
    with pytest.raises(InputError, match="separate_classifier is for the network segnet alone"):
        create_model("segnet_basic", 11, separate_classifier=True)


def reference(network, layers, x):
    """Computes the logits straight from the prototxt."""
    names, _, classifier, _ = _NETWORKS[network]
    memory = {}
    for layer in names:
        if isinstance(layer, tuple):
            x = layers.norm(layers.conv(x, layer[0]), layer[0])
            if network is SegNet or "decode" not in layer[0]:
                x = np.maximum(x, 0)
        elif layer > 0:
            shape = x.shape
            x, places = pool(x)
            memory[layer] = places, shape
        else:
            x = unpool(x, *memory[-layer])
    return layers.conv(x, classifier)


@_BOTH
def test_segnet_in_evaluation_equals_a_reference(network):
    model = network(num_classes=3, width_multiplier=1 / 16)
    assert_logits(model, random_variables(model), images(2, 37, 42, 3), functools.partial(reference, network))


@pytest.mark.parametrize("axis", [1, 2])
def test_segnet_basic_has_the_papers_receptive_field(axis):
    # Positive kernels let every value rise with every pixel, and max pooling passes a rise on where all are equal.
    side, unit = 160, 5
    model = SegNetBasic(num_classes=1, width_multiplier=1 / 64)
    variables = jax.tree_util.tree_map_with_path(
        lambda path, leaf: jnp.full(leaf.shape, {"kernel": 1 / 49, "scale": 1, "var": 1}.get(path[-1].key, 0.0)),
        shapes(model, channels=1),
    )
    lines = np.ones((side, side, side, 1), np.float32)
    for line in range(side):
        lines[line].swapaxes(0, axis - 1)[line] += 1

    @jax.jit
    def centre(x):
        _, state = model.apply(variables, x, mutable=["intermediates"])
        return state["intermediates"]["pool4"][0][:, unit, unit, 0]

    rises = centre(lines) - centre(np.ones((1, side, side, 1), np.float32))
    seen = np.flatnonzero(rises > 1e-5)
    # A pool doubles a range of rows [first, last] to [2 first, 2 last + 1], a 7x7 convolution widens it by 3.
    first = last = unit
    for _ in range(4):
        first, last = 2 * first - 3, 2 * last + 1 + 3
    assert last - first + 1 == 106
    assert seen.tolist() == list(range(first, last + 1))


def compiled_step(remat):
    """Compiles loss, new averages and gradient of a small network; returns them and the parameters that they take."""
    model = SegNetBasic(num_classes=2, width_multiplier=1 / 8, remat=remat)
    variables, x = random_variables(model), images(1, 64, 64, 3)

    def loss(params):
        logits, state = model.apply({**variables, "params": params}, x, train=True, mutable=["batch_stats"])
        return jnp.mean(jnp.sin(logits)), state

    # By default XLA's CPU backend merges what is computed anew with what was computed before.
    step = Compiled(jax.jit(jax.value_and_grad(loss, has_aux=True)), jax.default_backend())
    return step.executable(variables["params"]), variables["params"]


@pytest.mark.parametrize(("remat", "share"), [("activations", 0.93), ("stages", 0.72)])
def test_segnet_rematerialised_saves_memory_and_changes_nothing(remat, share):
    plain, params = compiled_step("none")
    frugal, _ = compiled_step(remat)
    memory, plain_memory = (step.memory_analysis().temp_size_in_bytes for step in (frugal, plain))
    assert memory < share * plain_memory
    expected = plain(params)
    for actual, want in zip(jax.tree.leaves(frugal(params)), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(actual, want, rtol=1e-4, atol=1e-4 * np.abs(want).max())


@pytest.mark.parametrize(
    ("network", "stages"), [pytest.param(SegNet, (1, 5), marks=pytest.mark.ci), (SegNetBasic, (1, 2, 3, 4))]
)
def test_segnet_keeps_less_for_the_backward_pass_by_each_rematerialised_stage(network, stages):
    x = jnp.zeros((1, 90, 120, 3))

    def kept(*stages):
        """Bytes that go from the forward to the backward pass."""
        model = network(num_classes=2, remat="stages" if stages else "none", remat_stages=stages)
        variables = shapes(model)

        def vjp(variables):
            def logits(params):
                return model.apply({**variables, "params": params}, x, train=True, mutable=["batch_stats"])[0]

            return jax.vjp(logits, variables["params"])[1]

        return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(jax.eval_shape(vjp, variables)))

    without = kept()
    freed = [without - kept(stage) for stage in stages]
    # The finer a stage, the more it frees; together they free what they free one by one.
    assert freed == sorted(freed, reverse=True)
    assert freed[-1] > 0
    assert without - kept(*stages) == sum(freed)
