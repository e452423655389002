"""Tests for segnet_jax/data/dataset.py."""

import pickle

import numpy as np
import pytest

from segnet_jax.data.dataset import Resized, Subset, default_modality_names, modality_names_of, require_alike
from segnet_jax.data.datasets.synthetic import SyntheticScenes
from segnet_jax.data.resize import resize
from segnet_jax.errors import InputError


@pytest.fixture
def scenes():
    return SyntheticScenes("train", (24, 32), 5)


def test_subset_holds_the_first_examples_of_the_whole(scenes):
    subset = pickle.loads(pickle.dumps(Subset(scenes, 3)))
    assert (len(subset), subset.name, subset.split) == (3, "synthetic", "train")
    assert len(Subset(scenes, 9)) == 5
    for index in range(3):
        assert subset[index]["name"] == scenes[index]["name"]
        np.testing.assert_array_equal(subset[index]["image"], scenes[index]["image"])
        np.testing.assert_array_equal(subset.label(index), scenes[index]["label"])
        assert subset.shape(index) == (24, 32)


@pytest.mark.parametrize("index", [3, -1])
@pytest.mark.parametrize("get", [Subset.__getitem__, Subset.label, Subset.shape])
def test_subset_has_no_other_examples(scenes, get, index):
    with pytest.raises(IndexError):
        get(Subset(scenes, 3), index)


def test_subset_has_the_fingerprint_of_the_whole(scenes):
    assert not hasattr(Subset(scenes, 2), "fingerprint")
    scenes.fingerprint = lambda: "abc"
    assert Subset(scenes, 2).fingerprint() == "abc"


def test_subset_has_the_groups_of_the_whole(scenes):
    assert not hasattr(Subset(scenes, 2), "group")
    scenes.group = lambda index: f"group {index}"
    assert Subset(scenes, 2).group(1) == Resized(scenes, (10, 20), "fit").group(1) == "group 1"


@pytest.mark.parametrize("method", ["fit", "crop"])
def test_resized_gives_all_examples_at_one_size(scenes, method):
    resized = pickle.loads(pickle.dumps(Resized(scenes, (10, 20), method)))
    assert (len(resized), resized.name, resized.split, resized.modalities) == (5, "synthetic", "train", (3,))
    for index in range(5):
        expected = resize(scenes[index], (10, 20), method)
        np.testing.assert_array_equal(resized[index]["image"], expected["image"])
        np.testing.assert_array_equal(resized[index]["label"], expected["label"])
        assert resized.shape(index) == resized[index]["label"].shape == (10, 20)


def test_resized_has_the_labels_and_the_fingerprint_of_its_source(scenes):
    assert not hasattr(Resized(scenes, (10, 20), "fit"), "fingerprint")
    scenes.fingerprint = lambda: "abc"
    scenes.label = lambda index: index
    resized = Resized(scenes, (10, 20), "fit")
    assert (resized.fingerprint(), resized.label(3)) == ("abc", 3)


@pytest.mark.parametrize("wrap", [lambda scenes: Subset(scenes, 2), lambda scenes: Resized(scenes, (9, 9), "crop")])
def test_modality_names_are_kept_by_what_wraps_a_data_set(scenes, wrap):
    assert modality_names_of(scenes) == modality_names_of(wrap(scenes)) == ("rgb",)
    scenes.modality_names = ("normals",)
    assert modality_names_of(wrap(scenes)) == ("normals",)


def test_default_modality_names():
    assert default_modality_names((3, 1)) == ("rgb", "depth")
    assert default_modality_names((3, 3, 1)) == ("rgb", "modality 1", "modality 2")
    assert default_modality_names((1, 3)) == ("modality 0", "modality 1")


def test_require_alike_names_the_channels_and_types_that_differ():
    class Bands:
        name, modality_names, split = "bands", ("bands",), "train"

        def __init__(self, bands, dtype, value_type):
            self.modalities, self.value_types = (bands,), (value_type,)
            self.image = np.zeros((2, 2, bands), dtype)

        def __getitem__(self, index):
            return {"image": self.image, "label": np.zeros((2, 2), np.uint8), "name": "a"}

    first = Bands(6, np.float32, "uint16")
    require_alike(first, Bands(6, np.float32, "uint16"))
    for other, described in (
        (Bands(4, np.float32, "uint16"), r"4 of bands \(float32, uint16\)"),
        (Bands(6, np.float32, "float32"), r"6 of bands \(float32, float32\)"),
        (Bands(6, np.uint8, ""), r"6 of bands \(uint8\)"),
    ):
        with pytest.raises(
            InputError, match=rf"have the channels {described}, and those of bands \(train\) 6 of bands"
        ):
            require_alike(first, other)
