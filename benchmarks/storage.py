"""Lists what a network stores in its encoder for its decoder: the "storage multiplier" of arXiv 1511.00561, Table 1.

python -m benchmarks.storage

Prints Markdown: a row for each network of Table 1, and for the others that unpool. What is stored is read off the
traced inference of one image of 360x480: every array that is there when the deepest map is, and is used after. The
multiplier is that of the finest encoder alone, in maps of one channel in float32, as in the paper.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Var

from benchmarks.workload import NUM_CLASSES
from segnet_jax.models import create_model

_SIZE = (360, 480)

# The networks, with the multiplier of Table 1.
_PUBLISHED = {
    "bilinear_interpolation": "0",
    "segnet_basic": "1",
    "segnet_basic_encoder_addition": "64",
    "segnet_basic_single_channel_decoder": "1",
    "fcn_basic": "11",
    "fcn_basic_no_addition": "n/a",
    "fcn_basic_no_dim_reduction": "64",
    "fcn_basic_no_addition_no_dim_reduction": "0",
    "segnet": "-",
    "deconvnet": "-",
    "segnet_flat": "-",
}


class Stored(NamedTuple):
    """An array that the encoder stores: its shape, [N, h, w, C], and its type, where uint8 holds indices."""

    shape: tuple[int, ...]
    dtype: Any

    def num_bytes(self, index_bits: int = 8) -> int:
        """Returns its size, with so many bits an index."""
        bits = index_bits if self.dtype == jnp.uint8 else 8 * self.dtype.itemsize
        return math.prod(self.shape) * bits // 8


def main() -> None:
    """Prints the table."""
    print(table((name, stored_by_encoder(name, _SIZE)) for name in _PUBLISHED))


def table(networks: Iterable[tuple[str, Sequence[Stored]]]) -> str:
    """Returns Markdown of what each network stores, with the indices in a byte each, as they are, and in 2 bits."""
    lines = [
        "| network | multiplier | with 2 bits an index | Table 1 | MB of all encoders | with 2 bits an index |",
        "|---|---|---|---|---|---|",
    ]
    for name, stored in networks:
        cells = [f"{multiplier(stored, bits):g}" for bits in (8, 2)]
        sizes = [f"{sum(array.num_bytes(bits) for array in stored) / 1e6:.2f}" for bits in (8, 2)]
        lines.append(f"| {' | '.join([f'`{name}`', *cells, _PUBLISHED[name], *sizes])} |")
    return "\n".join(lines)


def multiplier(stored: Sequence[Stored], index_bits: int = 8) -> float:
    """Returns what the finest encoder stores, in float32 maps of one channel of its size; 0 if that is nothing."""
    finest = [array for array in stored if array.shape[1:3] == stored[0].shape[1:3]]
    return sum(array.num_bytes(index_bits) / (4 * math.prod(array.shape[1:3])) for array in finest)


def stored_by_encoder(name: str, size: tuple[int, int], **fields: Any) -> list[Stored]:
    """Returns what the network `name` stores for its decoder, the finest first, for an image of `size` (height, width).

    The deepest map itself, the decoder's input, is not among it. `fields` are those of `create_model`.
    """
    model = create_model(name, NUM_CLASSES, **fields)
    image = jnp.zeros((1, *size, 3))
    variables = jax.eval_shape(model.init, jax.random.key(0), image)

    def run(variables: Any, image: jax.Array) -> Any:
        logits, state = model.apply(variables, image, mutable=["intermediates"])
        return state["intermediates"][f"pool{model.num_stages}"], logits

    program = jax.make_jaxpr(run)(variables, image).jaxpr
    deepest = program.outvars[0]
    place = next(i for i, equation in enumerate(program.eqns) if deepest in equation.outvars)
    before = [var for equation in program.eqns[: place + 1] for var in equation.outvars]
    later = {var for equation in program.eqns[place + 1 :] for var in equation.invars if isinstance(var, Var)}
    stored = [Stored(var.aval.shape, var.aval.dtype) for var in before if var in later and var is not deepest]
    return sorted(stored, key=lambda array: -array.shape[1])


if __name__ == "__main__":
    main()
