"""Times several contenders in turns, and the matrix products of a device."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp


def interleaved(contenders: Mapping[str, Callable[[], object]], rounds: int, warm_up: int = 1) -> dict[str, float]:
    """Returns the median seconds of each contender.

    They run in turns, A B C A B C …, so that a machine that slows down does so for all of them alike.

    Args:
      contenders: functions that return when their work is done.
      rounds: measured calls of each.
      warm_up: calls of each before that.
    """
    for run in contenders.values():
        for _ in range(warm_up):
            run()
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            seconds[name].append(_seconds(run))
    return {name: statistics.median(values) for name, values in seconds.items()}


def matmul_rate(device: jax.Device, dtype: jnp.dtype) -> float:
    """Returns the FLOP/s of the product of two square matrices on `device`: the best of several, its practical limit.

    The matrices have 2048 rows on CPUs and 8192 elsewhere; `dtype` is theirs and the product's.
    """
    size = 2048 if device.platform == "cpu" else 8192
    a, b = (jax.device_put(jnp.ones((size, size), dtype), device) for _ in range(2))
    product = jax.jit(jnp.matmul)
    jax.block_until_ready(product(a, b))
    best = min(_seconds(lambda: jax.block_until_ready(product(a, b))) for _ in range(5))
    return 2 * size**3 / best


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
