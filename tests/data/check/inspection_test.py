"""Tests for segnet_jax/data/check/inspection.py and summary.py: what is found in examples, and summed up."""

import numpy as np
import pytest

from segnet_jax.data.check.inspection import inspect, inspect_example
from segnet_jax.data.check.summary import Summary
from segnet_jax.data.class_table import VOID
from segnet_jax.data.class_weights import class_weights, label_statistics
from segnet_jax.data.datasets.folder import Folder
from segnet_jax.data.datasets.synthetic import SyntheticScenes
from segnet_jax.errors import InputError
from tests.helpers.folder_files import SIZE, TABLE, open_all, save, write


class Arrays:
    """A split whose examples are given, or raised; `label` reads those of another list."""

    name, split, class_table = "arrays", "train", TABLE

    def __init__(self, examples, labels=None, size=(2, 3)):
        self._examples, self._size = examples, size
        if labels is not None:
            self.label = lambda index: self._given(labels[index])

    def __len__(self):
        return len(self._examples)

    def __getitem__(self, index):
        return self._given(self._examples[index])

    def _given(self, value):
        if isinstance(value, Exception):
            raise value
        return value

    def shape(self, index):
        return self._size


def example(label=((0, 1, 1), (VOID, 0, 0)), image=None, name="a"):
    image = np.zeros((2, 3, 3), np.uint8) if image is None else image
    return {"image": image, "label": np.array(label, np.uint8), "name": name}


def test_inspect_example_counts_pixels_and_tells_contents_apart():
    brighter = np.full((2, 3, 3), 1, np.uint8)
    flat = np.zeros((3, 2, 3), np.uint8)
    floats = np.full((2, 3, 3), np.nan, np.float32)
    dataset = Arrays([example(), example(name="b"), example(image=brighter), example(image=floats)])
    found = [inspect_example(dataset, index) for index in range(4)]
    assert found[0].pixels.tolist() == [3, 2, 1]
    assert (found[0].index, found[0].name, found[0].size, found[0].faults) == (0, "a", (2, 3), ())
    assert found[0].image_digest == found[1].image_digest
    assert len({entry.image_digest for entry in found}) == 3
    assert len({entry.label_digest for entry in found}) == 1
    # The same bytes of another shape are another image.
    turned = inspect_example(Arrays([example(image=flat, label=((0, 1), (1, 0), (0, 0)))], size=(3, 2)), 0)
    assert turned.image_digest != found[0].image_digest


@pytest.mark.parametrize(
    ("examples", "labels", "faults", "pixels"),
    [
        ([InputError("a.png is damaged.")], None, ["a.png is damaged."], None),
        ([InputError("a.png is damaged.")], [example()["label"]], ["a.png is damaged."], [3, 2, 1]),
        ([InputError("a.png")], [InputError("a mask")], ["a.png", "a mask"], None),
        ([InputError("a mask")], [InputError("a mask")], ["a mask"], None),
        ([KeyError("x")], None, ["Example 0 of arrays (train) cannot be read: KeyError: 'x'."], None),
        (
            [example(label=((0, 2), (0, 1)), image=np.zeros((2, 3, 1), np.uint8))],
            None,
            [
                "Example 0 of arrays (train), a, has an image of 2x3 and a label of 2x2.",
                "Example 0 of arrays (train), a, has an image of shape (2, 3, 1), where 3 channels are expected.",
                "Example 0 of arrays (train), a, has the label 2, which is none of 0 to 1 and 255.",
            ],
            [2, 1, 0],
        ),
        (
            [example(label=((0, 0),), image=np.zeros((1, 2, 3), np.uint8))],
            None,
            ["Example 0 of arrays (train), a, is 1x2 and not the 2x3 that the data set says."],
            [2, 0, 0],
        ),
    ],
)
def test_inspect_example_names_what_is_wrong_and_counts_what_can_be_read(examples, labels, faults, pixels):
    found = inspect_example(Arrays(examples, labels), 0)
    assert list(found.faults) == faults
    assert (None if found.pixels is None else found.pixels.tolist()) == pixels


def test_inspect_gives_the_same_in_processes():
    datasets = [SyntheticScenes("train", (9, 12), 40), SyntheticScenes("val", (9, 12), 3)]

    def found(workers):
        return [
            (dataset.split, entry.index, entry.name, entry.pixels.tolist(), entry.image_digest)
            for dataset, entries in inspect(datasets, workers)
            for entry in entries
        ]

    alone = found(1)
    assert [entry[:3] for entry in alone[38:42]] == [
        ("train", 38, "train_00038"),
        ("train", 39, "train_00039"),
        ("val", 0, "val_00000"),
        ("val", 1, "val_00001"),
    ]
    assert found(2) == alone


def summarize(*datasets, faults=(), left_out=(), configured=("train", "val")):
    summary = Summary(datasets, faults, dict(left_out), configured)
    for dataset, entries in inspect(datasets, workers=1):
        for entry in entries:
            summary.add(dataset.split, entry)
    return summary


