"""Tests for segnet_jax/evaluation/metrics.py."""

import functools
import json
import math

import hypothesis.extra.numpy as hnp
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segnet_jax.data.class_table import VOID
from segnet_jax.evaluation import metrics
from segnet_jax.evaluation.metrics import boundary_f1, confusion_matrix, format_table, smoothness

_NAMES = ["sky", "road", "car"]
summarize = functools.partial(metrics.summarize, boundary_f1=None, void_pixels=5, images=2)


def _count_by_loop(labels, predictions, num_classes):
    counts = np.zeros((num_classes, num_classes), np.int64)
    for truth, predicted in zip(labels.ravel().tolist(), predictions.ravel().tolist(), strict=True):
        if 0 <= truth < num_classes and 0 <= predicted < num_classes:
            counts[truth, predicted] += 1
    return counts


_count = jax.jit(confusion_matrix, static_argnums=2)


@settings(deadline=None, max_examples=50)
@given(
    labels=hnp.arrays(np.uint8, (2, 5, 7), elements=st.sampled_from([0, 1, 2, 3, 4, 9, VOID])),
    predictions=hnp.arrays(np.int32, (2, 5, 7), elements=st.integers(-1, 5)),
)
def test_confusion_matrix_equals_a_loop(labels, predictions):
    counts = _count(labels, predictions, 4)
    assert counts.dtype == np.int32
    np.testing.assert_array_equal(counts, _count_by_loop(labels, predictions, 4))


def test_confusion_matrix_keeps_rows_apart_for_out_of_range_predictions():
    # A prediction of K in row 0 has the flat index of column 0 in row 1.
    labels = np.zeros(3, np.int32)
    counts = _count(labels, np.array([2, 3, -1]), 2)
    np.testing.assert_array_equal(counts, np.zeros((2, 2)))


def test_confusion_matrix_is_exact_beyond_float32():
    # 2**24 + 1 is the first whole number that float32 lacks.
    pixels = 2**24 + 3
    counts = _count(np.zeros(pixels, np.uint8), np.ones(pixels, np.uint8), 2)
    np.testing.assert_array_equal(counts, [[0, pixels], [0, 0]])


def test_summarize_by_hand():
    confusion = np.array([[6, 2, 0], [1, 3, 0], [0, 4, 4]])
    report = summarize(confusion, _NAMES)
    assert report["global_accuracy"] == pytest.approx(13 / 20)
    assert report["class_accuracy"] == pytest.approx((6 / 8 + 3 / 4 + 4 / 8) / 3)
    assert report["mean_iou"] == pytest.approx((6 / 9 + 3 / 10 + 4 / 8) / 3)
    assert report["classes"][1] == {
        "name": "road",
        "iou": 0.3,
        "accuracy": 0.75,
        "precision": 3 / 9,
        "f1": 6 / 13,
        "pixels": 4,
    }
    assert report["frequency_weighted_iou"] == pytest.approx((8 * 6 / 9 + 4 * 3 / 10 + 8 * 4 / 8) / 20)
    assert report["authors_script"] == {key: report[key] for key in ("class_accuracy", "mean_iou")}
    assert report["confusion"] == [[6, 2, 0], [1, 3, 0], [0, 4, 4]]
    assert (report["pixels"], report["void_pixels"], report["images"]) == (20, 5, 2)
    assert report["boundary_f1"] is None
    assert json.loads(json.dumps(report)) == report


def test_summarize_leaves_out_an_absent_class():
    confusion = np.array([[6, 0, 2], [0, 0, 0], [1, 0, 1]])
    report = summarize(confusion, _NAMES)
    undefined = dict.fromkeys(("iou", "accuracy", "precision", "f1"))
    assert report["classes"][1] == {"name": "road", **undefined, "pixels": 0}
    assert report["mean_iou"] == pytest.approx((6 / 9 + 1 / 4) / 2)
    assert report["class_accuracy"] == pytest.approx((6 / 8 + 1 / 2) / 2)
    # The authors' script counts it as 0, and divides by all classes.
    assert report["authors_script"]["mean_iou"] == pytest.approx((6 / 9 + 1 / 4) / 3)
    assert report["authors_script"]["class_accuracy"] == pytest.approx((6 / 8 + 1 / 2) / 3)
    assert report["frequency_weighted_iou"] == pytest.approx((8 * 6 / 9 + 2 * 1 / 4) / 10)


def test_summarize_counts_a_class_that_is_only_predicted():
    confusion = np.array([[6, 2, 0], [0, 0, 0], [0, 0, 2]])
    report = summarize(confusion, _NAMES)
    scores = {"iou": 0.0, "accuracy": None, "precision": 0.0, "f1": 0.0}
    assert report["classes"][1] == {"name": "road", **scores, "pixels": 0}
    assert report["mean_iou"] == pytest.approx((6 / 8 + 0 + 1) / 3)
    assert report["class_accuracy"] == pytest.approx((6 / 8 + 1) / 2)


