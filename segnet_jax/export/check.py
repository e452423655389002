"""Compares an exported network with the network itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from segnet_jax.errors import InputError
from segnet_jax.export.program import Program, check_sizes

# Images compared at each size.
_IMAGES = 2
# The share of their values that is missing, if the network takes such images.
_MISSING = 0.1


class Agreement(NamedTuple):
    """Tells how well an exported network agrees with the network.

    Attributes:
      difference: the largest, over the largest absolute value; of labels it is the share of different ones.
      equal: the share of pixels with the same label.
      sizes: (height, width) at which they were compared.
    """

    difference: float
    equal: float
    sizes: tuple[tuple[int, int], ...]


def agreement(program: Program, run: Callable[[np.ndarray], Any], smallest: int) -> Agreement:
    """Compares at three sizes, two images of noise each.

    Args:
      program: what was exported.
      run: the exported program, from images to the output.
      smallest: the smallest height and width that it takes, in pixels.

    Raises:
      InputError: if a result has another type or shape, or is not finite.
    """
    # Of noise neighbours differ clearly, so rounding moves no maximum, as it would in flat regions.
    rng = np.random.default_rng(0)
    whole = program.compiled()
    prepare = jax.jit(dataclasses.replace(program, preprocessing=True).normalize)
    differences, equal = [], []
    sizes = check_sizes(smallest)
    for size in sizes:
        noise = rng.integers(0, 256, (_IMAGES, *size, program.channels)).astype(program.trained.image_dtype)
        if noise.dtype == np.float32:
            noise[rng.random(noise.shape) < _MISSING] = np.nan
            if (statistics := program.trained.channel_statistics) is not None:
                # Values as the network knows them, of a deviation in each channel that is about its own.
                noise = ((noise - 127.5) / 74 * statistics.std + statistics.mean).astype(np.float32)
        images = noise if program.preprocessing else np.asarray(prepare(noise))
        expected, found = whole(images), np.asarray(run(images))
        if expected.shape != found.shape or expected.dtype != found.dtype or not np.isfinite(found).all():
            raise InputError(
                f"The exported network returns {found.dtype} {list(found.shape)} for images of {size[0]}x{size[1]}, "
                f"not finite {expected.dtype} {list(expected.shape)}; please report this."
            )
        if program.output == "labels":
            equal.append(np.mean(expected == found))
            differences.append(1 - equal[-1])
        else:
            equal.append(np.mean(expected.argmax(-1) == found.argmax(-1)))
            differences.append(np.abs(expected - found).max() / np.abs(expected).max())
    return Agreement(float(max(differences)), float(min(equal)), sizes)
