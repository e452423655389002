"""Layers and image size of a .prototxt file: a network's definition as Caffe reads it, protocol buffers in text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segnet_jax.errors import InputError
from segnet_jax.weights.caffemodel import CaffeLayer

_TOKEN = re.compile(r"""\s+|\#[^\n]*|(?P<text>"[^"\n]*"|'[^'\n]*')|(?P<word>[-+.\w]+)|(?P<mark>[{}:,;])""")

# A message: its fields in their order, of which a value is a text or a message.
_Message = list[tuple[str, Any]]


@dataclass(frozen=True)
class Prototxt:
    """A network's definition.

    Attributes:
      layers: in their order, without weights.
      image_size: (height, width) of the input; () where a data layer leaves it to its images.
    """

    layers: tuple[CaffeLayer, ...]
    image_size: tuple[int, ...]


def read_prototxt(path: str | Path) -> Prototxt:
    """Reads the definition of a network for inference.

    Raises:
      InputError: if the file cannot be read or is no .prototxt file, or its BN layers normalise by the statistics of
        each batch, as in training.
    """
    try:
        message = _parse(Path(path).expanduser().read_bytes().decode("utf-8"))
        layers = [value for key, value in message if key == "layer"]
        found = tuple(_layer(layer) for layer in layers)
        size = _image_size(message, layers)
        training = [_first(layer, "name") for layer in layers if _normalizes_by_batch(layer)]
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check the path.") from error
    except (ValueError, TypeError) as error:
        raise InputError(f"{path} is no readable .prototxt file ({error}); copy or download it again.") from error
    if not found:
        raise InputError(f"{path} has no layers; give the .prototxt file that defines the network.")
    if training:
        raise InputError(
            f"{path} is for training: its BN layers, such as {training[0]}, normalise by each batch; give the "
            ".prototxt for inference, and the weights that the authors' compute_bn_statistics.py writes."
        )
    return Prototxt(found, size)


def _layer(layer: _Message) -> CaffeLayer:
    ratio = float(_first(_first(layer, "dropout_param", []), "dropout_ratio", "0.5"))
    return CaffeLayer(str(_first(layer, "name", "")), str(_first(layer, "type", "")), ratio)


def _normalizes_by_batch(layer: _Message) -> bool:
    return _first(layer, "type") == "BN" and _first(_first(layer, "bn_param", []), "bn_mode") != "INFERENCE"


def _image_size(message: _Message, layers: list[_Message]) -> tuple[int, ...]:
    shapes = [[value for key, value in message if key == "input_dim"], _dims(_first(message, "input_shape", []))]
    shapes += [_dims(_first(_first(layer, "input_param", []), "shape", [])) for layer in layers]
    size = next((shape[2:] for shape in shapes if len(shape) == 4), [])
    return tuple(int(length) for length in size)


def _dims(shape: _Message) -> list[str]:
    return [value for key, value in shape if key == "dim"]


def _first(message: _Message, name: str, default: Any = None) -> Any:
    return next((value for key, value in message if key == name), default)


def _parse(text: str) -> _Message:
    """Returns the fields of a whole file; messages within messages may be of any depth."""
    stack: list[_Message] = [[]]
    name = ""
    for token in _tokens(text):
        if token == "{":
            if not name:
                raise ValueError("a message without a name")
            inner: _Message = []
            stack[-1].append((name, inner))
            stack.append(inner)
            name = ""
        elif token == "}":
            if name or len(stack) == 1:
                raise ValueError("a brace that closes nothing" if not name else f"{name!r} without a value")
            stack.pop()
        elif not name:
            name = token
        else:
            stack[-1].append((name, token.strip("\"'")))
            name = ""
    if name or len(stack) > 1:
        raise ValueError("it ends within a message")
    return stack[0]


def _tokens(text: str) -> Iterator[str]:
    """Yields names, values and braces."""
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ValueError(f"unexpected {text[at]!r} at line {text.count(chr(10), 0, at) + 1}")
        at = match.end()
        # The other marks only separate what is told apart without them.
        if match.lastgroup in ("text", "word") or match.group() in ("{", "}"):
            yield match.group()
