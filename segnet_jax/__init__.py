"""SegNet and its competitors for semantic segmentation, in JAX.

The public API is what this module offers; everything else may change. docs/architecture.md shows how the code is laid
out; `ops/pooling.py` is where to start reading.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segnet_jax.inference.segmenter import from_pretrained
    from segnet_jax.inference.trained_model import load_trained
    from segnet_jax.models import create_model
    from segnet_jax.ops.pooling import max_pool_argmax, max_unpool

__version__ = "0.1.0"

__all__ = ["create_model", "from_pretrained", "load_trained", "max_pool_argmax", "max_unpool"]

# Imported when first used: `import segnet_jax` alone must not wait for JAX.
_HOMES = {
    "create_model": "segnet_jax.models",
    "from_pretrained": "segnet_jax.inference.segmenter",
    "load_trained": "segnet_jax.inference.trained_model",
    "max_pool_argmax": "segnet_jax.ops.pooling",
    "max_unpool": "segnet_jax.ops.pooling",
}


def __getattr__(name: str) -> Any:
    """Imports a name of the public API."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """Lists the public API."""
    return sorted([*globals(), *__all__])
