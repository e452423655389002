"""The function that is exported: from images to labels, probabilities or logits, for any number and size of images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from segnet_jax.errors import InputError
from segnet_jax.inference.preparation import Preparation
from segnet_jax.inference.trained_model import TrainedModel
from segnet_jax.models.base import SegmentationModel
from segnet_jax.runtime import compilation

OUTPUTS = ("labels", "probabilities", "logits")

# Sizes above which networks are exported for every size: DeconvNet needs a pool5 of 7x7, for it pads smaller ones by
# as much as they lack.
_SMALLEST_SIZES = (1, 193)


@dataclass(frozen=True)
class Program:
    """A network with what goes before and after it.

    Attributes:
      trained: the network.
      preparation: its images' normalisation.
      output: one of `OUTPUTS`.
      preprocessing: whether it takes images [N, H, W, channels], uint8 or float32 as in training, and normalises them;
        otherwise it takes normalised ones, float32.
      model: in float32, whatever the training used.
      variables: of the network.
    """

    trained: TrainedModel
    preparation: Preparation
    output: str = "labels"
    preprocessing: bool = True
    model: SegmentationModel = field(init=False)
    variables: Any = field(init=False)

    def __post_init__(self) -> None:
        """Takes the network without what is for training alone."""
        # Nothing is kept for a backward pass, nor shared with other devices.
        model = self.trained.model.clone(dtype=jnp.float32, remat="none", axis_name=None)
        object.__setattr__(self, "model", model)
        object.__setattr__(self, "variables", jax.tree.map(jnp.asarray, self.trained.variables))

    @property
    def channels(self) -> int:
        """The number of channels of an image."""
        return sum(self.trained.modalities)

    @property
    def input_dtype(self) -> Any:
        """The type of the images."""
        return jnp.dtype(self.trained.image_dtype if self.preprocessing else jnp.float32)

    def normalize(self, images: jax.Array) -> jax.Array:
        """Returns normalised images, float32 [N, H, W, channels]."""
        return self.preparation.normalize(images) if self.preprocessing else images

    def network(self, x: jax.Array) -> jax.Array:
        """Returns logits, float32 [N, H, W, K], of normalised images."""
        return self.model.apply(self.variables, x, train=False)  # type: ignore[return-value]

    def finish(self, logits: jax.Array) -> jax.Array:
        """Returns the output, from logits: labels uint8 [N, H, W], or float32 [N, H, W, K]."""
        if self.output == "labels":
            return jnp.argmax(logits, axis=-1).astype(jnp.uint8)
        return jax.nn.softmax(logits) if self.output == "probabilities" else logits

    def __call__(self, images: jax.Array) -> jax.Array:
        """Returns the output of images, [N, H, W, channels]."""
        return self.finish(self.network(self.normalize(images)))

    def compiled(self) -> Callable[[np.ndarray], np.ndarray]:
        """Returns the same compiled for each size; the variables are no constants of it, with which XLA takes long."""

        def run(variables: Any, images: jax.Array) -> jax.Array:
            logits = self.model.apply(variables, self.normalize(images), train=False)
            return self.finish(logits)  # type: ignore[arg-type]

        compiled = compilation.jit(run)
        return lambda images: np.asarray(compiled(self.variables, images))


def symbolic(program: Program, do: Callable[[jax.ShapeDtypeStruct], Any]) -> tuple[Any, int]:
    """Gives `do` a description of images of which number, height and width are the symbols n, h and w.

    Returns:
      What it returns, and the smallest height and width, in pixels, for which it holds.

    Raises:
      InputError: if the network cannot be exported for every size.
    """
    for smallest in _SMALLEST_SIZES:
        constraints = [f"{side} >= {smallest}" for side in "hw"]
        symbols = export.symbolic_shape(f"n, h, w, {program.channels}", constraints=constraints)
        try:
            return do(jax.ShapeDtypeStruct(symbols, program.input_dtype)), smallest
        except jax.errors.InconclusiveDimensionOperation as error:
            reason = str(error).partition("\n")[0]
    raise InputError(f"This network cannot be exported for images of every size ({reason}).")


def check_sizes(smallest: int) -> tuple[tuple[int, int], ...]:
    """Returns three sizes, (height, width) in pixels, to compare an exported network at; the first is odd."""
    base = max(smallest, 33)
    return (base, base + 12), (base + 31, base + 15), (base + 15, base + 47)
