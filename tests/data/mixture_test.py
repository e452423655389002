"""Tests for segnet_jax/data/mixture.py."""

import pickle

import numpy as np
import pytest

from segnet_jax.data.class_weights import label_statistics
from segnet_jax.data.mixture import Mixture
from segnet_jax.errors import InputError
from tests.helpers.split import TABLE, Images


def named(name, count=3, sizes=((9, 14), (12, 11))):
    images = Images(count, sizes)
    images.name = name
    return images


def test_mixture_holds_its_data_sets_one_after_the_other():
    first, other = named("a", 3), named("b", 2, ((5, 6),))
    mixture = pickle.loads(pickle.dumps(Mixture([first, other], "train")))
    assert (len(mixture), mixture.name, mixture.split, mixture.class_table) == (5, "a + b", "train", TABLE)
    for index, (source, number) in enumerate([(first, 0), (first, 1), (first, 2), (other, 0), (other, 1)]):
        np.testing.assert_array_equal(mixture[index]["image"], source[number]["image"])
        np.testing.assert_array_equal(mixture.label(index), source[number]["label"])
        assert mixture.shape(index) == source.shape(number)
        assert mixture.group(index) == source.name
    for get in (mixture.__getitem__, mixture.label, mixture.shape, mixture.group):
        with pytest.raises(IndexError):
            get(5)


def test_mixture_counts_the_labels_of_all():
    parts = [label_statistics(named("a", 3)), label_statistics(named("b", 2))]
    whole = label_statistics(Mixture([named("a", 3), named("b", 2)], "train"))
    np.testing.assert_array_equal(whole.pixels, parts[0].pixels + parts[1].pixels)


@pytest.mark.parametrize(
    ("weights", "expected"),
    [(None, (3, 2)), ([1.0, 0.5], (2, 1)), ([0.7, 0.3], (7, 3)), ([1, 1e-6], (10**6, 1)), ([1 / 3, 2 / 3], (1, 2))],
)
def test_mixture_has_whole_weights_in_the_proportion_of_those_given(weights, expected):
    assert Mixture([named("a", 3), named("b", 2)], "train", weights).weights == expected


def test_mixture_tells_data_sets_of_one_name_apart():
    mixture = Mixture([named("a"), named("b"), named("a")], "val")
    assert [mixture.group(index) for index in (0, 3, 6)] == ["a 1", "b", "a 3"]


def test_mixture_has_a_fingerprint_of_all_its_files():
    def fingerprint(first, other):
        parts = [named("a"), named("b")]
        parts[0].fingerprint = lambda: first
        if other:
            parts[1].fingerprint = lambda: other
        return Mixture(parts, "train").fingerprint()

    found = [fingerprint(*pair) for pair in (("1", "2"), ("1", "3"), ("4", "2"), ("1", ""), ("1", "2"))]
    assert found[0] == found[4]
    assert len(set(found)) == 4


def test_mixture_refuses_images_of_other_channels_and_types():
    deep = named("b")
    deep.modalities, deep.modality_names = (3, 1), ("rgb", "depth")
    message = (
        r"^The images of b \(val\) have the channels 3 of rgb and 1 of depth .*, and those of a \(val\) 3 of rgb \("
    )
    with pytest.raises(InputError, match=message):
        Mixture([named("a"), deep], "train")
    exact = named("b")
    exact.value_types = ("uint16",)
    with pytest.raises(InputError, match=r"b \(val\) have the channels 3 of rgb \(uint8, uint16\), and those of a"):
        Mixture([named("a"), exact], "train")
