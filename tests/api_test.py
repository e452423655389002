"""Tests for segnet_jax/__init__.py: the public API."""

import importlib.util
import re
import subprocess
import sys

import pytest

import segnet_jax
from tests.helpers.paths import ROOT


@pytest.mark.parametrize("name", segnet_jax.__all__)
def test_public_name_is_the_one_of_its_module(name):
    found = getattr(segnet_jax, name)
    assert found is getattr(sys.modules[found.__module__], name)
    assert name in dir(segnet_jax)


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'create_modle'"):
        segnet_jax.create_modle  # noqa: B018


def test_import_alone_loads_neither_jax_nor_numpy():
    code = "import segnet_jax, sys; print([name for name in ('jax', 'flax', 'numpy', 'orbax') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_package_run_as_a_program_says_what_there_is():
    done = subprocess.run([sys.executable, "-m", "segnet_jax"], cwd=ROOT, capture_output=True, text=True, check=True)
    programs = set(re.findall(r"python -m ([\w.]+)", done.stdout))
    names = ("data.check", "demo", "export", "main", "predict", "prepare", "report", "visualize")
    assert programs == {f"segnet_jax.{name}" for name in names}
    assert all(importlib.util.find_spec(name) for name in programs)
    assert all(name in done.stdout for name in segnet_jax.__all__)
