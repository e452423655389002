"""Runs the stages at high resolution in bands of rows, so that no whole map of theirs is ever in memory."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from segnet_jax.models.base import SegmentationModel
from segnet_jax.ops.pooling import pooled_size

# The map of an image's band has about so many values at most, by measurement (docs/performance.md), and more where that
# would take more than _MOST_BANDS.
_VALUES = 6_000_000
# Each band is compiled by itself.
_MOST_BANDS = 8


def stage_in_bands(
    model: SegmentationModel,
    number: int,
    body: Callable[..., Any],
    *inputs: jax.Array,
    size: tuple[int, int],
    features: int,
    reach: int,
    train: bool,
) -> Any:
    """Runs a stage like `model.stage`, but outside of training, on CPUs, in bands of rows if its maps are large.

    The results are those of the whole stage: a band has as many more rows as the convolutions see, and what is computed
    of these is left out again. Winograd's algorithm may round them differently.

    Args:
      model: the network, in its `__call__`.
      number: of the stage, as for `model.stage`.
      body: `body(model, *inputs, rows=)`, where `rows` is the height of the maps at the stage's resolution.
      *inputs: [N, H, W, C], or [N, h, w, C] as pooling leaves it; the results likewise.
      size: (H, W), the stage's resolution.
      features: the greatest number of channels at this resolution.
      reach: how many rows above and below its own a result depends on, at this resolution.
      train: whether the network is being trained.
    """
    height, width = size
    whole = functools.partial(body, rows=height)
    bands = _number_of_bands(height, width, features)
    if bands == 1 or train or model.is_initializing() or model.is_mutable_collection("intermediates"):
        return model.stage(number, whole, *inputs)
    variables = model.variables

    def run(rows: int, inputs: Sequence[jax.Array]) -> Any:
        return _as_network(model, functools.partial(body, rows=rows)).apply(variables, *inputs)

    def one_after_the_other(*inputs: jax.Array) -> Any:
        windows, halo = pooled_size(height), pooled_size(reach)
        results: list[Any] = []
        for start, stop in itertools.pairwise(windows * band // bands for band in range(bands + 1)):
            first, last = max(0, start - halo), min(windows, stop + halo)
            rows = min(height, 2 * last) - 2 * first
            # Or XLA would cut all bands first, or have several of them in work at once.
            band, _ = lax.optimization_barrier(([_cut(x, height, first, last) for x in inputs], results[-1:]))
            cut = functools.partial(_cut, rows=rows, first=start - first, last=stop - first)
            results.append(lax.optimization_barrier(jax.tree.map(cut, run(rows, band))))
        return jax.tree.map(lambda *parts: jnp.concatenate(parts, axis=1), *results)

    return lax.platform_dependent(*inputs, cpu=one_after_the_other, default=lambda *inputs: run(height, inputs))


def _as_network(model: SegmentationModel, body: Callable[..., Any]) -> nn.Module:
    """Returns a network of the layers of `model` that computes `body(network, *inputs)`."""

    class Part(type(model)):  # type: ignore[misc]
        @nn.compact
        def __call__(self, *inputs: jax.Array) -> Any:
            return body(self, *inputs)

    fields = {field.name for field in dataclasses.fields(model)} - {"parent", "name"}
    return Part(**{name: getattr(model, name) for name in fields})


def _number_of_bands(height: Any, width: Any, features: int) -> int:
    """Returns the number of bands for maps of that size; 1 where an exported program has symbols for it."""
    if not (isinstance(height, int) and isinstance(width, int)):
        return 1
    return min(-(-height * width * features // _VALUES), _MOST_BANDS, pooled_size(height))


def _cut(x: jax.Array, rows: int, first: int, last: int) -> jax.Array:
    """Cuts the windows of pooling `first` to `last` out of a map that is `rows` high, or pooled from such a one."""
    height = 2 if x.shape[1] == rows else 1
    return x[:, height * first : height * last]
