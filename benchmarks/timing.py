"""Times several contenders in turns, and the matrix products of a device."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping

import jax
import jax.numpy as jnp


def take_turns(
    contenders: Mapping[str, Callable[[], object]],
    rounds: int,
    warm_up: int = 1,
    begin: Callable[[str, int], None] = lambda name, round_number: None,
) -> Iterator[tuple[str, int, float]]:
    """Yields the name, the round and the seconds of every call.

    They run in turns, A B C A B C …, so that a machine that slows down does so for all of them alike.

    Args:
      contenders: functions that return when their work is done.
      rounds: measured calls of each, numbered from 1.
      warm_up: calls of each before that, whose numbers end at 0.
      begin: is told the name and the round of each call before it.
    """
    for round_number in range(1 - warm_up, rounds + 1):
        for name, run in contenders.items():
            begin(name, round_number)
            yield name, round_number, seconds_of(run)


def interleaved(contenders: Mapping[str, Callable[[], object]], rounds: int, warm_up: int = 1) -> dict[str, float]:
    """Returns the median seconds of each contender, of calls as in `take_turns`."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for name, round_number, taken in take_turns(contenders, rounds, warm_up):
        if round_number > 0:
            seconds[name].append(taken)
    return {name: statistics.median(values) for name, values in seconds.items()}


def matmul_rate(device: jax.Device, dtype: jnp.dtype) -> float:
    """Returns the FLOP/s of the product of two square matrices on `device`: the best of several, its practical limit.

    The matrices have 2048 rows on CPUs and 8192 elsewhere; `dtype` is theirs and the product's. Their values are
    random, because an accelerator multiplies ones faster, for less power. Elsewhere than on CPUs ten products are
    queued at a time, so that starting them takes no time.
    """
    size, queued = (2048, 1) if device.platform == "cpu" else (8192, 10)
    a, b = (jax.device_put(jax.random.normal(jax.random.key(seed), (size, size), dtype), device) for seed in range(2))
    product = jax.jit(jnp.matmul)

    def run() -> None:
        jax.block_until_ready([product(a, b) for _ in range(queued)])

    run()
    return 2 * size**3 * queued / min(seconds_of(run) for _ in range(5))


def seconds_of(run: Callable[[], object]) -> float:
    """Returns the seconds of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
