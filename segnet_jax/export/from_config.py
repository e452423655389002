"""Reads what travels with an exported network from its configuration."""

from __future__ import annotations

import ml_collections


def describe_input(config: ml_collections.ConfigDict) -> dict[str, str]:
    """Returns the network's name, the normalisation of its images and the size that training resized them to, or ""."""
    size = "x".join(map(str, config.data.image_size))
    return {"network": config.model.name, "preprocessing": config.preprocessing, "image_size": size}
