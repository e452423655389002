"""Small data sets for folders of records, and comparisons of them."""

import numpy as np

from segnet_jax.data.dataset import modalities_of, modality_names_of
from segnet_jax.data.datasets.synthetic import SyntheticScenes


def scenes(length=10, split="train", size=(9, 12), seed=0):
    return SyntheticScenes(split, size, length, seed)


class StoppedError(Exception):
    """Raised by `Stopping`."""


class Stopping(SyntheticScenes):
    """Scenes of which one cannot be read."""

    def __init__(self, stop, length=10, split="train"):
        super().__init__(split, (9, 12), length)
        self._stop = stop

    def __getitem__(self, index):
        if index == self._stop:
            raise StoppedError
        return super().__getitem__(index)


def files_of(folder):
    """Returns the contents of the files by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def times_of(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def assert_same_examples(records, dataset):
    assert (records.name, records.split, len(records)) == (dataset.name, dataset.split, len(dataset))
    assert records.class_table == dataset.class_table
    assert modalities_of(records) == modalities_of(dataset)
    assert modality_names_of(records) == modality_names_of(dataset)
    for index in range(len(dataset)):
        found, expected = records[index], dataset[index]
        assert found["name"] == expected["name"]
        assert records.shape(index) == dataset.shape(index) == found["label"].shape
        for key in ("image", "label"):
            assert found[key].dtype == expected[key].dtype
            np.testing.assert_array_equal(found[key], expected[key])
