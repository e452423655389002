"""Tests for segnet_jax/runtime/compilation.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segnet_jax.models import create_model
from segnet_jax.runtime.compilation import Compiled, enable_compilation_cache, jit_once


def two_passes(x):
    once = jax.lax.optimization_barrier(jnp.sin(x) * 2)
    return once[1:] + 3 * once[:-1]


def test_compiled_keeps_barriers_on_cpus():
    x = jnp.arange(8.0)
    assert "opt-barrier" in Compiled(jax.jit(two_passes), "cpu").executable(x).as_text()
    assert "opt-barrier" not in Compiled(jax.jit(two_passes), "gpu").executable(x).as_text(), "no options"


@pytest.mark.parametrize("mapped", [jax.jit(two_passes), jax.pmap(two_passes)], ids=["jit", "pmap"])
def test_compiled_returns_what_the_function_returns(mapped):
    x = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    np.testing.assert_allclose(Compiled(mapped, "cpu")(x), mapped(x), rtol=1e-6)


def test_compiled_compiles_once_for_each_shape_and_dtype():
    traced = []

    def count(x):
        traced.append((x.shape, x.dtype))
        return x + 1

    compiled = Compiled(jax.jit(count), "cpu")
    first = compiled.executable(jnp.zeros(3))
    assert compiled.executable(jnp.ones(3)) is first
    assert compiled.executable(jnp.ones(4)) is not first
    np.testing.assert_array_equal(compiled(jnp.ones(3, jnp.int32)), 2)
    assert traced == [((3,), jnp.float32), ((4,), jnp.float32), ((3,), jnp.int32)]


def test_compiled_with_options_keeps_those_of_its_platform():
    compiled = Compiled(jax.jit(two_passes), "cpu")
    x = jnp.arange(8.0)
    first = compiled.executable(x)
    other = compiled.with_options(xla_cpu_enable_fast_math=True)
    assert other.executable(x) is not first
    assert "opt-barrier" in other.executable(x).as_text()
    assert compiled.executable(x) is first
    with pytest.raises(RuntimeError, match="no_such_option"):
        compiled.with_options(no_such_option=True).executable(x)


@pytest.mark.parametrize("chosen", [None, "elsewhere"])
def test_enable_compilation_cache_keeps_a_directory_that_jax_was_given(monkeypatch, tmp_path, chosen):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    before = jax.config.values["jax_compilation_cache_dir"]
    try:
        jax.config.update("jax_compilation_cache_dir", chosen)
        enable_compilation_cache()
        found = jax.config.values["jax_compilation_cache_dir"]
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
    assert found == (chosen or str(tmp_path / "segnet_jax" / "compiled"))


@pytest.mark.ci
def test_jit_once_gives_the_random_weights_of_a_run_that_is_compiled_well():
    init = create_model("segnet_flat", 5, width_multiplier=1 / 8, pairs=1).init
    arguments = jax.random.key(3), jnp.zeros((1, 32, 32, 3))
    # XLA's default, which the flags of these tests lower.
    well = jax.jit(init, compiler_options={"xla_backend_optimization_level": 3})
    for kernel, expected in zip(*(jax.tree.leaves(f(*arguments)) for f in (jit_once(init), well)), strict=True):
        np.testing.assert_allclose(kernel, expected, rtol=1e-6)
