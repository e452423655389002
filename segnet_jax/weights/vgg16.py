"""VGG16's ImageNet weights as the encoder of SegNet and others (arXiv 1511.00561, section 3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from safetensors import SafetensorError
from safetensors.numpy import load_file

from segnet_jax.data.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from segnet_jax.errors import InputError
from segnet_jax.models.base import SegmentationModel
from segnet_jax.models.modules import BatchNorm
from segnet_jax.runtime import compilation
from segnet_jax.weights.caffemodel import read_caffemodel
from segnet_jax.weights.hub import fetch

# The features of VGG16's five stages.
_FEATURES = (64, 128, 256, 512, 512)

# torchvision numbers the modules of `features`, ReLUs and pools included.
VGG16_LAYERS = {
    "conv1_1": 0,
    "conv1_2": 2,
    "conv2_1": 5,
    "conv2_2": 7,
    "conv3_1": 10,
    "conv3_2": 12,
    "conv3_3": 14,
    "conv4_1": 17,
    "conv4_2": 19,
    "conv4_3": 21,
    "conv5_1": 24,
    "conv5_2": 26,
    "conv5_3": 28,
}

# RGB of 0 to 255, subtracted from images in the training of Caffe's VGG16; it was not divided by anything.
_CAFFE_MEAN = (123.68, 116.779, 103.939)


def find_weights(path: str, *, repository: str, file: str, revision: str) -> Path:
    """Finds the weights' file: the local `path` if one is given, else from the Hugging Face hub, or its cache.

    Raises:
      InputError: if the path does not exist, or the hub cannot be reached and the file is not in its cache.
    """
    if path:
        local = Path(path).expanduser()
        if not local.is_file():
            raise InputError(f"pretrained.path={path} is not a file; give VGG16's .safetensors or .caffemodel file.")
        return local
    advice = (
        f"download https://huggingface.co/{repository}/resolve/{revision}/{file} on a machine that is online, put it "
        "anywhere on this one and set --config.pretrained.path=FILE"
    )
    return fetch(repository, file, revision, refresh=False, advice=advice)


def load_vgg16(path: str | Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Reads VGG16's convolutions.

    Args:
      path: a .safetensors file with torchvision's names, `features.N.weight` (OIHW) and `features.N.bias`, or a
        .caffemodel file with the prototxt's; whatever else is in it is ignored.

    Returns:
      For each name of the paper's prototxt ("conv1_1", ...) the kernel, float32 HWIO, and the bias, float32 [O]; for
      images that `preprocessing.imagenet` normalises.

    Raises:
      InputError: if the file is damaged, or a tensor is missing or not finite.
    """
    if Path(path).suffix == ".caffemodel":
        return _load_caffe(path)
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is not a readable .safetensors file ({error}); download it again.") from error
    layers = {}
    for name, number in VGG16_LAYERS.items():
        for key in (f"features.{number}.weight", f"features.{number}.bias"):
            if key not in tensors:
                raise InputError(f"{path} has no tensor {key!r}; it must hold VGG16 with torchvision's names.")
        kernel, bias = (tensors[f"features.{number}.{part}"].astype(np.float32) for part in ("weight", "bias"))
        if not (np.isfinite(kernel).all() and np.isfinite(bias).all()):
            raise InputError(f"{path} has values of {name} that are not finite; download it again.")
        layers[name] = kernel.transpose(2, 3, 1, 0), bias
    return layers


