"""Tests for benchmarks/torch_models.py: the same networks, in PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segnet_jax.models import create_model

torch = pytest.importorskip("torch", reason="PyTorch comes with requirements-bench.txt")

from benchmarks.torch_models import TORCH_MODELS, create_torch_model  # noqa: E402

_WIDTH = 1 / 16


def layers_in_order(params):
    """The names of the convolutions, in the order of computation."""
    encoder = sorted(name for name in params if not name.endswith("_bn") and "_D" not in name and "decode" not in name)
    decoder = [name for name in params if not name.endswith("_bn") and ("_D" in name or "decode" in name)]
    return [name for name in encoder if name != "conv_classifier"], sorted(decoder, reverse=True)


def copy_weights(variables, module):
    """Puts a network's variables into its PyTorch counterpart."""
    params, stats = variables["params"], variables["batch_stats"]
    encoder, decoder = layers_in_order(params)
    names = [*encoder, *(name for name in decoder if name != "conv1_1_D")]
    names.append("conv1_1_D" if "conv1_1_D" in params else "conv_classifier")
    convolutions = [m for m in module.modules() if isinstance(m, torch.nn.Conv2d)]
    norms = [m for m in module.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    with torch.no_grad():
        for name, convolution in zip(names, convolutions, strict=True):
            convolution.weight.copy_(torch.tensor(np.asarray(params[name]["kernel"]).transpose(3, 2, 0, 1)))
        convolutions[-1].bias.copy_(torch.tensor(np.asarray(params[names[-1]]["bias"])))
        for name, norm in zip(names[:-1], norms, strict=True):
            norm.weight.copy_(torch.tensor(np.asarray(params[f"{name}_bn"]["scale"])))
            norm.bias.copy_(torch.tensor(np.asarray(params[f"{name}_bn"]["bias"])))
            norm.running_mean.copy_(torch.tensor(np.asarray(stats[f"{name}_bn"]["mean"])))
            norm.running_var.copy_(torch.tensor(np.asarray(stats[f"{name}_bn"]["var"])))


@pytest.mark.parametrize("name", TORCH_MODELS)
def test_the_same_logits_and_gradients_from_the_same_weights(name):
    model = create_model(name, 5, width_multiplier=_WIDTH)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 37, 45, 3)).astype(np.float32)
    variables = jax.jit(model.init)(jax.random.key(0), x)
    variables = jax.tree.map(lambda leaf: leaf + 0.1 * rng.uniform(size=leaf.shape).astype(np.float32), variables)
    module = create_torch_model(name, 5, _WIDTH)
    copy_weights(variables, module)
    images = torch.tensor(x.transpose(0, 3, 1, 2))

    with torch.inference_mode():
        expected = module.eval()(images).numpy().transpose(0, 2, 3, 1)
    actual = jax.jit(model.apply)(variables, x)
    np.testing.assert_allclose(actual, expected, atol=1e-4 * np.abs(expected).max())

    module.train()(images).square().mean().backward()

    def loss(params):
        logits, _ = model.apply({**variables, "params": params}, x, train=True, mutable=["batch_stats"])
        return jnp.mean(jnp.square(logits))

    gradients = jax.jit(jax.grad(loss))(variables["params"])
    first = next(m for m in module.modules() if isinstance(m, torch.nn.Conv2d)).weight.grad
    expected = first.numpy().transpose(2, 3, 1, 0)
    actual = gradients[layers_in_order(gradients)[0][0]]["kernel"]
    np.testing.assert_allclose(actual, expected, atol=2e-2 * np.abs(expected).max())


@pytest.mark.parametrize("name", TORCH_MODELS)
def test_the_same_number_of_parameters_at_full_width(name):
    with torch.device("meta"):
        module = create_torch_model(name, 11)
    model = create_model(name, 11)
    params = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))["params"]
    ours = sum(leaf.size for leaf in jax.tree.leaves(params))
    assert sum(parameter.numel() for parameter in module.parameters()) == ours
