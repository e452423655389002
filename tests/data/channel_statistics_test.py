"""Tests for segnet_jax/data/channel_statistics.py."""

import logging

import numpy as np
import pytest

from segnet_jax.data.channel_statistics import cached_channel_statistics, channel_names, channel_statistics
from segnet_jax.data.class_table import ClassTable
from segnet_jax.errors import InputError


class Images:
    """Examples of given images, which counts how often it is read."""

    name, split, modality_names = "field", "train", ("bands", "depth")
    class_table = ClassTable.from_entries("field", ("crop",))

    def __init__(self, images):
        self._images, self.reads = images, 0
        self.modalities = (images[0].shape[-1] - 1, 1)

    def __len__(self):
        return len(self._images)

    def __getitem__(self, index):
        self.reads += 1
        image = self._images[index]
        return {"image": image, "label": np.zeros(image.shape[:2], np.uint8), "name": str(index)}

    def shape(self, index):
        return self._images[index].shape[:2]


def draw(count=5):
    """Draws images of different sizes, with an offset by which float32 sums would lose all digits."""
    rng = np.random.default_rng(0)
    images = [rng.normal((0, 1e4, 3), (1, 0.5, 2), (4 + i, 5, 3)).astype(np.float32) for i in range(count)]
    for image in images:
        image[rng.random(image.shape) < 0.3] = np.nan
    images[2][..., 1] = np.nan  # a whole channel of an image
    return images


def test_channel_statistics_are_those_of_all_values_together():
    images = draw()
    found = channel_statistics(Images(images))
    values = np.concatenate([image.reshape(-1, 3) for image in images]).astype(np.float64)
    np.testing.assert_allclose(found.mean, np.nanmean(values, axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.std, np.nanstd(values, axis=0), rtol=1e-9)
    eight_bits = [np.full((2, 3, 2), i, np.uint8) for i in (0, 4)]
    assert channel_statistics(Images(eight_bits)).to_dict() == {"mean": [2.0, 2.0], "std": [2.0, 2.0]}


def test_channel_statistics_of_a_channel_of_one_value(caplog):
    images = [np.full((3, 4, 2), 0.1, np.float32) + np.float32((0, i)) for i in range(3)]
    with caplog.at_level(logging.WARNING, "segnet_jax"):
        found = channel_statistics(Images(images))
    assert found.std[0] == 1.0
    assert [record.getMessage() for record in caplog.records] == [
        "All values in bands of field are the same, which tells nothing."
    ]


def test_channel_statistics_refuse_a_channel_without_values():
    images = draw()
    for image in images:
        image[..., 1] = np.nan
    with pytest.raises(InputError, match=r"No image of field \(train\) has a value in band 2 of bands, all of which"):
        channel_statistics(Images(images))


def test_cached_channel_statistics_are_computed_once_and_again_for_other_images(tmp_path, caplog):
    data = Images(draw())
    first = cached_channel_statistics(data, tmp_path)
    read = data.reads
    with caplog.at_level(logging.INFO, "segnet_jax"):
        assert cached_channel_statistics(data, tmp_path) == first
    assert data.reads == read + 3  # those by which the file is named
    assert f"depth has the mean {first.mean[2]:.6g} and the standard deviation {first.std[2]:.6g}." in caplog.text
    assert channel_names(data) == ["band 1 of bands", "band 2 of bands", "depth"]
    other = draw()
    other[-1][0, 0, 0] += 50
    assert cached_channel_statistics(Images(other), tmp_path) != first
    next(iter(tmp_path.glob("*.json"))).write_text("damaged")
    assert cached_channel_statistics(data, tmp_path) == first
