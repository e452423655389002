"""Tests for segnet_jax/report/published.py and published.json."""

from collections import Counter

import numpy as np
import pytest

from segnet_jax.data.datasets.camvid import CAMVID11
from segnet_jax.errors import InputError
from segnet_jax.report.published import METRICS, find_row, nearest_row, published_rows

ROWS = {row.id: row for row in published_rows()}


def test_published_rows_are_those_of_each_table():
    counts = Counter((row.paper, row.table) for row in published_rows())
    assert counts == {
        **{("1511.00561", table): rows for table, rows in {1: 16, 2: 11, 3: 16, 4: 14, 5: 1}.items()},
        **{("1505.07293", table): rows for table, rows in {1: 11, 2: 2, 3: 4}.items()},
    }
    assert len(ROWS) == len(published_rows()) == len({row.label for row in published_rows()})
    assert ROWS["1/fcn_basic/natural"].label == "FCN-Basic, Table 1, natural frequency"
    assert ROWS["2015-1/segnet_4_layer"].label == "SegNet - 4 layer, Table 1 of the 2015 paper"


@pytest.mark.parametrize(
    ("row_id", "split", "scores"),
    [
        ("1/segnet_basic/median", "test", (82.7, 62.0, 47.7, 35.78)),
        ("1/segnet_basic/natural", "train", (96.1, 83.9, 73.3, None)),
        ("2/boosting_detectors_crf", "test", (83.8, 62.5, None, None)),
        ("3/deconvnet/best", "test", (89.58, 70.24, 59.77, 52.23)),
        ("4/deeplab_largefov_densecrf/best", "test", (66.96, 33.06, 24.13, 9.41)),
        ("2015-1/segnet_4_layer", "test", (84.3, 62.9, None, None)),
        ("2015-3/segnet_r", "test", (89.7, 60.0, None, None)),
    ],
)
def test_published_rows_have_the_papers_scores(row_id, split, scores):
    assert tuple(ROWS[row_id].scores[split].get(metric) for metric in METRICS) == scores


def test_published_rows_average_by_class_to_the_printed_class_average():
    averaged = [row for row in published_rows() if row.class_accuracies and row.scores]
    assert len(averaged) == 2 * 9 + 2 + 4
    for row in averaged:
        mean = np.mean(list(row.class_accuracies["test"].values()))
        # The paper's own average of this row is 0.13 above its classes'.
        tolerance = 0.14 if row.id == "2015-3/segnet_l4" else 0.08
        assert mean == pytest.approx(row.scores["test"]["class_accuracy"], abs=tolerance), row.id
    # The columns of the 2015 paper's tables 2 and 3, in their order.
    counts = {row.id[:6]: len(row.class_accuracies["test"]) for row in averaged if row.paper == "1505.07293"}
    assert counts == {"2015-1": 11, "2015-2": 13, "2015-3": 7}
    found = ROWS["2015-3/segnet_l4"].class_accuracies["test"]
    assert (found["column 1"], found["column 5"], found["column 7"]) == (74.1, 17.0, 69.4)
    indoor = list(ROWS["5/segnet"].class_accuracies["test"].values())
    assert len(indoor) == 37
    assert np.mean(indoor) == pytest.approx(ROWS["4/segnet/best"].scores["test"]["class_accuracy"], abs=0.02)
    assert set(ROWS["2/segnet"].class_accuracies["test"]) == set(CAMVID11.names)
    # Table 2 shows the network of table 3 beside the classical methods.
    rounded = {metric: round(value, 2) for metric, value in ROWS["3/segnet/best"].scores["test"].items()}
    assert ROWS["2/segnet"].scores["test"] == rounded


def test_published_rows_join_the_conditions_of_the_table_and_of_the_row():
    conditions = ROWS["3/fcn_learnt_deconv/80K"].conditions
    assert (conditions["iterations"], conditions["training_images"]) == (80_000, 3433)
    assert ROWS["1/fcn_basic/natural"].conditions["class_weights"] == "none"
    dropout = [row.conditions["dropout_rate"] for row in ROWS.values() if row.model and row.id[0] in "345"]
    assert dropout == [0.5] * 31


@pytest.mark.parametrize(
    ("network", "data", "upsampling", "expected"),
    [
        ("segnet_basic", "camvid", None, "1/segnet_basic/median"),
        ("segnet", "folder", None, "3/segnet/best"),
        ("segnet", "sunrgbd", None, "4/segnet/best"),
        ("fcn8s", "camvid", "learnt", "3/fcn_learnt_deconv/best"),
        ("fcn8s", "camvid", "fixed", "3/fcn_fixed_bilinear/best"),
        ("fcn8s", "sunrgbd", "fixed", "4/fcn_learnt_deconv/best"),
        ("segnet_flat", "camvid", None, "2015-1/segnet_4_layer"),
        ("segnet_flat", "kitti", None, "2015-3/segnet_r"),
        ("unheard_of", "camvid", None, None),
    ],
)
def test_nearest_row(network, data, upsampling, expected):
    row = nearest_row(network, data, upsampling)
    assert (row and row.id) == expected


def test_find_row_refuses_a_row_without_scores():
    assert find_row("2/boosting").method == "Boosting"
    for row_id in ("1/segnet_basic/medium", "6/segnet"):
        with pytest.raises(InputError, match=f"no published row '{row_id}' with scores; --list prints all"):
            find_row(row_id)
