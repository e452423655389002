"""The user's cache directory: compiled programs, and statistics of label files."""

from __future__ import annotations

import os
from pathlib import Path

import jax


def user_cache_dir() -> Path:
    """`$XDG_CACHE_HOME/segnet_jax`, or `~/.cache/segnet_jax`; it may not exist yet."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "segnet_jax"


def enable_compilation_cache() -> None:
    """Keeps compiled programs in the user's cache directory, unless JAX has been given another place.

    A second run of the same program on the same machine then starts without compiling.
    """
    if not jax.config.values["jax_compilation_cache_dir"]:
        jax.config.update("jax_compilation_cache_dir", str(user_cache_dir() / "compiled"))
