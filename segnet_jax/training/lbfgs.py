"""L-BFGS on a loss that does not change: one mini-batch of the 2015 paper (arXiv 1505.07293, section 3.1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


class Minimum(NamedTuple):
    """The end point of `minimize`.

    Attributes:
      params: the parameters.
      initial_value: float32 [], the loss before.
      value: float32 [], the loss there.
      grads: its gradient there, like `params`.
      iterations: int32 [], how many lowered the loss.
    """

    params: Any
    initial_value: jax.Array
    value: jax.Array
    grads: Any
    iterations: jax.Array


def minimize(
    value_and_grad: Callable[[Any], tuple[jax.Array, Any]], params: Any, *, iterations: int, memory: int = 10
) -> Minimum:
    """Minimises by L-BFGS with a line search, as one loop under `jit`; the loss never rises.

    Max pooling passes its indices to the decoder, so a network's loss jumps where a maximum changes places, and a
    line search can end above where it began. Such a step is not taken, and the memory of curvature is cleared; if
    the gradient's own direction leads no lower either, the loop ends.

    Args:
      value_and_grad: gives loss and gradient; under `pmap`, those of all devices together.
      params: where to start.
      iterations: at most so many.
      memory: so many earlier steps approximate the curvature.
    """

    # The line search differentiates the loss by itself. The gradient is computed along with the value, which lets
    # `value_and_grad` sum it over parts of a batch and over devices in its own way.
    @jax.custom_vjp
    def objective(params: Any) -> jax.Array:
        return value_and_grad(params)[0]

    objective.defvjp(value_and_grad, lambda grads, scale: (jax.tree.map(lambda g: (scale * g).astype(g.dtype), grads),))
    optimizer = optax.lbfgs(memory_size=memory)

    def step(carry: tuple[Any, ...]) -> tuple[Any, ...]:
        count, params, value, grads, state, is_fresh, _ = carry
        updates, next_state = optimizer.update(grads, state, params, value=value, grad=grads, value_fn=objective)
        next_value = optax.tree.get(next_state, "value")
        is_lower = next_value < value
        lower = (optax.apply_updates(params, updates), next_value, optax.tree.get(next_state, "grad"), next_state)
        same = (params, value, grads, optimizer.init(params))
        params, value, grads, state = jax.tree.map(lambda a, b: jnp.where(is_lower, a, b), lower, same)
        return count + is_lower, params, value, grads, state, ~is_lower, ~is_lower & is_fresh

    def goes_on(carry: tuple[Any, ...]) -> jax.Array:
        *_, is_stuck = carry
        return (carry[0] < iterations) & ~is_stuck

    initial_value, grads = value_and_grad(params)
    carry = (jnp.zeros((), jnp.int32), params, initial_value, grads, optimizer.init(params))
    count, params, value, grads, *_ = jax.lax.while_loop(goes_on, step, (*carry, jnp.asarray(True), jnp.asarray(False)))
    return Minimum(params, initial_value, value, grads, count)
