"""Tests for segnet_jax/models/segnet.py."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from segnet_jax.models.modules import BatchNorm
from segnet_jax.models.segnet import SegNet, SegNetBasic
from segnet_jax.runtime.compilation import Compiled
from tests.helpers.flat_reference import convolve, pool
from tests.helpers.networks import count, images, random_variables, shapes

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


def test_segnet_has_the_papers_number_of_parameters():
    encoder = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    decoder = [512, 512, 512, 512, 512, 512, 256, 256, 256, 128, 128, 64, 64]
    kernels = [9 * a * b for widths in (encoder, decoder) for a, b in zip(widths[:-1], widths[1:], strict=True)]
    # BatchNorm has a scale and a bias per feature, and as many running averages.
    features = sum(encoder[1:]) + sum(decoder[1:])
    for num_classes in (11, 37):
        variables = shapes(SegNet(num_classes=num_classes))
        classifier = (9 * 64 + 1) * num_classes
        assert count(variables["params"]) == sum(kernels) + 2 * features + classifier
        assert count(variables["batch_stats"]) == 2 * features
    assert sum(kernels) + 2 * features + (9 * 64 + 1) * 11 == 29_441_419
    # Convolution biases, which the authors' model has, would be as many again as BatchNorm's: 29.45 million, the
    # 117 MB of table 6.
    assert round((29_441_419 + features) * 4 / 1e6) == 118


def test_segnet_basic_has_the_papers_number_of_parameters():
    # The first encoder, three more, and four decoders; BatchNorm after each; the 1x1 classifier.
    kernels = 49 * 3 * 64 + 7 * 49 * 64 * 64
    variables = shapes(SegNetBasic(num_classes=11))
    assert count(variables["params"]) == kernels + 8 * 2 * 64 + (64 + 1) * 11 == 1_416_075
    assert count(variables["batch_stats"]) == 8 * 2 * 64


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


@_BOTH
@pytest.mark.parametrize("size", [(360, 480), (45, 61), (1, 1), (2, 31)])
def test_segnet_has_logits_of_the_size_of_the_image(network, size):
    model = network(num_classes=11)
    stages = 5 if network is SegNet else 4
    logits, state = jax.eval_shape(
        functools.partial(model.apply, mutable=["intermediates"]), shapes(model, *size), jnp.zeros((2, *size, 3))
    )
    assert logits.shape == (2, *size, 11)
    assert logits.dtype == jnp.float32
    expected, pools = [], []
    for number in range(1, stages + 1):
        size = tuple(-(-length // 2) for length in size)
        expected.append(size)
        pools.append(state["intermediates"][f"pool{number}"][0].shape[1:3])
    assert pools == expected


def test_segnet_scales_every_feature_but_the_classes_with_the_width():
    params = shapes(SegNet(num_classes=11, width_multiplier=1 / 32))["params"]
    for name, features in convolutions(SegNet):
        assert params[name]["kernel"].shape[-1] == features // 32
    assert params["conv1_1_D"]["kernel"].shape == (3, 3, 2, 11)


def reference(network, variables, image):
    """Computes logits and pooled values of one image in evaluation, in float64, straight from the prototxt."""
    layers, _, classifier, _ = _NETWORKS[network]
    params, stats = jax.tree.map(
        lambda leaf: np.asarray(leaf, np.float64), (variables["params"], variables["batch_stats"])
    )
    x, memory, pools = np.asarray(image, np.float64), {}, {}
    for layer in layers:
        if isinstance(layer, tuple):
            name, norm = layer[0], f"{layer[0]}_bn"
            x = convolve(x, params[name]["kernel"]) - stats[norm]["mean"]
            x = x / np.sqrt(stats[norm]["var"] + 1e-5) * params[norm]["scale"] + params[norm]["bias"]
            if network is SegNet or "decode" not in name:
                x = np.maximum(x, 0)
        elif layer > 0:
            shape = x.shape
            x, places = pool(x)
            memory[layer], pools[f"pool{layer}"] = (places, shape), x
        else:
            places, shape = memory[-layer]
            unpooled = np.zeros(shape)
            unpooled.flat[places.ravel()] = x.ravel()
            x = unpooled
    return convolve(x, params[classifier]["kernel"]) + params[classifier]["bias"], pools


@functools.partial(jax.jit, static_argnums=0)
def evaluate(model, variables, x):
    return model.apply(variables, x, mutable=["intermediates"])


@_BOTH
def test_segnet_in_evaluation_equals_a_reference(network):
    model = network(num_classes=3, width_multiplier=1 / 16)
    variables, x = random_variables(model), images(2, 37, 42, 3)
    logits, state = evaluate(model, variables, x)
    for i, image in enumerate(x):
        expected, pools = reference(network, variables, image)
        # Alive: an all-zero layer would agree with anything.
        assert all((values != 0).any() for values in pools.values())
        for name, values in pools.items():
            np.testing.assert_allclose(
                state["intermediates"][name][0][i], values, rtol=1e-3, atol=1e-4 * np.abs(values).max()
            )
        np.testing.assert_allclose(logits[i], expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
    # The decoder of the basic network has no ReLU, so some of what the classifier sees is negative.
    assert (expected.std(axis=(0, 1)) > 0.01).all()


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


def calls(model, size=64):
    """Returns the layers that a training step calls, in order: kind, name, height of the input, rate of dropout."""
    log = []

    def record(next_function, args, kwargs, context):
        if context.method_name == "__call__" and isinstance(context.module, nn.Conv | BatchNorm | nn.Dropout):
            module = context.module
            log.append((type(module), module.name, args[0].shape[1], getattr(module, "rate", None)))
        return next_function(*args, **kwargs)

    variables = shapes(model, size, size)
    with nn.intercept_methods(record):
        jax.eval_shape(
            functools.partial(model.apply, train=True, mutable=["batch_stats"]),
            variables,
            jnp.zeros((1, size, size, 3)),
            rngs={"dropout": jax.random.key(0)},
        )
    return log


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        # The layer before, and the size there of a 64x64 image: pooled in the encoder.
        (
            SegNet,
            [
                *[("conv3_3_bn", 8), ("conv4_3_bn", 4), ("conv5_3_bn", 2)],
                *[("conv5_1_D_bn", 4), ("conv4_1_D_bn", 8), ("conv3_1_D_bn", 16)],
            ],
        ),
        (SegNetBasic, [("conv3_bn", 8), ("conv4_bn", 4), ("conv_decode4_bn", 8), ("conv_decode3_bn", 16)]),
    ],
)
def test_segnet_has_dropout_where_the_authors_have_it(network, expected):
    log = calls(network(num_classes=2, width_multiplier=1 / 64, dropout_rate=0.3))
    places = [
        (before[1], height, rate)
        for before, (kind, _, height, rate) in zip(log[:-1], log[1:], strict=True)
        if kind is nn.Dropout
    ]
    assert places == [(name, height, 0.3) for name, height in expected]
    assert all(kind is not nn.Dropout for kind, *_ in calls(network(num_classes=2, width_multiplier=1 / 64)))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_segnet_in_half_precision(dtype):
    x = jnp.zeros((1, 32, 32, 3))
    model = SegNet(num_classes=2, width_multiplier=1 / 16, dtype=dtype)
    variables = shapes(model)
    logits, state = jax.eval_shape(
        functools.partial(model.apply, train=True, mutable=["batch_stats", "intermediates"]), variables, x
    )
    assert logits.dtype == dtype
    assert {leaf.dtype for leaf in jax.tree.leaves(state["intermediates"])} == {jnp.dtype(dtype)}
    for tree in (variables, state["batch_stats"]):
        assert {leaf.dtype for leaf in jax.tree.leaves(tree)} == {jnp.dtype(jnp.float32)}


def test_segnet_in_bfloat16_stays_near_float32():
    variables, x = random_variables(SegNetBasic(num_classes=3, width_multiplier=1 / 8)), images(1, 32, 32, 3)
    exact, _ = evaluate(SegNetBasic(num_classes=3, width_multiplier=1 / 8), variables, x)
    rough, _ = evaluate(SegNetBasic(num_classes=3, width_multiplier=1 / 8, dtype=jnp.bfloat16), variables, x)
    difference = np.abs(np.asarray(rough, np.float32) - exact)
    # A near tie in a window may be won by another pixel, so not every logit is near.
    assert np.median(difference) < 0.05 * np.asarray(exact).std()


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


@pytest.mark.parametrize(("network", "stages"), [(SegNet, (1, 5)), (SegNetBasic, (1, 2, 3, 4))])
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
