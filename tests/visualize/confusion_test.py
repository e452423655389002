"""Tests for segnet_jax/visualize/confusion.py."""

import numpy as np
import pytest

from segnet_jax.evaluation.metrics import summarize
from segnet_jax.evaluation.result import Evaluation
from segnet_jax.visualize.confusion import draw_confusion, row_shares

_MATRIX = np.array([[6, 2, 0], [0, 0, 0], [5, 0, 5]], np.int64)
_FULL, _EMPTY = (8, 64, 129), (226, 226, 226)


def test_row_shares_of_each_class_and_none_of_an_absent_one():
    nan = np.nan
    np.testing.assert_array_equal(row_shares(_MATRIX), [[0.75, 0.25, 0], [nan, nan, nan], [0.5, 0, 0.5]])
    # Beyond what int32 and float32 hold.
    np.testing.assert_array_equal(row_shares(np.array([[2**40, 2**40 * 3], [0, 1]])), [[0.25, 0.75], [0, 1]])


def area(picture, color):
    """Returns how many pixels have a colour."""
    return int((np.asarray(picture) == color).all(axis=-1).sum())


def test_draw_confusion_colours_cells_by_their_share():
    # Cells of 56 pixels: a row of which half is right, a row without pixels, and a row that is right.
    picture = draw_confusion(np.array([[1, 1, 0], [0, 0, 0], [0, 0, 9]]), ["a", "b", "c"], "title")
    half = tuple(np.rint((255 + np.array(_FULL)) / 2).astype(int))
    # Without the frame of a cell and its number.
    assert 0.7 * 2 * 55**2 < area(picture, half) <= 2 * 55**2
    assert 0.7 * 55**2 < area(picture, _FULL) <= 55**2
    assert area(picture, _EMPTY) > 3 * 54**2
    right = draw_confusion(np.eye(3, dtype=np.int64), ["a", "b", "c"], "title")
    assert area(right, half) == 0
    assert area(right, _FULL) > 3 * 0.7 * 55**2


@pytest.mark.parametrize("count", [1, 11, 40])
def test_draw_confusion_has_room_for_all_names_and_a_long_title(count):
    names = [f"a class with a long name {k}" for k in range(count)]
    plain = draw_confusion(np.eye(count, dtype=np.int64), [str(k) for k in range(count)], "t")
    long = draw_confusion(np.eye(count, dtype=np.int64), names, "t")
    # The names stand to the left and above, where they take as much.
    assert long.height - plain.height > 100
    assert long.width - plain.width > 100 or count == 1
    assert (np.asarray(long)[:, -8:] == 255).all(), "nothing is cut off at the right"
    titled = draw_confusion(np.eye(count, dtype=np.int64), ["a"] * count, "a title of a run " * 12)
    assert (np.asarray(titled)[:, -8:] == 255).all()


def test_draw_confusion_is_what_an_evaluation_draws_of_its_report():
    report = summarize(_MATRIX, ["a", "b", "c"], boundary_f1=None, void_pixels=0, images=1)
    assert report["confusion"] == [[6, 2, 0], [0, 0, 0], [5, 0, 5]]
    picture = Evaluation(report, []).draw_confusion("val, step 7")
    np.testing.assert_array_equal(picture, draw_confusion(_MATRIX, ["a", "b", "c"], "val, step 7"))
    # A network that reconstructs its input has no classes.
    assert Evaluation({"mean_squared_error": 0.5}, []).draw_confusion("val, step 7") is None
