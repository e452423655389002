"""Tests for segnet_jax/data/check/pictures.py."""

import numpy as np
import pytest

from segnet_jax.data.check.inspection import inspect
from segnet_jax.data.check.pictures import choose_examples, draw_sheet
from segnet_jax.data.check.summary import Summary
from segnet_jax.data.class_table import ClassTable


def test_choose_examples_shows_every_class_and_spreads_the_others():
    occurs = np.zeros((100, 4), bool)
    occurs[:, 0] = True
    occurs[37, 1] = occurs[71, 2] = True
    occurs[71, 3] = occurs[90, 3] = True
    assert choose_examples(occurs, 5) == [0, 25, 37, 50, 71]
    assert choose_examples(occurs, 2) == [37, 71]
    assert choose_examples(occurs, 1) == [71]
    assert choose_examples(occurs[:3], 12) == [0, 1, 2]
    assert choose_examples(np.zeros((2, 4), bool), 12) == [0, 1]


class Infrared:
    """Two examples of one channel in other units, some of it missing."""

    name, split, class_table = "infrared", "train", ClassTable.from_entries("t", ["cold", "warm"])
    modalities, modality_names = (1,), ("infrared",)

    def __len__(self):
        return 2

    def __getitem__(self, index):
        image = np.tile(np.linspace(200, 300, 600, dtype=np.float32), (60, 1))[..., None]
        image[0, :3] = np.nan
        return {"image": image, "label": (image[..., 0] > 250).astype(np.uint8), "name": f"a/{'long/' * 20}{index}"}

    def shape(self, index):
        return 60, 600


def test_draw_sheet_reduces_images_and_takes_any_channels():
    dataset = Infrared()
    summary = Summary([dataset], [], {})
    for _, entries in inspect([dataset], workers=1):
        for entry in entries:
            summary.add("train", entry)
    assert summary.faults == []
    sheet = np.asarray(draw_sheet(dataset, summary.splits["train"]))
    # A row through the first picture, of 280x28 pixels, and one through its overlay.
    gray, overlay = sheet[50, 12:292].astype(int), sheet[50, 296:576].astype(int)
    np.testing.assert_array_equal(gray, np.repeat(gray[:, :1], 3, axis=1))
    assert gray[0, 0] <= 1 and gray[-1, 0] >= 254 and (np.diff(gray[:, 0]) >= 0).all()
    assert gray[140, 0] == pytest.approx(127.5, abs=2)
    labels = dataset.class_table.colors[(np.arange(280) >= 140).astype(int)]
    np.testing.assert_allclose(overlay[[10, 270]], (gray + labels)[[10, 270]] / 2, atol=1)
    empty = Summary([dataset], [], {}).splits["train"]
    assert draw_sheet(dataset, empty) is None
