"""Tests for benchmarks/pytorch: the same networks in PyTorch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from segnet_jax.models import MODELS, create_model
from tests.helpers.networks import count, images, shapes, small_model

torch = pytest.importorskip("torch", reason="PyTorch comes with requirements-bench.txt")

from benchmarks.pytorch.models import create_torch_model  # noqa: E402

pytestmark = pytest.mark.ci

_EACH = pytest.mark.parametrize("name", MODELS)
_WIDTH = 1 / 16
_CLASSES = 3
_CLASSIFIERS = {"segnet": "conv1_1_D", "deconvnet": "seg-score"}
# Of the images. DeepLab's fc6 reaches 12 scores to each side, which are 96 pixels. DeconvNet's gives small images one
# value per feature, and BatchNorm needs several.
_SHAPES = {"deeplab_largefov": (2, 101, 109), "deconvnet": (4, 37, 45)}


def weights(name, module):
    """Yields for every tensor of a PyTorch network the path of ours, the tensor, and its axes in the order of ours."""
    for path, layer in module.named_modules():
        ours = path.rpartition(".")[2].replace("fc6_deconv", "fc6-deconv")
        if ours == "classifier":
            ours = _CLASSIFIERS.get(name, "conv_classifier")
        if isinstance(layer, torch.nn.BatchNorm2d):
            yield ("params", ours, "scale"), layer.weight, (0,)
            yield ("batch_stats", ours, "mean"), layer.running_mean, (0,)
            yield ("batch_stats", ours, "var"), layer.running_var, (0,)
        elif isinstance(layer, torch.nn.Conv2d):
            yield ("params", ours, "kernel"), layer.weight, (2, 3, 1, 0)
        elif isinstance(layer, torch.nn.ConvTranspose2d):
            yield ("params", ours, "kernel"), layer.weight, (2, 3, 0, 1)
        if getattr(layer, "bias", None) is not None:
            yield ("params", ours, "bias"), layer.bias, (0,)


def paths(tree):
    return {tuple(key.key for key in path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)}


def torch_counterpart(name, variables):
    """Creates the PyTorch network with the same weights, in float64."""
    module = create_torch_model(name, _CLASSES, _WIDTH)
    found = set()
    with torch.no_grad():
        for (collection, layer, leaf), tensor, axes in weights(name, module):
            found.add((collection, layer, leaf))
            tensor.copy_(torch.tensor(np.transpose(variables[collection][layer][leaf], np.argsort(axes))))
    assert found == paths(variables)
    return module.double()


def nchw(x):
    return torch.tensor(np.moveaxis(x, -1, 1), dtype=torch.float64)


def assert_close(actual, expected, what=""):
    """Asserts that an array and a tensor in float64 are equal, measured by the largest value."""
    expected = expected.detach().numpy()
    assert actual.shape == expected.shape, what
    largest = np.abs(expected).max()
    assert largest > 1e-9, what
    np.testing.assert_allclose(actual, expected, atol=1e-7 * largest, rtol=0, err_msg=str(what))


def in_float64(function, model, *arguments):
    """Returns `function(model, *arguments)` in float64.

    In float32 a rounding error may decide a maximum or a ReLU, and change a gradient by a tenth.
    """
    with jax.enable_x64(True):
        arguments = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), arguments)
        function = jax.jit(functools.partial(function, model.clone(dtype=jnp.float64)))
        return function(*arguments)


def evaluate_and_train(model, variables, x):
    """Computes all that is compared, in one program.

    Returns:
      In evaluation, the logits and what went through dropout. Of a training step without dropout, the gradient of a
      mean over the logits, and the running statistics after it.
    """
    logits, state = model.apply(variables, x, capture_intermediates=lambda module, _: isinstance(module, nn.Dropout))
    dropped = [leaf["__call__"][0] for key, leaf in sorted(state["intermediates"].items()) if "Dropout" in key]

    def loss(params):
        logits, state = model.clone(dropout_rate=0.0).apply(
            {**variables, "params": params}, x, train=True, mutable=["batch_stats"]
        )
        return jnp.mean(jnp.sin(logits) * jnp.arange(_CLASSES)), state

    gradients, state = jax.grad(loss, has_aux=True)(variables["params"])
    return logits, dropped, {"params": gradients, **state}


@_EACH
def test_torch_models_give_the_same_logits_and_gradients_from_the_same_weights(name):
    model, variables = small_model(name)
    x = images(*_SHAPES.get(name, (2, 37, 45)), 3)
    module = torch_counterpart(name, variables).eval()
    logits, dropped, trained = in_float64(evaluate_and_train, model, variables, x)

    dropouts = [layer for layer in module.modules() if isinstance(layer, torch.nn.Dropout)]
    assert [layer.p for layer in dropouts] == [model.dropout_rate] * len(dropped)
    seen = []
    for layer in dropouts:
        layer.register_forward_hook(lambda _, inputs, output: seen.append(inputs[0]))
    assert_close(logits, module(nchw(x)).permute(0, 2, 3, 1))
    for ours, theirs in zip(dropped, seen, strict=True):
        assert_close(ours, theirs.permute(0, 2, 3, 1))

    for layer in dropouts:
        layer.p = 0.0
    # Over the classes, which are the second axis.
    weighted = module.train()(nchw(x)).sin() * torch.arange(_CLASSES)[:, None, None]
    weighted.mean().backward()
    for path, tensor, axes in weights(name, module):
        collection, layer, leaf = path
        if collection == "params":
            assert_close(trained[collection][layer][leaf], tensor.grad.permute(axes), path)
        elif leaf == "mean":
            # PyTorch's running variance is of the unbiased estimate, ours of the biased one.
            assert_close(trained[collection][layer][leaf], tensor, path)


def test_torch_deconvnet_slides_fc6_over_a_large_image():
    model, variables = small_model("deconvnet")
    # pool5 is 8x2, so that fc6 gives 2x1 values.
    x = images(1, 230, 45, 3)
    expected = torch_counterpart("deconvnet", variables).eval()(nchw(x))
    assert_close(in_float64(type(model).apply, model, variables, x), expected.permute(0, 2, 3, 1))


@_EACH
def test_torch_models_have_the_same_sizes_at_full_width(name):
    with torch.device("meta"):
        module = create_torch_model(name, 11).eval()
        for size in ((360, 480), (224, 225), (1, 1), (2, 31)):
            assert module(torch.empty(2, 3, *size)).shape == (2, 11, *size)
    found = {path: tuple(tensor.shape[axis] for axis in axes) for path, tensor, axes in weights(name, module)}
    variables = shapes(create_model(name, 11))
    assert found == {path: variables[path[0]][path[1]][path[2]].shape for path in paths(variables)}
    assert sum(parameter.numel() for parameter in module.parameters()) == count(variables["params"])
