"""Tests for segnet_jax/data/faults.py."""

import pytest

from segnet_jax.data.faults import collected, refuse
from segnet_jax.errors import InputError


def test_refuse_raises_and_within_collected_notes_the_sentences():
    error = InputError("two files are missing")
    with pytest.raises(InputError, match="two files are missing"):
        refuse(error, ["a is missing", "b is missing"])
    with collected() as found:
        refuse(error, ["a is missing", "b is missing"])
        with collected() as inner:
            refuse(error)
        refuse(InputError("c"))
    assert (found, inner) == (["a is missing", "b is missing", "c"], ["two files are missing"])
    with pytest.raises(ValueError, match="another"), collected():
        raise ValueError("another")
    with pytest.raises(InputError):
        refuse(error)
