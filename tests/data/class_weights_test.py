"""Tests for segnet_jax/data/class_weights.py."""

import logging

import numpy as np
import pytest

from segnet_jax.data.class_table import VOID, ClassTable
from segnet_jax.data.class_weights import (
    LabelStatistics,
    cached_label_statistics,
    class_weights,
    expected_statistics,
    label_statistics,
)
from segnet_jax.data.datasets.camvid import CAMVID11, Camvid
from segnet_jax.errors import InputError

TABLE = ClassTable.from_entries("t", ["a", "b", "c"])

# Of the 367 training labels of 360x480, classes 0 to 10 and void.
CAMVID_PIXELS = "10682767 14750079 623349 20076880 2845085 6166762 743859 714595 3719877 405385 184967 2503995"
CAMVID_IMAGES = "366 365 366 367 349 319 351 173 360 317 201 367"
CAMVID_WEIGHTS = [0.2565, 0.1853, 4.3963, 0.1369, 0.9185, 0.3873, 3.5331, 1.8127, 0.7246, 5.8550, 8.1365]


class Labels:
    """A data set in memory, which counts how often a label is read."""

    name, split, class_table = "labels", "train", TABLE

    def __init__(self, *labels):
        self._labels = [np.array(label, np.uint8) for label in labels]
        self.reads = 0

    def __len__(self):
        return len(self._labels)

    def __getitem__(self, index):
        self.reads += 1
        label = self._labels[index]
        return {"image": np.zeros((*label.shape, 3), np.uint8), "label": label, "name": f"{index}"}

    def shape(self, index):
        return self._labels[index].shape


class Files(Labels):
    """One that knows when it changes."""

    def fingerprint(self):
        return f"{[label.tolist() for label in self._labels]}"


def camvid_statistics():
    pixels, images = (np.array(text.split(), np.int64) for text in (CAMVID_PIXELS, CAMVID_IMAGES))
    return LabelStatistics(pixels, images * 360 * 480)


def statistics_of(pixels, present=None):
    pixels = np.array(pixels, np.int64)
    return LabelStatistics(pixels, np.array(present, np.int64) if present else (pixels > 0) * pixels.sum())


def test_expected_statistics_weigh_data_sets_by_the_images_that_are_drawn():
    # Of 8 draws, 6 are of the first 2 images and 2 of the other 6: each image 3 times, and a third of a time.
    first = LabelStatistics(np.array([10, 0, 2]), np.array([12, 0, 6]))
    other = LabelStatistics(np.array([30, 3, 27]), np.array([60, 20, 60]))
    found = expected_statistics([first, other], [2, 6], [3, 1])
    np.testing.assert_allclose(found.pixels, [40, 1, 15])
    np.testing.assert_allclose(found.present, [56, 20 / 3, 38])
    # By their numbers of images, both count as one data set does that holds all.
    found = expected_statistics([first, other], [2, 6], [2, 6])
    np.testing.assert_allclose(found.pixels, first.pixels + other.pixels)


def test_label_statistics():
    dataset = Labels([[0, 0, 1], [VOID, 0, 0]], [[1, 1], [1, 1]], [[VOID, 0]])
    statistics = label_statistics(dataset)
    assert statistics.pixels.dtype == statistics.present.dtype == np.int64
    assert statistics.pixels.tolist() == [5, 5, 0, 2]
    assert statistics.present.tolist() == [6 + 2, 6 + 4, 0, 6 + 2]
    assert dataset.reads == 3


def test_label_statistics_decode_no_image_if_they_need_not():
    class LabelsAlone(Labels):
        def label(self, index):
            return self._labels[index]

    dataset = LabelsAlone([[0, 2]])
    assert label_statistics(dataset).pixels.tolist() == [1, 0, 1, 0]
    assert dataset.reads == 0


def test_label_statistics_refuse_labels_outside_the_table():
    with pytest.raises(InputError, match=r"Label 1 of labels \(train\) holds a value other than 0 to 2 and 255"):
        label_statistics(Labels([[0]], [[3]]))


def test_label_statistics_of_camvid(camvid_root):
    statistics = label_statistics(Camvid(camvid_root, "train"))
    np.testing.assert_array_equal(statistics.pixels, camvid_statistics().pixels)
    np.testing.assert_array_equal(statistics.present, camvid_statistics().present)


def test_median_frequency_of_camvid():
    weights = class_weights("median_frequency", camvid_statistics(), CAMVID11)
    assert weights.dtype == np.float32
    np.testing.assert_allclose(weights, CAMVID_WEIGHTS, atol=5e-5)


@pytest.mark.parametrize(
    ("void", "expected"),
    [
        # Frequencies 1/2, 1/4, 1/10 and, of void, 1/5: the median is 9/40.
        ((10, 50), [0.45, 0.9, 2.25]),
        ((0, 0), [0.5, 1, 2.5]),
    ],
)
def test_median_frequency_by_hand(void, expected):
    statistics = statistics_of([50, 20, 5, void[0]], [100, 80, 50, void[1]])
    np.testing.assert_allclose(class_weights("median_frequency", statistics, TABLE), expected, rtol=1e-6)


