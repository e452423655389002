"""Compiles functions with the XLA options of their platform, and keeps compiled programs."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from segnet_jax.runtime.files import user_cache_dir

# XLA's CPU compiler drops optimization barriers early and then merges what they kept apart: the backward pass's second
# computation with the first (so rematerialisation saves nothing), and the passes of Winograd's transforms.
# YNNPACK, which it has compute convolutions, matrix products and sums, is good at sums alone: in the products of
# Winograd's algorithm it has two thirds of the speed of XLA's own, in the weight gradient of a first layer a seventh.
_OPTIONS = {
    "cpu": {
        "xla_disable_hlo_passes": "cse_barrier_expander",
        "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_REDUCE",
    }
}


class Compiled:
    """A jitted or pmapped function, compiled with its platform's options for the shapes and dtypes of each call.

    `jax.pmap` takes no compiler options itself. With several processes, arguments and results are arrays over the
    devices of all processes, where `jax.pmap` itself takes and returns the part of one process.

    Args:
      mapped: the function.
      platform: "cpu", "gpu" or "tpu".
    """

    def __init__(self, mapped: Any, platform: str) -> None:
        self._mapped = mapped
        self._options = _OPTIONS.get(platform, {})
        self._executables: dict[Any, Any] = {}

    def with_options(self, **options: Any) -> Compiled:
        """Returns the same function, which will be compiled with these options of XLA besides its platform's."""
        other = copy.copy(self)
        other._options, other._executables = {**self._options, **options}, {}
        return other

    def executable(self, *args: Any) -> Any:
        """Returns the `jax.stages.Compiled` for these arguments, compiled at first; its `memory_analysis` is of use."""
        leaves, structure = jax.tree.flatten(args)
        key = (structure, tuple((jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves))
        if key not in self._executables:
            self._executables[key] = self._mapped.lower(*args).compile(compiler_options=self._options)
        return self._executables[key]

    def __call__(self, *args: Any) -> Any:
        """Calls the function."""
        return self.executable(*args)(*args)


def jit(function: Callable[..., Any]) -> Compiled:
    """Jits a function for the default platform, with its options."""
    return Compiled(jax.jit(function), jax.default_backend())


def jit_once(function: Callable[..., Any]) -> Any:
    """Jits a function that is called once: on CPUs it is compiled quickly, not well.

    Results differ by rounding at most; the random weights of SegNet take a quarter of the time.
    """
    options = {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else None
    return jax.jit(function, compiler_options=options)


def enable_compilation_cache() -> None:
    """Keeps compiled programs in the user's cache directory, unless JAX has been given another place.

    A second run of the same program on the same machine then starts without compiling.
    """
    if not jax.config.values["jax_compilation_cache_dir"]:
        jax.config.update("jax_compilation_cache_dir", str(user_cache_dir() / "compiled"))
