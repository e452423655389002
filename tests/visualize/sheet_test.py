"""Tests for segnet_jax/visualize/sheet.py."""

import numpy as np
import pytest

from segnet_jax.data.class_table import VOID, ClassTable, SegmentationClass
from segnet_jax.visualize import colorize, heat_map, mark_errors, overlay, picture_grid, prediction_sheet, rgb_of
from segnet_jax.visualize.label_maps import WRONG_COLOR

_RED, _GREEN, _BLUE, _VOID_COLOR = (200, 10, 20), (10, 190, 30), (5, 15, 180), (90, 91, 92)
_TABLE = ClassTable(
    "three",
    (
        SegmentationClass("a", 0, _RED),
        SegmentationClass("nothing", 7, _VOID_COLOR, ignored=True),
        SegmentationClass("b", 1, _GREEN),
        SegmentationClass("c", 2, _BLUE),
    ),
)


def _blobs(seed, height, width):
    """A random image, its labels with some void, and another label map as its prediction."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), np.uint8)
    label = rng.integers(0, 4, (height, width))
    return image, np.where(label == 3, VOID, label).astype(np.uint8), rng.integers(0, 3, (height, width), np.int32)


def _find(sheet, picture):
    """Returns the places (top, left) where the picture lies in the sheet."""
    pixels, (height, width) = np.asarray(sheet), picture.shape[:2]
    found = np.ones((pixels.shape[0] - height + 1, pixels.shape[1] - width + 1), bool)
    # Some pixels first, as most places differ in one of them.
    for y, x in np.random.default_rng(0).integers(0, (height, width), (24, 2)):
        found &= (pixels[y : y + found.shape[0], x : x + found.shape[1]] == picture[y, x]).all(-1)
    return [
        (int(top), int(left))
        for top, left in np.argwhere(found)
        if (pixels[top : top + height, left : left + width] == picture).all()
    ]


@pytest.mark.parametrize(
    ("size", "tile"),
    [
        ((45, 60), (360, 480)),
        ((360, 480), (360, 480)),
        ((720, 960), (360, 480)),
        ((96, 64), (480, 320)),
        ((100, 110), (400, 440)),
    ],
)
def test_prediction_sheet_scales_tiles(size, tile):
    image, label, prediction = _blobs(0, *size)
    sheet = prediction_sheet([image], [label], [prediction], _TABLE)
    # The label map is sampled, never mixed, so its tile is found by its exact colours.
    rows = ((np.arange(tile[0]) + 0.5) * size[0] // tile[0]).astype(int)
    columns = ((np.arange(tile[1]) + 0.5) * size[1] // tile[1]).astype(int)
    ((top, left),) = _find(sheet, colorize(label, _TABLE)[rows][:, columns])
    assert _find(sheet, colorize(prediction, _TABLE)[rows][:, columns]) == [(top, left + tile[1] + 4)]
    assert sheet.mode == "RGB"


def test_prediction_sheet_holds_image_errors_and_overlay_of_480_pixels_as_they_are():
    image, label, prediction = _blobs(1, 60, 480)
    sheet = prediction_sheet([image], [label], [prediction], _TABLE)
    ((top, left),) = _find(sheet, image)
    assert _find(sheet, mark_errors(image, label, prediction, _TABLE)) == [(top, left + 3 * (480 + 4))]
    assert _find(sheet, overlay(image, prediction, _TABLE)) == [(top, left + 4 * (480 + 4))]


def _legend_colors(sheet, tiles_height):
    """Returns the colours below the tiles."""
    below = np.asarray(sheet)[sheet.height - tiles_height :].reshape(-1, 3)
    return {tuple(color) for color in np.unique(below, axis=0).tolist()}


def test_prediction_sheet_legend_names_void_only_where_it_occurs():
    image, label, prediction = _blobs(2, 60, 120)
    with_void = prediction_sheet([image], [label], [prediction], _TABLE)
    without = prediction_sheet([image], [prediction], [prediction], _TABLE)
    assert {_RED, _GREEN, _BLUE, _VOID_COLOR, WRONG_COLOR} <= _legend_colors(with_void, 20)
    assert {_RED, _GREEN, _BLUE} <= _legend_colors(without, 20)
    assert _VOID_COLOR not in _legend_colors(without, 20)


def test_prediction_sheet_of_mixed_sizes():
    sizes = [(45, 60), (200, 480), (480, 100), (720, 960)]
    rows = [_blobs(seed, *size) for seed, size in enumerate(sizes)]
    images, labels, predictions = zip(*rows, strict=True)
    sheet = prediction_sheet(images, labels, predictions, _TABLE)
    single = prediction_sheet(images[:1], labels[:1], predictions[:1], _TABLE)
    assert sheet.width == single.width
    # Rows of 360, 200, 480 and 360 pixels and three gutters instead of one row of 360.
    assert sheet.height - single.height == 200 + 480 + 360 + 3 * 4


def test_prediction_sheet_centres_narrow_tiles():
    wide, narrow = _blobs(0, 40, 480), _blobs(1, 40, 460)
    images, labels, predictions = zip(wide, narrow, strict=True)
    sheet = prediction_sheet(images, labels, predictions, _TABLE)
    ((top, left),) = _find(sheet, colorize(wide[2], _TABLE))
    assert _find(sheet, colorize(narrow[2], _TABLE)) == [(top + 44, left + 10)]
    below = np.asarray(sheet)[top + 44 : top + 84, left : left + 480]
    assert (below[:, :10] == 255).all() and (below[:, 470:] == 255).all()


def test_prediction_sheet_of_narrow_tiles_keeps_its_headings_apart():
    image, label, prediction = _blobs(3, 480, 16)
    sheet = prediction_sheet([image], [label], [prediction], _TABLE)
    # The widest heading, not the 16 pixels of a tile, makes the column.
    assert sheet.width > 5 * 40


def test_prediction_sheet_with_many_long_names_wraps_its_legend():
    entries = [f"a class with a long name {k}" for k in range(37)]
    table = ClassTable.from_entries("many", entries)
    image, label, prediction = _blobs(4, 60, 80)
    sheet = prediction_sheet([image], [label], [prediction], table)
    few = prediction_sheet([image], [label], [prediction], _TABLE)
    assert sheet.width == few.width
    # At most 10 such names fit a row, so there are at least 3 rows more than for three names.
    assert sheet.height - few.height > 3 * 15
    colors = _legend_colors(sheet, sheet.height - few.height + 20)
    assert {tuple(color) for color in table.colors.tolist()} <= colors


def test_prediction_sheet_refuses_what_does_not_belong_together():
    image, label, prediction = _blobs(6, 45, 60)
    with pytest.raises(ValueError, match="shorter"):
        prediction_sheet([image, image], [label], [prediction], _TABLE)
    with pytest.raises(ValueError, match=r"\(45, 60, 3\).*\(44, 60\)"):
        prediction_sheet([image], [label], [prediction[1:]], _TABLE)


def test_prediction_sheet_with_uncertainties_has_one_more_column_of_one_scale():
    rows = [_blobs(seed, 60, 480) for seed in range(2)]
    images, labels, predictions = zip(*rows, strict=True)
    uncertainties = np.random.default_rng(0).uniform(0, [[[0.01]], [[0.04]]], (2, 60, 480))
    plain = prediction_sheet(images, labels, predictions, _TABLE)
    sheet = prediction_sheet(images, labels, predictions, _TABLE, uncertainties=uncertainties)
    assert sheet.width == plain.width + 480 + 4
    assert sheet.height > plain.height, "the scale is named below the classes"
    heats = [heat_map(uncertainty, uncertainties.max()) for uncertainty in uncertainties]
    ((top, left),) = _find(sheet, heats[0])
    assert left == 12 + 5 * (480 + 4)
    assert _find(sheet, heats[1]) == [(top + 64, left)]
    with pytest.raises(ValueError, match="shorter"):
        prediction_sheet(images, labels, predictions, _TABLE, uncertainties=uncertainties[:1])
    with pytest.raises(ValueError, match=r"\(60, 480, 3\).*\(59, 480\)"):
        prediction_sheet(images, labels, predictions, _TABLE, uncertainties=uncertainties[:, 1:])


def test_rgb_of_floats_shows_colours_as_they_are_and_stretches_others():
    image = np.random.default_rng(0).normal(0.3, 0.1, (20, 30, 6)).astype(np.float32)
    image[3, 4, 0] = np.nan
    shown = rgb_of(image, is_rgb=False)
    assert (shown.dtype, shown.shape) == (np.uint8, (20, 30, 3))
    assert shown[3, 4, 0] == 0
    for channel in range(3):
        values = image[..., channel][~np.isnan(image[..., channel])]
        low, high = np.percentile(values, 2), np.percentile(values, 98)
        expected = np.clip(255 * (values - low) / (high - low), 0, 255)
        assert np.abs(shown[..., channel][~np.isnan(image[..., channel])] - expected).max() <= 0.51
    colors = np.array([[[-3, 12.4, 300, 7], [np.nan, 1, 2, 3]]], np.float32)
    assert rgb_of(colors).tolist() == [[[0, 12, 255], [0, 1, 2]]]
    for channels in (1, 2):
        gray = rgb_of(image[..., :channels], is_rgb=False)
        np.testing.assert_array_equal(gray, np.dstack([shown[..., 0]] * 3))
    assert (rgb_of(np.full((2, 2, 1), 7, np.float32), is_rgb=False) == 128).all()
    assert not rgb_of(np.full((2, 2, 4), np.nan, np.float32), is_rgb=False).any()


def test_rgb_of_shows_the_first_channels():
    image = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    np.testing.assert_array_equal(rgb_of(image), image[..., :3])
    for channels in (1, 2):
        np.testing.assert_array_equal(rgb_of(image[..., :channels]), np.dstack([image[..., 0]] * 3))


def test_prediction_sheet_shows_one_channel_as_gray():
    gray, label = np.arange(64, dtype=np.uint8).reshape(8, 8, 1), np.zeros((8, 8), np.uint8)
    sheets = [prediction_sheet([image], [label], [label], _TABLE) for image in (gray, gray.repeat(3, axis=-1))]
    np.testing.assert_array_equal(*map(np.asarray, sheets))
    grids = [picture_grid([[image]], ["a"]) for image in (gray, gray.repeat(3, axis=-1))]
    np.testing.assert_array_equal(*map(np.asarray, grids))


def test_picture_grid_lays_out_rows_and_columns():
    pictures = [_blobs(seed, 130, 260)[0] for seed in range(3)]
    rows = [[pictures[0], pictures[1]], [None, pictures[2]]]
    plain = picture_grid(rows, ("left", "right"))
    (first,), (second,), (third,) = (_find(plain, picture) for picture in pictures)
    assert first[0] == second[0] < third[0]
    assert first[1] < second[1] == third[1]
    assert third[0] - first[0] == 130 + 4
    empty = np.asarray(plain)[third[0] : third[0] + 130, first[1] : first[1] + 260]
    assert (empty == 255).all()

    captions = picture_grid(rows, ("left", "right"), [["a", "b"], ["", "c"]], _TABLE)
    (second,), (third,) = (_find(captions, picture) for picture in pictures[1:])
    below = np.asarray(captions)[second[0] + 130 : third[0], second[1] : second[1] + 260]
    assert third[0] - second[0] > 130 + 4 + 10
    assert (below < 128).any(), "the caption lies between the rows"
    assert {_RED, _GREEN, _BLUE, _VOID_COLOR} <= _legend_colors(captions, plain.height)


def test_picture_grid_enlarges_small_pictures_by_a_whole_factor():
    picture = _blobs(0, 40, 50)[0]
    sheet = picture_grid([[picture]], ("one",))
    assert len(_find(sheet, picture.repeat(4, 0).repeat(4, 1))) == 1