def test_summary_counts_as_the_statistics_for_class_weights_do(tmp_path):
    mask = np.full(SIZE, 5, np.uint8)
    mask[:, 2:], mask[0, 0] = 3, 255
    write(tmp_path, ["a", "b", "c"])
    save(tmp_path / "masks" / "b.png", mask)
    dataset = open_all(tmp_path)
    summary = summarize(dataset)
    expected = label_statistics(dataset)
    np.testing.assert_array_equal(summary.training.statistics.pixels, expected.pixels)
    np.testing.assert_array_equal(summary.training.statistics.present, expected.present)
    np.testing.assert_array_equal(summary.training.statistics.pixels, [24 + 24 + 16, 7, 1])
    np.testing.assert_array_equal(summary.training.images, [3, 1, 1])
    np.testing.assert_allclose(summary.training.shares(), [64 / 71, 7 / 71])
    for method, weights in summary.weights(0.5).items():
        np.testing.assert_array_equal(weights, class_weights(method, expected, TABLE, 0.5))
    assert summary.faults == []
    assert summary.training.sizes == {SIZE: 3}


def test_summary_names_duplicates_across_and_within_splits_and_images_without_a_class(tmp_path):
    image = np.arange(72, dtype=np.uint8).reshape(*SIZE, 3)
    for split, stems in {"train": "abcd", "val": "ef"}.items():
        for number, stem in enumerate(stems):
            save(tmp_path / split / "images" / f"{stem}.png", image + 10 * number + 100 * (split == "val"))
            save(tmp_path / split / "masks" / f"{stem}.png", np.full(SIZE, 3, np.uint8))
    save(tmp_path / "train" / "images" / "b.bmp", image + 30)  # the pixels count, not the bytes of the file
    (tmp_path / "train" / "images" / "b.png").unlink()
    save(tmp_path / "val" / "images" / "f.png", image)
    save(tmp_path / "val" / "masks" / "f.png", np.full(SIZE, 5, np.uint8))
    save(tmp_path / "train" / "masks" / "c.png", np.full(SIZE, 255, np.uint8))
    summary = summarize(
        Folder(tmp_path, "train", TABLE),
        Folder(tmp_path, "val", TABLE),
        faults=["x is gone."],
        left_out={"test": "no."},
    )
    across = "a (train) and f (val) are the same image, with labels that differ; keep it in one split, or scores look "
    assert summary.faults == ["x is gone.", f"{across}better than they are."]
    assert summary.notes == [
        "The split test is left out: no.",
        "1 train images have no class, all void: c.",
        "In train never occur: car.",
        "b (train) and d (train) are the same image; keep one, unless that is meant.",
    ]
    text = summary.to_text().splitlines()
    assert text[:3] == [
        f"{tmp_path.name}: train 4, val 2 images",
        "Sizes of train, height x width: 4x6 (4)",
        "Sizes of val, height x width: 4x6 (2)",
    ]
    rows = [line.split() for line in text[4:8]]
    assert rows == [
        ["class", "train", "%", "val", "%", "train", "images", "median", "inverse"],
        ["road", "100", "50", "3", "1.0000", "1.0000"],
        ["car", "0", "50", "0", "0.0000", "0.0000"],
        ["void,", "of", "all", "25", "0", "1"],
    ]
    values = summary.to_dict()
    assert values["duplicates_across_splits"] == [[{"split": "train", "name": "a"}, {"split": "val", "name": "f"}]]
    assert values["splits"]["train"] == {
        "examples": 4,
        "without_fault": 4,
        "sizes": [{"height": 4, "width": 6, "examples": 4}],
        "classes": [{"name": "road", "pixels": 72, "images": 3}, {"name": "car", "pixels": 0, "images": 0}],
        "void": {"pixels": 24, "images": 1},
        "without_class": ["c"],
    }
    assert values["class_weights"]["inverse_frequency"] == {"road": 1.0, "car": 0.0}


def test_summary_names_all_unknown_values_and_a_split_without_any_class(tmp_path):
    write(tmp_path, ["a", "b"], ids=4)
    save(tmp_path / "masks" / "b.png", np.repeat(np.array([4, 9], np.uint16), 12).reshape(SIZE))
    faults = summarize(open_all(tmp_path)).faults
    assert len(faults) == 4
    assert all("masks/" in fault and "is not in class table 'street'" in fault for fault in faults[:2])
    assert faults[2:] == [
        "In all, the train masks hold 2 values that the class table lacks: 4 (2 masks), 9 (1 masks).",
        "No pixel of the split train has a class; correct its masks or the class table.",
    ]


class Numbered:
    """A split of images that are as many numbers."""

    name, class_table = "numbered", TABLE

    def __init__(self, split, numbers):
        self.split, self.numbers = split, numbers

    def __len__(self):
        return len(self.numbers)

    def __getitem__(self, index):
        number = self.numbers[index]
        image, label = np.full((*SIZE, 3), number, np.uint8), np.zeros(SIZE, np.uint8)
        return {"image": image, "label": label, "name": str(number)}

    def shape(self, index):
        return SIZE


def test_summary_takes_lists_within_other_lists_for_no_fault_unless_both_are_used():
    trainval, train, val = Numbered("trainval", [1, 2, 3, 4]), Numbered("train", [1, 2]), Numbered("val", [3, 4])
    summary = summarize(trainval, train, val, configured=("trainval", "test"))
    assert summary.faults == []
    notes = [note for note in summary.notes if "too" in note]
    assert notes == ["All images of train are in trainval too.", "All images of val are in trainval too."]
    found = summarize(trainval, train, val, configured=("trainval", "val")).faults
    assert [fault.split(" are the same")[0] for fault in found] == [f"{n} (trainval) and {n} (val)" for n in (3, 4)]
    # Of a split that shares some of its images, each is named.
    (fault,) = summarize(train, val, Numbered("test", [4, 5])).faults
    assert fault.startswith("4 (val) and 4 (test) are the same image")
