"""Folders of records."""

import numpy as np

from segnet_jax.data.dataset import modalities_of
from segnet_jax.data.datasets.synthetic import SyntheticScenes


def scenes(length=10, split="train", size=(9, 12), seed=0):
    return SyntheticScenes(split, size, length, seed)


def times_of(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def assert_same_examples(records, dataset):
    assert (records.name, records.split, len(records)) == (dataset.name, dataset.split, len(dataset))
    assert records.class_table == dataset.class_table
    assert modalities_of(records) == modalities_of(dataset)
    for index in range(len(dataset)):
        found, expected = records[index], dataset[index]
        assert found["name"] == expected["name"]
        assert records.shape(index) == dataset.shape(index) == found["label"].shape
        for key in ("image", "label"):
            assert found[key].dtype == expected[key].dtype
            np.testing.assert_array_equal(found[key], expected[key])


class StoppedError(Exception):
    """What interrupts a preparation in these tests."""