def _load_caffe(path: str | Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Reads VGG16 for Caffe, as `load_vgg16` does; its first layer, for BGR, is rewritten for normalised RGB.

    It then answers the same, but for the outermost pixels: the zeros around an image stand for another mean, half a
    step of 8 bits away.
    """
    found = {layer.name: layer.blobs for layer in read_caffemodel(path)}
    layers = {}
    for name in VGG16_LAYERS:
        blobs = found.get(name, ())
        if [blob.ndim for blob in blobs[:1]] != [4] or len(blobs) != 2 or blobs[1].size != len(blobs[0]):
            raise InputError(
                f"{path} has no kernel and bias of {name!r}; it must hold VGG16 with its prototxt's names."
            )
        layers[name] = blobs[0].transpose(2, 3, 1, 0), blobs[1].ravel()
    kernel, bias = layers["conv1_1"]
    if kernel.shape[2] != 3:
        raise InputError(f"{path} takes images of {kernel.shape[2]} channels; give VGG16 for colour images.")
    kernel = kernel[:, :, ::-1]
    # A value of 0 to 255 is mean + std * normalised, of which Caffe's network takes its own mean off.
    mean, std = (255 * np.array(values) for values in (IMAGENET_MEAN, IMAGENET_STD))
    bias = bias + np.sum(kernel * (mean - _CAFFE_MEAN)[:, None], axis=(0, 1, 2))
    layers["conv1_1"] = (kernel * std[:, None]).astype(np.float32), bias.astype(np.float32)
    return layers


def initialize_encoder(
    variables: Mapping[str, Any], layers: Mapping[str, tuple[Any, Any]], first_channel: int = 0
) -> dict[str, Any]:
    """Returns `variables` with the encoder's convolutions replaced by pretrained ones.

    A convolution that has a bias takes the pretrained one. Where a BatchNorm follows instead, it absorbs the bias: with
    the mean at minus the bias, and the variance and scale at 1, it adds the bias. So in evaluation, before any
    training, the encoder computes what VGG16 does.

    Of images with more channels than RGB, the kernels of the first layer begin at zero in the others: the encoder still
    computes what VGG16 does of RGB alone, and learns from the first step on what the others add.

    Args:
      variables: of a network with VGG16's encoder, at full width and for three channels or more.
      layers: what `load_vgg16` gives.
      first_channel: the number, from 0, of the first of the three channels that are RGB.

    Raises:
      InputError: if the layers are not VGG16's, or the network has no such layer, or of another shape.
    """
    _require_vgg16(layers)
    params, batch_stats = dict(variables["params"]), dict(variables.get("batch_stats", {}))
    for name, (kernel, bias) in layers.items():
        expected = params[name]["kernel"].shape if name in params else None
        if name == "conv1_1" and expected and expected[2] > 3:
            first = np.zeros((*kernel.shape[:2], expected[2], kernel.shape[3]), kernel.dtype)
            first[:, :, first_channel : first_channel + 3] = kernel
            kernel = first
        if kernel.shape != expected:
            raise InputError(
                f"VGG16's {name} has a kernel of {kernel.shape}, the model's is {expected}; choose a network with "
                "VGG16's encoder at --config.model.width_multiplier=1.0, for images of three channels or more, or set "
                "--config.pretrained.weights=none."
            )
        dtype = params[name]["kernel"].dtype
        params[name] = {**params[name], "kernel": kernel.astype(dtype)}
        if "bias" in params[name]:
            params[name]["bias"] = bias.astype(dtype)
        else:
            batch_stats[f"{name}_bn"] = {**batch_stats[f"{name}_bn"], "mean": -bias}
    return {**variables, "params": params, "batch_stats": batch_stats}


def _require_vgg16(layers: Mapping[str, tuple[Any, Any]]) -> None:
    fan_in = 3
    for name in VGG16_LAYERS:
        features = _FEATURES[int(name[4]) - 1]
        kernel, bias = layers[name]
        if (kernel.shape, bias.shape) != ((3, 3, fan_in, features), (features,)):
            raise InputError(
                f"the file of pretrained weights has for {name} a kernel of {kernel.shape} and {bias.shape} biases, "
                f"and VGG16 has {(3, 3, fan_in, features)} and {(features,)}: it is another network's; give VGG16's."
            )
        fan_in = features


def mirror_encoder(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Returns `variables` with a decoder whose kernels begin as the encoder's, turned round.

    The kernel of decoder conv4_1_D becomes that of conv4_1 with inputs and outputs exchanged and turned by 180 degrees,
    as its gradient is, less its mean, and scaled to the deviation of He et al.'s start, which the decoder has
    otherwise. Kernels of other shapes than their mirror image, such as the classifier's, stay.

    Args:
      variables: of SegNet, whose encoder is initialised.
    """
    params = dict(variables["params"])
    for name, layer in params.items():
        mirrored = params.get(name.removesuffix("_D"), {}).get("kernel") if name.endswith("_D") else None
        if mirrored is None:
            continue
        kernel = np.asarray(mirrored, np.float64)[::-1, ::-1].swapaxes(2, 3)
        if kernel.shape == layer["kernel"].shape:
            kernel = (kernel - kernel.mean()) / kernel.std() * np.sqrt(2 / np.prod(kernel.shape[:3]))
            params[name] = {**layer, "kernel": kernel.astype(layer["kernel"].dtype)}
    return {**variables, "params": params}


def match_batch_norm(
    model: SegmentationModel, variables: Mapping[str, Any], images: Iterable[jax.Array]
) -> dict[str, Any]:
    """Returns `variables` with an encoder that computes what VGG16 does in training as well.

    Training normalises by the statistics of a batch, which undoes whatever the running mean absorbed. So each
    BatchNorm behind one of VGG16's convolutions gets as scale the standard deviation, and as shift the mean plus
    VGG16's bias, of what `images` let that convolution answer inside VGG16; and as running averages the same mean and
    variance. Evaluation then computes VGG16 as before, and training up to the difference between a batch and `images`.

    Args:
      model: a network with VGG16's encoder.
      variables: as `initialize_encoder` gives them. Without BatchNorm behind these layers, they are returned as is.
      images: batches of normalised images, float [N, H, W, 3].
    """
    params, batch_stats = dict(variables["params"]), dict(variables.get("batch_stats", {}))
    names = [f"{layer}_bn" for layer in VGG16_LAYERS if f"{layer}_bn" in batch_stats]
    if not names:
        return dict(variables)
    # What is recorded must not lie inside a rematerialised stage.
    model = model.clone(remat="none")

    def moments(variables: Any, images: jax.Array) -> dict[str, jax.Array]:
        found = {}

        def record(call: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
            if isinstance(context.module, BatchNorm) and context.module.name in names:
                x = args[0].astype(jnp.float32)
                found[context.module.name] = jnp.stack([jnp.mean(x, (0, 1, 2)), jnp.mean(jnp.square(x), (0, 1, 2))])
            return call(*args, **kwargs)

        with nn.intercept_methods(record):
            model.apply(variables, images, train=False)
        return found

    compiled = compilation.jit(moments)
    each = [jax.device_get(compiled(variables, batch)) for batch in images]
    for name in names:
        both = np.asarray([found[name] for found in each], np.float64)
        mean, mean_of_squares = both.mean(axis=0)
        var = np.maximum(0.0, mean_of_squares - np.square(mean))
        bias = -batch_stats[name]["mean"]
        dtype = params[name]["scale"].dtype
        params[name] = {
            "scale": np.sqrt(var + BatchNorm.epsilon).astype(dtype),
            "bias": (mean + bias).astype(dtype),
        }
        batch_stats[name] = {"mean": mean.astype(np.float32), "var": var.astype(np.float32)}
    return {**variables, "params": params, "batch_stats": batch_stats}
