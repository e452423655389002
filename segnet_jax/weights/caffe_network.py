"""The authors' networks in Caffe as networks of this package: which one it is, and its variables.

Names of layers are the same in both (arXiv 1511.00561 and its tutorial's prototxts), but for the classifier's, which is
the last convolution.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from segnet_jax.errors import InputError
from segnet_jax.models.modules import BatchNorm
from segnet_jax.models.segnet import SegNet, SegNetBasic
from segnet_jax.weights.caffemodel import CaffeLayer

_log = logging.getLogger("segnet_jax")

_NETWORKS: dict[str, type[SegNet]] = {"segnet": SegNet, "segnet_basic": SegNetBasic}

# Added to the variance by caffe-segnet's BN layer.
_EPSILON = 1e-9


@dataclass(frozen=True)
class CaffeNetwork:
    """Holds what a network's definition tells of it.

    Attributes:
      name: of the model, such as "segnet".
      normalization: of images, a key of `data.preprocessing.NORMALIZATIONS`.
      dropout_rate: 0 where there is none, or not where the model can have it.
    """

    name: str
    normalization: str
    dropout_rate: float


_BY_NAME = {
    "segnet": CaffeNetwork("segnet", "none", 0.0),
    "segnet_basic": CaffeNetwork("segnet_basic", "lrn", 0.0),
    "bayesian_segnet": CaffeNetwork("segnet", "none", 0.5),
    "bayesian_segnet_basic": CaffeNetwork("segnet_basic", "lrn", 0.5),
}


def named_network(name: str) -> CaffeNetwork:
    """Returns the authors' network of that name, as their prototxt has it.

    Raises:
      InputError: if there is none.
    """
    if name not in _BY_NAME:
        raise InputError(f"There is no architecture {name!r}; the authors' are {', '.join(_BY_NAME)}.")
    return _BY_NAME[name]


def recognize(layers: Sequence[CaffeLayer], source: str) -> CaffeNetwork:
    """Tells which network these layers are.

    Args:
      layers: of a .caffemodel or .prototxt file, with their types.
      source: the file, for messages.

    Raises:
      InputError: if it is none of the authors', or the layers without weights, which tell the rest, are missing.
    """
    if all(layer.blobs for layer in layers):
        raise InputError(
            f"{source} holds weights alone, which tell neither normalisation nor dropout; give the .prototxt file that "
            "goes with it, or the architecture."
        )
    names = {layer.name for layer in layers}
    for name, network in _NETWORKS.items():
        if {network.encoder[0][0][0], network.decoder[0][0][0]} <= names:
            normalization = "lrn" if any(layer.type == "LRN" for layer in layers) else "none"
            return CaffeNetwork(name, normalization, _dropout_rate(network, layers, source))
    shown = ", ".join([layer.name for layer in layers][:4])
    raise InputError(
        f"{source} holds neither SegNet nor SegNet-Basic by the names of its layers ({shown}, ...); give a file of one "
        "of these, with the names of the authors' prototxts."
    )


def _dropout_rate(network: type[SegNet], layers: Sequence[CaffeLayer], source: str) -> float:
    """Returns the ratio if dropout is where the model has it, else 0."""
    wanted, found, ratios = set(), set(), set()
    for number, (_, decoder) in enumerate(zip(network.encoder, network.decoder, strict=True), start=1):
        if number >= network.first_dropout_stage:
            wanted |= {f"pool{number}", decoder[-1][0]}
    last = ""
    for layer in layers:
        if layer.type in ("Convolution", "Pooling"):
            last = layer.name
        elif layer.type == "Dropout":
            found.add(last)
            ratios.add(layer.dropout_ratio)
    if not found:
        return 0.0
    ratio = min(ratios)
    if found == wanted and len(ratios) == 1 and 0 <= ratio < 1:
        return ratio
    _log.warning(
        "%s has dropout after other layers than Bayesian SegNet; it is left out, so that samples cannot be taken.",
        source,
    )
    return 0.0


def first_features(layers: Sequence[CaffeLayer], name: str, source: str) -> int:
    """Returns the number of features of the first convolution of network `name`: 64 in the authors' files."""
    first = _NETWORKS[name].encoder[0][0][0]
    return len(_kernel(_with_weights(layers, first, source), source))


def classifier(layers: Sequence[CaffeLayer], source: str) -> CaffeLayer:
    """Returns the layer that scores classes: the last convolution.

    Raises:
      InputError: if there is no convolution.
    """
    for layer in reversed(layers):
        if layer.blobs and layer.blobs[0].ndim == 4 and layer.type in ("Convolution", ""):
            return layer
    raise InputError(f"{source} has no convolution with weights; give the .caffemodel file of a SegNet.")


def has_separate_classifier(layers: Sequence[CaffeLayer], name: str, source: str) -> bool:
    """Tells whether another convolution follows what is the classifier else, see `SegNet.separate_classifier`."""
    usual = _NETWORKS[name].classifier_layer[0]
    has_usual = any(layer.name == usual and layer.blobs for layer in layers)
    return name == "segnet" and has_usual and classifier(layers, source).name != usual


