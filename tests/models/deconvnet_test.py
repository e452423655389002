"""Tests for segnet_jax/models/deconvnet.py."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from segnet_jax.models import create_model
from segnet_jax.models.modules import ConvTranspose
from tests.helpers.networks import (
    TorchLayers,
    assert_all_reached,
    assert_parity,
    count,
    gradients,
    images,
    shapes,
    small_model,
    vgg_stages,
)

# The prototxt's decoder: name, features in and out.
_DECODER = [
    [("deconv5_1", 512, 512), ("deconv5_2", 512, 512), ("deconv5_3", 512, 512)],
    [("deconv4_1", 512, 512), ("deconv4_2", 512, 512), ("deconv4_3", 512, 256)],
    [("deconv3_1", 256, 256), ("deconv3_2", 256, 256), ("deconv3_3", 256, 128)],
    [("deconv2_1", 128, 128), ("deconv2_2", 128, 64)],
    [("deconv1_1", 64, 64), ("deconv1_2", 64, 64)],
]
_SMALL = {"width_multiplier": 1 / 16}


@functools.partial(jax.jit, static_argnums=0)
def evaluate(model, variables, x):
    return model.apply(variables, x)


def test_deconvnet_has_its_numbers_of_parameters():
    vgg16, vgg16_features = 14_710_464, 4_224
    decoder = [layer for stage in _DECODER for layer in stage]
    for width, total in ((1024, 81_906_699), (4096, None)):
        kernels = vgg16 + 49 * 512 * width + width * width + 49 * width * 512
        kernels += sum(9 * fan_in * fan_out for _, fan_in, fan_out in decoder)
        features = vgg16_features + 2 * width + 512 + sum(fan_out for *_, fan_out in decoder)
        variables = shapes(create_model("deconvnet", 11, fc_features=width))
        assert count(variables["params"]) == kernels + 2 * features + (64 + 1) * 11
        assert count(variables["batch_stats"]) == 2 * features
        assert total in (None, count(variables["params"]))
        # Table 6 has 877 MB, which neither width explains.
        megabytes = count(variables) * 4 / 1e6
        assert round(megabytes) == {1024: 328, 4096: 1007}[width]


def test_deconvnet_has_its_layers():
    params = jax.tree.map(jnp.shape, shapes(create_model("deconvnet", 11))["params"])
    expected = {
        "fc6": (7, 7, 512, 1024),
        "fc7": (1, 1, 1024, 1024),
        "fc6-deconv": (7, 7, 1024, 512),
        "seg-score": (1, 1, 64, 11),
        **{name: (3, 3, fan_in, fan_out) for stage in _DECODER for name, fan_in, fan_out in stage},
    }
    assert {name: leaves["kernel"] for name, leaves in params.items() if "kernel" in leaves} == expected | {
        name: leaves["kernel"] for name, leaves in params.items() if name.startswith("conv") and "kernel" in leaves
    }
    norms = {name.removesuffix("_bn") for name in params if name.endswith("_bn")}
    assert norms == {name for name, leaves in params.items() if "kernel" in leaves} - {"seg-score"}
    # The one bias of a convolution is the classifier's.
    assert [name for name, leaves in params.items() if {"kernel", "bias"} <= set(leaves)] == ["seg-score"]


@pytest.mark.parametrize("size", [(360, 480), (224, 224), (45, 61), (1, 1), (2, 31), (30, 300)])
def test_deconvnet_has_logits_of_the_size_of_the_image(size):
    model = create_model("deconvnet", 11)
    logits = jax.eval_shape(model.apply, shapes(model, *size), jnp.zeros((2, *size, 3)))
    assert logits.shape == (2, *size, 11)


@pytest.mark.parametrize(
    ("size", "fc6", "fc6_deconv"),
    [
        ((224, 224), (1, 1), (7, 7)),
        ((360, 480), (6, 9), (12, 15)),
        # pool5 is 2x10: five rows of zeros make it 7x10.
        ((45, 300), (1, 4), (7, 10)),
    ],
)
def test_deconvnet_has_the_sizes_of_the_fully_connected_layers(size, fc6, fc6_deconv):
    model = create_model("deconvnet", 11)
    apply = functools.partial(
        model.apply,
        capture_intermediates=lambda module, _: isinstance(module, nn.Conv | ConvTranspose),
        mutable=["intermediates"],
    )
    _, state = jax.eval_shape(apply, shapes(model, *size), jnp.zeros((1, *size, 3)))
    found = {name: leaf["__call__"][0].shape for name, leaf in state["intermediates"].items() if "fc" in name}
    assert found == {"fc6": (1, *fc6, 1024), "fc7": (1, *fc6, 1024), "fc6-deconv": (1, *fc6_deconv, 512)}


def reference(variables, x):
    """Computes the logits by the authors' prototxt, deconvolutions as such: with the kernels mirrored back."""
    torch = TorchLayers(variables)
    x, memory = torch.image(x), []
    for names in vgg_stages():
        for layer in names:
            x = torch.unit(x, layer, padding=1)
        before = x.shape[2:]
        x, indices = torch.pool(x)
        memory.append((indices, before))
    height, width = x.shape[2:]
    top, left = max(0, 7 - height) // 2, max(0, 7 - width) // 2
    x = torch.functional.pad(x, (left, max(0, 7 - width) - left, top, max(0, 7 - height) - top))
    x = torch.unit(torch.unit(x, "fc6"), "fc7")
    x = torch.deconv(x, "fc6-deconv")[:, :, top : top + height, left : left + width]
    if "bias" in variables["params"]["fc6-deconv"]:
        x = x + torch.tensor(variables["params"]["fc6-deconv"]["bias"])[:, None, None]
    x = torch.functional.relu(torch.norm(x, "fc6-deconv"))
    for stage in _DECODER:
        x = torch.unpool(x, *memory.pop())
        for layer, *_ in stage:
            params = torch.params[layer]
            stored = torch.tensor(np.transpose(params["kernel"], (2, 3, 0, 1)))
            x = torch.functional.conv_transpose2d(x, stored.flip((2, 3)), padding=1)
            if "bias" in params:
                x = x + torch.tensor(params["bias"])[:, None, None]
            x = torch.functional.relu(torch.norm(x, layer))
    return torch.conv(x, "seg-score")


# Windows of fc6 over a larger pool5, and a pool5 that gets zeros around it.
@pytest.mark.parametrize(("size", "batch_norm"), [((230, 260), True), ((37, 58), True), ((45, 33), False)])
def test_deconvnet_in_evaluation_equals_pytorch(size, batch_norm):
    model, variables = small_model("deconvnet", batch_norm=batch_norm, **_SMALL)
    x = images(1, *size, 3)
    assert_parity(evaluate(model, variables, x), reference(variables, x))


@pytest.mark.parametrize("batch_norm", [True, False])
def test_deconvnet_has_gradients_of_every_parameter(batch_norm):
    model, variables = small_model("deconvnet", batch_norm=batch_norm, **_SMALL)
    # Four images: fc6 gives one value per image and feature, and BatchNorm needs several.
    assert_all_reached(gradients(model, variables, images(4, 40, 64, 3)))
