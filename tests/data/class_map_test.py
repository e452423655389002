"""Tests for segnet_jax/data/class_map.py."""

import pickle

import numpy as np
import pytest

from segnet_jax.data.class_map import Mapped
from segnet_jax.data.class_table import VOID, ClassTable
from segnet_jax.errors import InputError
from tests.helpers.split import Images

ROAD = ClassTable.from_entries("road", ["sky", "road"])


def test_mapped_labels_are_those_of_the_map_and_all_others_void():
    data = Images(count=2)
    mapped = pickle.loads(pickle.dumps(Mapped(data, ROAD, (("a", "road"), ("c", "road")))))
    assert (len(mapped), mapped.name, mapped.split, mapped.class_table) == (2, "random", "val", ROAD)
    for index in range(2):
        source, example = data[index], mapped[index]
        expected = np.vectorize({0: 1, 1: VOID, 2: 1, VOID: VOID}.get)(source["label"])
        np.testing.assert_array_equal(example["label"], expected)
        np.testing.assert_array_equal(example["image"], source["image"])
        assert example["name"] == source["name"]
        assert mapped.shape(index) == data.shape(index)


def test_mapped_keeps_groups_and_modalities():
    data = Images()
    assert not hasattr(Mapped(data, ROAD, ()), "group")
    data.group, data.modalities = (lambda index: "dusk"), (3, 1)
    mapped = Mapped(data, ROAD, ())
    assert (mapped.group(0), mapped.modalities) == ("dusk", (3, 1))


def test_mapped_reads_labels_alone_and_its_fingerprint_tells_of_the_map():
    data = Images(count=2)
    data.label = lambda index: data[index]["label"]
    assert not hasattr(Mapped(data, ROAD, ()), "fingerprint")
    data.fingerprint = lambda: "abc"
    maps = (("a", "road"),), (("b", "road"),), (("a", "road"),)
    one, other, again = (Mapped(data, ROAD, pairs) for pairs in maps)
    np.testing.assert_array_equal(one.label(1), one[1]["label"])
    before = one.fingerprint()
    assert before == again.fingerprint() != other.fingerprint()
    data.fingerprint = lambda: "abd"
    assert one.fingerprint() != before


@pytest.mark.parametrize(
    ("pair", "message"), [(("d", "sky"), r"'d' is none of a, b, c;"), (("a", "car"), r"'car' is none of sky, road;")]
)
def test_mapped_refuses_a_class_that_there_is_not(pair, message):
    with pytest.raises(InputError, match=f"eval.class_map.*{message}"):
        Mapped(Images(), ROAD, (pair,))
    with pytest.raises(InputError, match=f"^data.mixture.*{message}"):
        Mapped(Images(), ROAD, (pair,), "data.mixture[0]: class_map")


def test_mapped_refuses_a_class_that_becomes_two():
    with pytest.raises(InputError, match=r"eval\.class_map maps 'a' to two classes, of which 'sky' is one"):
        Mapped(Images(), ROAD, (("a", "road"), ("b", "sky"), ("a", "sky")))
    Mapped(Images(), ROAD, (("a", "road"), ("a", "road")))
