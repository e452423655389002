"""Tests for segnet_jax/cache.py."""

from pathlib import Path

import jax
import pytest

from segnet_jax.cache import enable_compilation_cache, user_cache_dir


def test_the_cache_lies_where_the_user_says(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert user_cache_dir() == tmp_path / "segnet_jax"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert user_cache_dir() == Path(tmp_path / "home" / ".cache" / "segnet_jax")


@pytest.mark.parametrize("chosen", [None, "elsewhere"])
def test_a_place_that_jax_was_given_is_kept(monkeypatch, tmp_path, chosen):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    before = jax.config.values["jax_compilation_cache_dir"]
    try:
        jax.config.update("jax_compilation_cache_dir", chosen)
        enable_compilation_cache()
        found = jax.config.values["jax_compilation_cache_dir"]
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
    assert found == (chosen or str(tmp_path / "segnet_jax" / "compiled"))
