"""Tests for segnet_jax/data/check/survey.py and proposal.py: from masks to a class table."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from segnet_jax.data.check.label_file import NamedClass
from segnet_jax.data.check.proposal import propose_classes
from segnet_jax.data.check.survey import Survey, find_splits, survey_masks
from segnet_jax.data.class_table import VOID, ClassTable
from segnet_jax.errors import InputError
from tests.helpers.folder_files import SIZE, save, write

FILE = Path("classes.txt")


def survey_of(root, val_fraction=0.0):
    return survey_masks(find_splits(root, val_fraction, "", ("rgb",)), workers=1, show_progress=False)


def survey_with(values, palette=()):
    """Returns what a survey finds in masks with these values, a block of each."""
    counts = Counter(dict.fromkeys(values, 100))
    kinds = {"ids" if isinstance(value, int) else "colours": Path(f"{value}.png") for value in values}
    return Survey(1, {"train": 1}, Counter({(10, 10): 1}), counts, Counter(counts), kinds, list(palette))


def names(*texts):
    return [NamedClass(text, place, None, text == "void") for place, text in enumerate(texts)]


def test_survey_counts_every_mask_of_every_split(tmp_path):
    for index in range(40):
        write(tmp_path / ("train" if index < 35 else "val"), [f"{index:02}"], ids=index)
    mask = np.full(SIZE, 7, np.uint16)
    mask[1:3, 2:4], mask[0, 0] = 300, 301
    save(tmp_path / "val" / "masks" / "39.png", mask)
    (tmp_path / "train" / "masks" / "00.png").write_bytes(b"")
    save(tmp_path / "train" / "images" / "01.png", np.zeros((9, 9, 3), np.uint8))
    save(tmp_path / "train" / "masks" / "01.png", np.full((9, 9), 1, np.uint8))
    survey = survey_of(tmp_path)
    assert (survey.masks, survey.splits) == (39, {"train": 35, "val": 5})
    assert survey.sizes == {SIZE: 38, (9, 9): 1}
    pixels = {value: 24 for value in range(2, 39)} | {1: 81, 7: 24 + 19, 300: 4, 301: 1}
    assert survey.pixels == pixels
    # Places whose neighbours to the left, above and in between are equal: of 4x6 pixels 3x5.
    assert (survey.inner[1], survey.inner[2], survey.inner[300], survey.inner[301]) == (64, 15, 1, 0)
    assert sum(survey.shares().values()) == pytest.approx(1)


def test_survey_refuses_masks_that_cannot_be_read(tmp_path):
    write(tmp_path, ["a"])
    (tmp_path / "masks" / "a.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"None of the 1 masks can be read, such as .*masks/a\.png"):
        survey_of(tmp_path)


def test_propose_classes_of_ids(tmp_path):
    write(tmp_path, ["a"], ids=0)
    write(tmp_path, ["b"], ids=255)
    entries = [{"name": "class_0", "id": 0}, {"name": "class_255", "id": 255}]
    assert propose_classes(survey_of(tmp_path), [], None) == (entries, [])
    # Beside two others 255 is void.
    write(tmp_path, ["c"], ids=7)
    found, notes = propose_classes(survey_of(tmp_path), [], None)
    assert found == [entries[0], {"name": "class_7", "id": 7}, {"name": "void", "id": 255, "ignored": True}]
    assert notes == ["The value 255 is taken for void (as is usual); correct the table if that is wrong."]


def test_propose_classes_of_colors(tmp_path):
    write(tmp_path, ["a"])
    mask = np.zeros((*SIZE, 3), np.uint8)
    mask[:, :2], mask[:, 2:4] = (128, 64, 32), (224, 224, 192)
    save(tmp_path / "masks" / "a.png", mask)
    found, _ = propose_classes(survey_of(tmp_path), [], None)
    assert found == [
        {"name": "class_0", "color": (0, 0, 0)},
        {"name": "class_1", "color": (128, 64, 32)},
        {"name": "void", "color": (224, 224, 192), "ignored": True},
    ]


def test_propose_classes_takes_colors_from_a_palette(tmp_path):
    write(tmp_path, ["a"])
    mask = Image.fromarray(np.repeat(np.arange(3, dtype=np.uint8), 8).reshape(SIZE), "P")
    mask.putpalette([9, 9, 9, 1, 2, 3, 9, 9, 9])
    mask.save(tmp_path / "masks" / "a.png")
    found, _ = propose_classes(survey_of(tmp_path), [], None)
    assert [entry.get("color") for entry in found] == [(9, 9, 9), (1, 2, 3), None], "no colour twice"
    named = [NamedClass("car", 0, (1, 2, 3), False), NamedClass("sky", 1, (9, 9, 9), False)]
    found, _ = propose_classes(survey_of(tmp_path), named, FILE)
    assert {entry["name"]: entry["id"] for entry in found} == {"sky": 0, "car": 1, "class_2": 2}


@pytest.mark.parametrize(
    ("ids", "given_names", "expected"),
    [
        ([0, 1], ["road", "sky"], {"road": 0, "sky": 1}),
        ([0, 1, 255], ["road", "sky", "car"], {"road": 0, "sky": 1, "car": 2, "void": 255}),
        ([0, 1, 3, 255], ["a", "b", "c", "d"], {"a": 0, "b": 1, "c": 2, "d": 3, "void": 255}),
        # The background has no name.
        ([0, 1, 2], ["road", "sky"], {"background": 0, "road": 1, "sky": 2}),
        ([0, 255], ["crack"], {"background": 0, "crack": 255}),
        # Values that are spread.
        ([0, 255], ["background", "crack"], {"background": 0, "crack": 255}),
        ([0, 128, 255], ["a", "b", "c"], {"a": 0, "b": 128, "c": 255}),
        ([0, 1, 9], ["road"], {"road": 0, "class_1": 1, "class_9": 9}),
    ],
)
def test_propose_classes_gives_names_to_ids(ids, given_names, expected):
    entries, notes = propose_classes(survey_with(ids), names(*given_names), FILE)
    assert {entry["name"]: entry["id"] for entry in entries} == expected
    assert [entry["name"] for entry in entries if entry.get("ignored")] == [n for n in expected if n == "void"]
    assert bool(notes) == (expected != {name: place for place, name in enumerate(given_names)})


def test_propose_classes_with_a_label_file_of_colors():
    named = [NamedClass("road", 0, (1, 1, 1), False), NamedClass("unlabelled", 1, (0, 0, 0), True)]
    found, notes = propose_classes(survey_with([(1, 1, 1), (0, 0, 0), (5, 5, 5)]), named, FILE)
    assert found == [
        {"name": "road", "color": (1, 1, 1)},
        {"name": "unlabelled", "color": (0, 0, 0), "ignored": True},
        {"name": "unknown_2", "color": (5, 5, 5), "ignored": True},
    ]
    assert notes == [
        "The value (5, 5, 5) is taken for void (classes.txt does not name it); correct the table if that is wrong."
    ]
    # Some masks of ids and some of colours, which the file knows both.
    found, _ = propose_classes(survey_with([0, 1, (1, 1, 1)]), named, FILE)
    assert [(entry["id"], entry["color"]) for entry in found] == [(0, (1, 1, 1)), (1, (0, 0, 0))]
    with pytest.raises(InputError, match=r"0\.png has one value a pixel and \(1, 1, 1\)\.png colours; save all masks"):
        propose_classes(survey_with([0, (1, 1, 1)]), names("a"), FILE)
    _, notes = propose_classes(survey_with([(1, 1, 1), (0, 0, 0)]), names("a"), FILE)
    assert notes == ["classes.txt names classes without colours, so the colours of the masks have no names yet."]


def test_propose_classes_refuses_smoothed_masks_with_the_counts(tmp_path):
    picture = Image.new("RGB", (960, 720))
    ImageDraw.Draw(picture).ellipse((100, 100, 800, 600), fill=(128, 64, 128))
    smooth = np.asarray(picture.resize((240, 180), Image.Resampling.BOX))
    write(tmp_path, ["a"])
    save(tmp_path / "masks" / "a.png", smooth)
    count = len(np.unique(smooth.reshape(-1, 3), axis=0))
    assert 5 < count < 100
    message = (
        rf"The 1 masks, such as .*a\.png, hold {count} different colours, {count - 2} of them only in thin lines .* "
        r"save the masks without smoothing .* pixels are \(0, 0, 0\) 59\.6 %, \(128, 64, 128\) 39"
    )
    with pytest.raises(InputError, match=message):
        propose_classes(survey_of(tmp_path), [], None)
    # Smoothing gray masks is no better, and a photograph is no mask at all.
    save(tmp_path / "masks" / "a.png", smooth[..., 0])
    with pytest.raises(InputError, match="different ids"):
        propose_classes(survey_of(tmp_path), [], None)
    save(tmp_path / "masks" / "a.png", np.random.default_rng(0).integers(0, 256, (90, 90, 3), np.uint8))
    with pytest.raises(InputError, match=r"hold 2000 different colours.* others have less each\."):
        propose_classes(survey_of(tmp_path), [], None)


def test_propose_classes_keeps_thin_and_rare_classes(tmp_path):
    """Of three values one is a line of one pixel's width, in a thousandth of the pixels."""
    mask = np.zeros((100, 120), np.uint8)
    mask[50:], mask[20, 30:40] = 1, 2
    write(tmp_path, ["a"])
    save(tmp_path / "masks" / "a.png", mask)
    assert [entry["id"] for entry in propose_classes(survey_of(tmp_path), [], None)[0]] == [0, 1, 2]


@given(ids=st.sets(st.integers(0, 65535), min_size=1, max_size=40))
def test_propose_classes_gives_a_table_of_all_that_masks_hold(ids):
    entries, _ = propose_classes(survey_with(sorted(ids)), [], None)
    table = ClassTable.from_entries("t", entries)
    mask = np.array([sorted(ids)], np.uint16)
    labels = table.ids_to_labels(mask, "mask")
    is_void = (mask == VOID) & (len(ids) > 2)
    np.testing.assert_array_equal(labels[~is_void], np.arange(table.num_classes))
    assert (labels[is_void] == VOID).all()