def convert(
    layers: Sequence[CaffeLayer], name: str, shapes: Mapping[str, Any], outputs: Sequence[int], source: str
) -> dict[str, Any]:
    """Returns the variables of a network with Caffe's weights, float32.

    In evaluation it computes what Caffe does. A convolution's bias is taken off the mean of the BatchNorm behind it.
    A BN layer of two arrays is `scale * x + shift`, the statistics being absorbed by them (the authors'
    compute_bn_statistics.py); one of four has mean and variance too. Where there is none, or one of zeros, the
    convolution has absorbed it (BN-absorber.py), and BatchNorm changes nothing.

    Args:
      layers: of the .caffemodel file.
      name: of the model.
      shapes: tree of `params` and `batch_stats` of which each leaf has the expected shape.
      outputs: the classifier's outputs that become the classes, in their order.
      source: the file, for messages.

    Raises:
      InputError: if the network has other layers, or of other shapes.
    """
    found = {layer.name: layer for layer in layers if layer.blobs}
    last = classifier(layers, source)
    is_separate = has_separate_classifier(layers, name, source)
    model_last = "conv_classifier" if is_separate else _NETWORKS[name].classifier_layer[0]
    params: dict[str, Any] = {}
    batch_stats: dict[str, Any] = {}
    used = {last.name}
    for convolution in [key for key in shapes["params"] if not key.endswith("_bn")]:
        is_last = convolution == model_last
        layer = last if is_last else _with_weights(layers, convolution, source)
        kernel = _kernel(layer, source).transpose(2, 3, 1, 0)
        features = kernel.shape[-1]
        bias = _vector(layer, 1, features, source) if len(layer.blobs) > 1 else np.zeros(features, np.float32)
        if is_last:
            params[convolution] = {"kernel": kernel[..., list(outputs)], "bias": bias[list(outputs)]}
            continue
        norm = f"{convolution}_bn"
        params[convolution] = {"kernel": kernel}
        params[norm], batch_stats[norm] = _batch_norm(found.get(norm), bias, source)
        used |= {convolution, norm}
    if unused := [layer for layer in found if layer not in used]:
        raise InputError(
            f"{source} has weights of the layer {unused[0]!r}, which {name} does not have; give the file of another "
            "network."
        )
    variables = {"params": params, "batch_stats": batch_stats}
    _check_shapes(variables, shapes, source)
    return variables


def _batch_norm(
    layer: CaffeLayer | None, bias: np.ndarray, source: str
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Returns scale and bias, and mean and variance, of the BatchNorm behind a convolution with `bias`."""
    features = len(bias)
    # BatchNorm adds its own epsilon to the variance, which is taken off here.
    one = np.full(features, 1.0 - BatchNorm.epsilon, np.float32)
    unchanged = {"scale": np.ones_like(one), "bias": bias}, {"mean": np.zeros_like(one), "var": one}
    if layer is None:
        return unchanged
    arrays = [_vector(layer, i, features, source) for i in range(len(layer.blobs))]
    if len(arrays) == 2 and not any(array.any() for array in arrays):
        return unchanged
    if len(arrays) == 2:
        scale, shift = arrays
        return {"scale": scale, "bias": shift}, {"mean": -bias, "var": one}
    if len(arrays) == 4 and (arrays[3] >= 0).all():
        scale, shift, mean, var = arrays
        return {"scale": scale, "bias": shift}, {"mean": mean - bias, "var": var + (_EPSILON - BatchNorm.epsilon)}
    raise InputError(
        f"{source}: the BN layer {layer.name!r} has {len(arrays)} arrays, or a negative variance; it must have scale "
        "and shift, or these with mean and variance."
    )


def _with_weights(layers: Sequence[CaffeLayer], name: str, source: str) -> CaffeLayer:
    for layer in layers:
        if layer.name == name and layer.blobs:
            return layer
    raise InputError(f"{source} has no weights of the layer {name!r}; give the file of a whole SegNet.")


def _kernel(layer: CaffeLayer, source: str) -> np.ndarray:
    if layer.blobs[0].ndim != 4:
        raise InputError(
            f"{source}: the layer {layer.name!r} has weights of the shape {layer.blobs[0].shape}, which is no "
            "convolution's; give the file of a SegNet."
        )
    return layer.blobs[0]


def _vector(layer: CaffeLayer, position: int, length: int, source: str) -> np.ndarray:
    values = layer.blobs[position].ravel()
    if len(values) != length:
        raise InputError(
            f"{source}: the layer {layer.name!r} has {len(values)} values in its array {position}, where {length} "
            "features need as many; copy or download it again."
        )
    return values


def _check_shapes(variables: Mapping[str, Any], shapes: Mapping[str, Any], source: str) -> None:
    for collection, layers in variables.items():
        for name, arrays in layers.items():
            for key, value in arrays.items():
                expected = shapes[collection][name][key].shape
                if value.shape != expected:
                    raise InputError(
                        f"{source}: the layer {name!r} has the {key} {list(value.shape)} where {list(expected)} is "
                        "expected; give the file of one of the authors' networks."
                    )
