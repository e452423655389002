"""Tests for segnet_jax/visualize/label_maps.py."""

import numpy as np
import pytest
from PIL import Image

from segnet_jax.data.class_table import VOID, ClassTable, SegmentationClass
from segnet_jax.errors import InputError
from segnet_jax.visualize import colorize, heat_map, mark_errors, overlay, save_label_png
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
_LABEL = np.array([[0, 1, 2], [VOID, 0, 3]], np.uint8)


def test_colorize_paints_classes_and_void():
    expected = [[_RED, _GREEN, _BLUE], [_VOID_COLOR, _RED, _VOID_COLOR]]
    for label in (_LABEL, _LABEL.astype(np.int32), np.where(_LABEL == VOID, np.int32(-1), _LABEL)):
        colors = colorize(label, _TABLE)
        assert colors.dtype == np.uint8
        np.testing.assert_array_equal(colors, expected)


def test_overlay_blends_classes_and_leaves_void():
    image = np.full((2, 3, 3), 100, np.uint8)
    blended = overlay(image, _LABEL, _TABLE, alpha=0.3)
    np.testing.assert_array_equal(blended[0, 0], [130, 73, 76])
    np.testing.assert_array_equal(blended[1, 0], [100, 100, 100])
    np.testing.assert_array_equal(blended[1, 2], [100, 100, 100])
    np.testing.assert_array_equal(overlay(image, _LABEL, _TABLE, alpha=0), image)
    np.testing.assert_array_equal(overlay(image, _LABEL, _TABLE, alpha=1)[0], [[*_RED], _GREEN, _BLUE])


def test_overlay_rounds_without_overflow():
    image = np.array([[[255, 0, 3]]], np.uint8)
    table = ClassTable("white", (SegmentationClass("w", 0, (255, 255, 4)),))
    blended = overlay(image, np.zeros((1, 1), np.uint8), table)
    np.testing.assert_array_equal(blended, [[[255, 128, 4]]])


def test_overlay_refuses_another_size():
    with pytest.raises(ValueError, match=r"\(4, 5, 3\).*\(4, 6\)"):
        overlay(np.zeros((4, 5, 3), np.uint8), np.zeros((4, 6), np.uint8), _TABLE)


def test_mark_errors_marks_wrong_pixels_and_judges_no_void():
    image = np.array([[(0, 0, 0), (255, 255, 255), (30, 60, 90)], [(9, 9, 9), (1, 2, 3), (200, 0, 0)]], np.uint8)
    prediction = np.array([[0, 2, 2], [1, 0, 1]], np.int32)
    marked = mark_errors(image, _LABEL, prediction, _TABLE)
    assert marked.dtype == np.uint8
    # Half as contrasted, in the upper half: 128 + mean / 2; of what is right, wrong, and void or no class.
    expected = [[(128,) * 3, WRONG_COLOR, (158,) * 3], [_VOID_COLOR, (129,) * 3, _VOID_COLOR]]
    np.testing.assert_array_equal(marked, expected)
    # White that is right stays white.
    white = np.full((1, 1, 3), 255, np.uint8)
    assert (mark_errors(white, _LABEL[:1, :1], _LABEL[:1, :1], _TABLE) == 255).all()
    with pytest.raises(ValueError, match=r"\(2, 3, 3\).*\(2, 2\)"):
        mark_errors(image, _LABEL, prediction[:, 1:], _TABLE)


def test_save_label_png_reads_back_as_labels_and_as_colours(tmp_path):
    label = np.array([[0, 1, 2], [VOID, 0, 2]], np.uint8)
    for dtype in (np.uint8, np.int32):
        save_label_png(label.astype(dtype), tmp_path / "label.png", _TABLE)
        with Image.open(tmp_path / "label.png") as picture:
            assert (picture.format, picture.mode, picture.size) == ("PNG", "P", (3, 2))
            np.testing.assert_array_equal(np.asarray(picture), label)
            np.testing.assert_array_equal(picture.convert("RGB"), colorize(label, _TABLE))


def test_save_label_png_refuses_a_value_that_is_no_class(tmp_path):
    with pytest.raises(ValueError, match="label value 3 is neither VOID nor one of 3"):
        save_label_png(_LABEL, tmp_path / "label.png", _TABLE)
    assert not (tmp_path / "label.png").exists()


def test_save_label_png_names_a_path_that_cannot_be_written(tmp_path):
    path = tmp_path / "missing" / "label.png"
    with pytest.raises(InputError, match=rf"{path} cannot be written.*existing folder"):
        save_label_png(np.zeros((2, 2), np.uint8), path, _TABLE)


def test_heat_map_rises_from_black_to_light_yellow():
    values = np.array([[0.0, 0.5, 2.0, 5.0], [0.25, 1.0, 1.5, 2.0]])
    colors = heat_map(values, 2.0)
    assert colors.dtype == np.uint8
    np.testing.assert_array_equal(colors[0], [(0, 0, 12), (87, 16, 110), (252, 255, 164), (252, 255, 164)])
    # Halfway between the first two colours, rounded to even.
    np.testing.assert_array_equal(colors[1], [(44, 8, 61), (188, 55, 84), (249, 142, 9), (252, 255, 164)])
    ramp = heat_map(np.linspace(0, 1, 101)[None], 1.0)[0] @ (0.299, 0.587, 0.114)
    assert (np.diff(ramp) > 0).all(), "more is lighter"
    np.testing.assert_array_equal(heat_map(np.zeros((2, 2)), 0.0), np.full((2, 2, 3), (0, 0, 12)))