def test_summarize_holds_more_pixels_than_int32():
    report = summarize(np.diag([3 * 2**31, 2**31, 1]), _NAMES)
    assert report["pixels"] == 4 * 2**31 + 1
    assert report["global_accuracy"] == 1


@settings(deadline=None, max_examples=50)
@given(
    labels=hnp.arrays(np.uint8, (30,), elements=st.sampled_from([0, 1, 2, VOID])),
    predictions=hnp.arrays(np.uint8, (30,), elements=st.integers(0, 2)),
)
def test_summarize_equals_sets_of_pixels(labels, predictions):
    report = summarize(_count_by_loop(labels, predictions, 3), _NAMES)
    ious, accuracies, correct, total = [], [], 0, 0
    for k in range(3):
        truth = {i for i in range(30) if labels[i] == k}
        predicted = {i for i in range(30) if predictions[i] == k and labels[i] != VOID}
        ious += [len(truth & predicted) / len(truth | predicted)] if truth | predicted else []
        accuracies += [len(truth & predicted) / len(truth)] if truth else []
        correct, total = correct + len(truth & predicted), total + len(truth)
    if not total:
        keys = ("mean_iou", "frequency_weighted_iou")
        assert [report[key] for key in keys] == [None, None]
        assert report["authors_script"] == {"class_accuracy": None, "mean_iou": None}
        return
    assert report["global_accuracy"] == pytest.approx(correct / total)
    assert report["class_accuracy"] == pytest.approx(sum(accuracies) / len(accuracies))
    assert report["mean_iou"] == pytest.approx(sum(ious) / len(ious))


def _halves(height, width, column):
    """Returns labels of class 0 left of the column and of class 1 from it on."""
    return np.where(np.arange(width) < column, 0, 1) * np.ones((height, 1), np.int64)


# The diagonal of 360x480 is 600 pixels, the tolerance 4.5.
@pytest.mark.parametrize(("shift", "expected"), [(0, 1.0), (4, 1.0), (-4, 1.0), (5, 0.0), (-5, 0.0)])
def test_boundary_f1_of_a_shifted_edge(shift, expected):
    label = _halves(360, 480, 200).astype(np.uint8)
    assert boundary_f1(label, _halves(360, 480, 200 + shift), 2) == expected


# The diagonal of 300x400 is 500 pixels. In floats, the square of 7 / 500 of it comes out above 49.
@pytest.mark.parametrize("distance", range(1, 11))
def test_boundary_f1_excludes_the_tolerance_itself(distance):
    label = _halves(300, 400, 200).astype(np.uint8)
    assert boundary_f1(label, _halves(300, 400, 200 + distance), 2, distance / 500) == 0
    assert boundary_f1(label, _halves(300, 400, 200 + distance - 1), 2, distance / 500) == 1


def test_boundary_f1_measures_diagonal_distances():
    # One true and one predicted pixel; their boundaries are 2x2 blocks, 3 apart in both directions.
    label, prediction = np.zeros((12, 12), np.uint8), np.zeros((12, 12), np.uint8)
    label[2, 2] = prediction[5, 5] = 1
    diagonal = math.hypot(12, 12)
    # Nearest boundary pixels: 2 down and 2 right for a corner of the block, 3 and 3 for another.
    assert boundary_f1(label, prediction, 2, 2.82 / diagonal) == 0
    assert boundary_f1(label, prediction, 2, 2.83 / diagonal) == 0.25
    assert boundary_f1(label, prediction, 2, 4.25 / diagonal) == 1


def test_boundary_f1_does_not_judge_predictions_on_void():
    label = np.zeros((20, 30), np.uint8)
    label[:, 10:20] = VOID
    label[:, 20:] = 1
    inside, outside = np.zeros((20, 30), np.uint8), np.zeros((20, 30), np.uint8)
    inside[:, 13:] = 1
    outside[:, 24:] = 1
    assert boundary_f1(label, inside, 2) is None
    assert boundary_f1(label, outside, 2) == 0


def test_boundary_f1_without_a_boundary():
    flat = np.zeros((12, 16), np.uint8)
    assert boundary_f1(flat, flat, 2) is None
    assert boundary_f1(np.full((12, 16), VOID, np.uint8), flat, 2) is None
    # A boundary in one of them only is an error; a wrong class throughout has no boundary to judge.
    assert boundary_f1(flat, _halves(12, 16, 8), 2) == 0
    assert boundary_f1(_halves(12, 16, 8), flat, 2) == 0
    assert boundary_f1(flat, flat + 1, 2) is None


def _boundary_by_loop(labels, k, skipped):
    height, width = labels.shape
    pixels = []
    for row in range(height):
        for column in range(width):
            block = [
                (min(row + down, height - 1), min(column + right, width - 1)) for down in (0, 1) for right in (0, 1)
            ]
            inside = {bool(labels[place] == k) for place in block}
            if inside == {True, False} and not any(skipped[place] for place in block):
                pixels.append((row, column))
    return pixels


