"""Networks as StableHLO, one file for any number and size of images on CPU, GPU and TPU, for programs that have JAX."""

from __future__ import annotations

from typing import Any

import jax
from jax import export

from segnet_jax.export.program import Program, symbolic

PLATFORMS = ("cpu", "cuda", "tpu")


def to_stablehlo(program: Program) -> tuple[bytes, int]:
    """Returns the program as `jax.export` serializes it, and the smallest height and width that it takes, in pixels.

    `jax.export.deserialize(...).call(images)` runs it, in any JAX of the next six months.

    Raises:
      InputError: if the network cannot be exported.
    """

    def write(images: jax.ShapeDtypeStruct) -> bytearray:
        return export.export(jax.jit(program.__call__), platforms=PLATFORMS)(images).serialize()

    exported, smallest = symbolic(program, write)
    return bytes(exported), smallest


def load_stablehlo(exported: bytes) -> Any:
    """Returns the function of images that was exported."""
    return export.deserialize(bytearray(exported)).call
