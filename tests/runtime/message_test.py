"""Tests for segnet_jax/runtime/message.py, and that `collectives.gather` takes nothing else from other processes."""

import os
import pickle
import random

import numpy as np
import pytest

from segnet_jax.errors import InputError
from segnet_jax.runtime import collectives, message


def random_value(rng, depth):
    """Returns a random value of what may be sent; dicts have keys of several kinds, arrays shapes with zeros."""
    if depth and rng.random() < 0.7:
        items = [random_value(rng, depth - 1) for _ in range(rng.randrange(4))]
        keys = rng.sample([0, -7, "0", "", "ä\n", None, True, (1, "a"), 2.5], len(items))
        return rng.choice([items, tuple(items), dict(zip(keys, items, strict=True))])
    array = np.random.default_rng(rng.randrange(2**32)).integers(0, 2, rng.sample([0, 1, 2, 3], rng.randrange(1, 4)))
    dtype = rng.choice(["uint8", "int32", "float64", "bool"])
    plain = [None, True, False, 0, -(2**70), 0.1, float("inf"), "text", "\udcff/a.png", ""]
    return rng.choice([*plain, array.astype(dtype), array.astype(dtype).T])


def assert_same(found, expected):
    assert type(found) is type(expected)
    if isinstance(expected, np.ndarray):
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        np.testing.assert_array_equal(found, expected)
    elif isinstance(expected, dict):
        assert [(key, type(key)) for key in found] == [(key, type(key)) for key in expected]
        for key, value in expected.items():
            assert_same(found[key], value)
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for pair in zip(found, expected, strict=True):
            assert_same(*pair)
    else:
        assert found == expected


@pytest.mark.parametrize("seed", range(50))
def test_decode_returns_what_encode_was_given(seed):
    value = random_value(random.Random(seed), depth=4)
    assert_same(message.decode(message.encode(value)), value)


def test_encode_takes_the_numbers_of_numpy():
    found = message.decode(message.encode({"a": np.float64(0.1), "b": np.int64(2**40)}))
    assert found == {"a": np.float64(0.1), "b": 2**40}


def test_encode_refuses_what_json_and_arrays_cannot_hold():
    for value in (object(), {1}, b"bytes", [lambda: None], np.asarray([object()])):
        with pytest.raises((TypeError, ValueError)):
            message.encode(value)


class Command:
    """Runs a command where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_decode_refuses_a_pickle_and_damage(tmp_path):
    attack = pickle.dumps(Command(str(tmp_path / "owned")))
    whole = message.encode({"a": np.arange(3)})
    for data in (attack, whole[: len(whole) // 2], b""):
        with pytest.raises(ValueError, match="not a message of this program"):
            message.decode(data)
    assert not (tmp_path / "owned").exists()


def test_decode_refuses_an_array_of_objects_which_is_a_pickle(tmp_path, monkeypatch):
    write_array = np.lib.format.write_array
    monkeypatch.setattr(np.lib.format, "write_array", lambda file, array, allow_pickle: write_array(file, array))
    data = message.encode(np.asarray([Command(str(tmp_path / "owned"))], object))
    monkeypatch.undo()
    with pytest.raises(ValueError, match="not a message of this program"):
        message.decode(data)
    assert not (tmp_path / "owned").exists()


def test_gather_refuses_the_pickle_of_another_process(tmp_path, monkeypatch):
    rows = [message.encode("mine"), pickle.dumps(Command(str(tmp_path / "owned")))]

    def all_rows(row):
        """Answers as process 0 of 2, whatever this one sends: first the lengths, then the bytes."""
        if row.dtype == np.int32:
            return np.asarray([[len(data)] for data in rows], np.int32)
        return np.stack([np.pad(np.frombuffer(data, np.uint8), (0, len(row) - len(data))) for data in rows])

    monkeypatch.setattr(collectives, "several", lambda: True)
    monkeypatch.setattr(collectives, "_all_rows", all_rows)
    with pytest.raises(InputError, match="what process 1 has sent is not a message of this program"):
        collectives.gather("mine")
    assert not (tmp_path / "owned").exists()