def test_inverse_frequency_has_mean_1():
    weights = class_weights("inverse_frequency", statistics_of([10, 20, 40, 1000]), TABLE)
    assert weights.dtype == np.float32
    np.testing.assert_allclose(weights, np.array([4, 2, 1]) * 3 / 7, rtol=1e-6)


@pytest.mark.parametrize(
    ("method", "expected"), [("median_frequency", [0.75, 0, 1.5]), ("inverse_frequency", [2 / 3, 0, 4 / 3])]
)
def test_class_weights_of_a_class_that_never_occurs_are_zero(method, expected, caplog):
    with caplog.at_level(logging.WARNING, "segnet_jax"):
        weights = class_weights(method, statistics_of([20, 0, 10, 0]), TABLE)
    np.testing.assert_allclose(weights, expected, rtol=1e-6)
    assert "No training label holds b;" in caplog.text
    assert class_weights(method, statistics_of([20, 0, 10, 0]), TABLE, power=0.0).tolist() == [1, 0, 1]


def test_class_weights_none():
    assert class_weights("none", None, TABLE).tolist() == [1, 1, 1]


def test_class_weights_published():
    weights = class_weights("published_camvid", None, CAMVID11)
    assert weights.dtype == np.float32
    assert weights[[0, 6, 10]] == pytest.approx([0.2595, 9.6446, 7.3614])
    with pytest.raises(
        InputError, match="'published_camvid' are for the 11 classes Sky, .* and so on, not for those of 't'"
    ):
        class_weights("published_camvid", None, TABLE)


@pytest.mark.parametrize("method", ["median_frequency", "published_camvid"])
def test_class_weights_are_tempered_by_the_power(method):
    plain = class_weights(method, camvid_statistics(), CAMVID11)
    tempered = class_weights(method, camvid_statistics(), CAMVID11, power=0.5)
    np.testing.assert_allclose(tempered**2, plain, rtol=1e-5)


def test_class_weights_refuse_unknown_methods_and_void_labels():
    with pytest.raises(InputError, match="no class weights 'median'; use one of none, median_frequency"):
        class_weights("median", statistics_of([1, 1, 1, 0]), TABLE)
    with pytest.raises(InputError, match="No training pixel is labelled with a class of 't'"):
        class_weights("median_frequency", statistics_of([0, 0, 0, 9]), TABLE)


def test_cached_label_statistics_count_once(tmp_path):
    dataset = Files([[0, 1], [1, VOID]], [[2, 2]])
    first = cached_label_statistics(dataset, tmp_path / "new" / "folder")
    assert dataset.reads == 2
    second = cached_label_statistics(dataset, tmp_path / "new" / "folder")
    assert dataset.reads == 2
    for statistics in (first, second):
        assert statistics.pixels.tolist() == [1, 2, 2, 1]
        assert statistics.present.tolist() == [4, 4, 2, 4]
        assert statistics.pixels.dtype == statistics.present.dtype == np.int64
    (file,) = (tmp_path / "new" / "folder").iterdir()
    assert file.suffix == ".json"


@pytest.mark.parametrize("kind", [Labels, Files])
def test_cached_label_statistics_count_other_data_anew(tmp_path, kind):
    assert cached_label_statistics(kind([[0, 1]], [[0, 0]]), tmp_path).pixels.tolist() == [3, 1, 0, 0]
    assert cached_label_statistics(kind([[0, 1]], [[2, 0]]), tmp_path).pixels.tolist() == [2, 1, 1, 0]
    assert cached_label_statistics(kind([[0, 1]]), tmp_path).pixels.tolist() == [1, 1, 0, 0]
    validation = kind([[0, 1]])
    validation.split = "val"
    cached_label_statistics(validation, tmp_path)
    other_table = kind([[0, 1]])
    other_table.class_table = ClassTable.from_entries("t", ["a", "b"])
    assert cached_label_statistics(other_table, tmp_path).pixels.tolist() == [1, 1, 0]
    assert len(list(tmp_path.iterdir())) == 5


@pytest.mark.parametrize("damage", ["{", "[]", "{}"])
def test_cached_label_statistics_replace_a_damaged_file(tmp_path, damage):
    dataset = Files([[0, 0, 1]])
    cached_label_statistics(dataset, tmp_path)
    (file,) = tmp_path.iterdir()
    sound = file.read_text()
    file.write_text(damage)
    assert cached_label_statistics(dataset, tmp_path).pixels.tolist() == [2, 1, 0, 0]
    assert file.read_text() == sound
    assert list(tmp_path.iterdir()) == [file]


def test_cached_label_statistics_need_no_cache(tmp_path, caplog):
    (tmp_path / "file").touch()
    with caplog.at_level(logging.WARNING, "segnet_jax"):
        statistics = cached_label_statistics(Files([[0, 0, 1]]), tmp_path / "file")
    assert statistics.pixels.tolist() == [2, 1, 0, 0]
    assert "cannot be kept in" in caplog.text