def _boundary_f1_by_loop(label, prediction, num_classes, distance):
    def share_near(pixels, others):
        near = [any(math.dist(p, other) < distance for other in others) for p in pixels]
        return sum(near) / len(near) if near else 0.0

    scores = []
    for k in range(num_classes):
        truth = _boundary_by_loop(label, k, label == VOID)
        predicted = _boundary_by_loop(prediction, k, label == VOID)
        if k in label and (truth or predicted):
            precision, recall = share_near(predicted, truth), share_near(truth, predicted)
            total = precision + recall
            scores.append(2 * precision * recall / total if total else 0.0)
    return sum(scores) / len(scores) if scores else None


@settings(deadline=None, max_examples=60)
@given(
    label=hnp.arrays(np.uint8, (7, 9), elements=st.sampled_from([0, 0, 0, 1, 2, VOID])),
    prediction=hnp.arrays(np.uint8, (7, 9), elements=st.sampled_from([0, 0, 0, 1, 2, 3])),
    # No distance between pixels lies at one of these, so rounding can't decide.
    distance=st.sampled_from([0.9, 1.2, 1.7, 2.1, 2.9, 3.7, 30.0]),
)
def test_boundary_f1_equals_all_distances(label, prediction, distance):
    score = boundary_f1(label, prediction, 4, distance / math.hypot(7, 9))
    expected = _boundary_f1_by_loop(label, prediction, 4, distance)
    assert score is expected is None or score == pytest.approx(expected)


def _regions_by_search(classes, counted):
    """Counts the regions of one class by walking through each."""
    left = {place for place in np.ndindex(classes.shape) if counted[place]}
    regions = 0
    while left:
        regions += 1
        reached = [left.pop()]
        while reached:
            row, column = reached.pop()
            for place in ((row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)):
                if place in left and classes[place] == classes[row, column]:
                    left.remove(place)
                    reached.append(place)
    return regions


@settings(deadline=None, max_examples=60)
@given(
    label=hnp.arrays(np.uint8, (6, 8), elements=st.sampled_from([0, 0, 1, 2, VOID])),
    prediction=hnp.arrays(np.uint8, (6, 8), elements=st.sampled_from([0, 0, 1, 2])),
)
def test_smoothness_equals_a_search(label, prediction):
    found = smoothness(label, prediction, 3)
    counted = label != VOID
    for prefix, classes in (("", prediction), ("label_", label)):
        assert found[f"{prefix}regions"] == (_regions_by_search(classes, counted) or None)
        # A pixel is of some class's boundary, and its block labelled.
        boundary = {place for k in range(3) for place in _boundary_by_loop(classes, k, ~counted)}
        clipped = np.pad(counted, ((0, 1), (0, 1)), mode="edge")
        known = [clipped[row : row + 2, column : column + 2].all() for row, column in np.ndindex(label.shape)]
        assert found[f"{prefix}boundary_share"] == (len(boundary) / sum(known) if any(known) else None)


def test_smoothness_by_hand():
    label = _halves(4, 6, 3).astype(np.uint8)
    prediction = label.copy()
    prediction[1, 1] = 1  # a region of its own, whose boundary is the four blocks around it
    found = smoothness(label, prediction, 2)
    assert found == {
        "boundary_share": 8 / 24,
        "regions": 3.0,
        "label_boundary_share": 4 / 24,
        "label_regions": 2.0,
    }


def test_format_table():
    confusion = np.array([[600, 200, 0], [0, 0, 0], [100, 0, 100]])
    report = summarize(confusion, ["sky", "road_marking", "car"], void_pixels=1234, images=3)
    lines = format_table(report).splitlines()
    assert lines == [
        "class            IoU %    acc. %   prec. %      F1 %  pixels %",
        "sky              66.67     75.00     85.71     80.00     80.00",
        "road_marking      0.00         -      0.00      0.00      0.00",
        "car              50.00     50.00    100.00     66.67     20.00",
        "G 70.00  C 62.50  mIoU 38.89  BF -",
        "frequency-weighted IoU 63.33; with 0 for classes without ground truth, as in the authors' script, "
        "C 41.67  mIoU 38.89",
        "3 images, 1,000 labelled pixels, 1,234 void",
    ]
    smooth = {"boundary_share": 0.051, "label_boundary_share": 0.04, "regions": 31.5, "label_regions": 20.0}
    dusk = {"images": 2, "global_accuracy": 0.5, "class_accuracy": 0.25, "mean_iou": None}
    more = {**report, "boundary_f1": 0.3578, "smoothness": smooth, "groups": {"dusk": dusk}}
    scores, group, _, smoothness_line, _ = format_table(more).splitlines()[4:]
    assert scores.startswith("G 70.00  C 62.50  mIoU 38.89  BF 35.78 (by the paper's text")
    assert group == "dusk (2 images): G 50.00  C 25.00  mIoU -"
    assert smoothness_line == "boundary pixels 5.10 % (labels 4.00 %), regions an image 31.5 (labels 20.0)"
