"""Finds the packages; all else is in pyproject.toml."""

from setuptools import find_packages, setup

setup(
    # An installed package has no checkout around it, so the configurations travel inside.
    packages=[*find_packages(include=["segnet_jax", "segnet_jax.*"]), "segnet_jax.configs"],
    package_dir={"segnet_jax.configs": "configs"},
)
