"""Tests for segnet_jax/report/published.py and published.json."""

from collections import Counter

import numpy as np
import pytest

from segnet_jax.data.datasets.camvid import CAMVID11
from segnet_jax.errors import InputError
from segnet_jax.report.published import METRICS, find_row, nearest_row, published_rows

ROWS = {row.id: row for row in published_rows()}


def table(number, paper="1511.00561"):
    return [row for row in published_rows() if (row.paper, row.table) == (paper, number)]


def test_published_rows_are_those_of_each_table():
    counts = Counter((row.paper, row.table) for row in published_rows())
    paper = {1: 2 * 8, 2: 11, 3: 5 * 3 + 1, 4: 4 * 3 + 1 + 1, 5: 1, 6: 4}
    assert counts == {("1511.00561", number): rows for number, rows in paper.items()} | {
        ("1505.07293", 1): 11,
        ("1505.07293", 2): 2,
        ("1505.07293", 3): 4,
    }
    assert len(ROWS) == len(published_rows()), "an id names one row"
    assert Counter(row.kind for row in table(2)) == {"classical": 7, "classical with CRF": 3, "network": 1}


@pytest.mark.parametrize(
    ("row_id", "split", "scores"),
    [
        ("1/segnet_basic/median", "test", (82.7, 62.0, 47.7, 35.78)),
        ("1/segnet_basic/natural", "train", (96.1, 83.9, 73.3, None)),
        ("1/fcn_basic_no_addition_no_dim_reduction/median", "test", (80.5, 61.6, 45.9, 30.47)),
        ("2/boosting_detectors_crf", "test", (83.8, 62.5, None, None)),
        ("3/segnet/40K", "test", (88.81, 59.93, 50.02, 35.78)),
        ("3/deconvnet/best", "test", (89.58, 70.24, 59.77, 52.23)),
        ("4/deeplab_largefov_densecrf/best", "test", (66.96, 33.06, 24.13, 9.41)),
        ("4/segnet/median", "test", (71.75, 44.85, 32.08, 14.06)),
        ("2015-1/segnet_4_layer", "test", (84.3, 62.9, None, None)),
        ("2015-3/segnet_r", "test", (89.7, 60.0, None, None)),
    ],
)
def test_published_rows_have_the_papers_scores(row_id, split, scores):
    assert tuple(ROWS[row_id].scores[split].get(metric) for metric in METRICS) == scores


def test_published_rows_average_by_class_to_the_printed_class_average():
    averaged = [row for row in published_rows() if row.class_accuracies and row.scores]
    assert len(averaged) == 2 * 9
    for row in averaged:
        mean = np.mean(list(row.class_accuracies["test"].values()))
        assert mean == pytest.approx(row.scores["test"]["class_accuracy"], abs=0.08), row.id
    indoor = ROWS["5/segnet"].class_accuracies["test"]
    assert len(indoor) == 37
    assert np.mean(list(indoor.values())) == pytest.approx(
        ROWS["4/segnet/best"].scores["test"]["class_accuracy"], abs=0.02
    )
    assert set(ROWS["2/segnet"].class_accuracies["test"]) == set(CAMVID11.names)


def test_published_rows_support_the_papers_conclusions():
    balanced = {row.model: row.scores["test"] for row in table(1) if row.id.endswith("/median")}
    natural = {row.model: row.scores["test"] for row in table(1) if row.id.endswith("/natural")}
    for metric in ("mean_iou", "boundary_f1"):
        assert min(balanced, key=lambda name: balanced[name][metric]) == "bilinear_interpolation"
    assert {name for name, scores in balanced.items() if scores["mean_iou"] >= 48.5} == {
        "segnet_basic_encoder_addition",
        "fcn_basic_no_dim_reduction",
    }
    assert all(natural[name]["class_accuracy"] < balanced[name]["class_accuracy"] for name in balanced)
    # Table 2 shows the network of table 3 beside the classical methods.
    rounded = {metric: round(value, 2) for metric, value in ROWS["3/segnet/best"].scores["test"].items()}
    assert ROWS["2/segnet"].scores["test"] == rounded


def test_published_rows_have_the_papers_costs():
    assert ROWS["6/deconvnet"].costs == {
        "forward_ms": 474.65,
        "backward_ms": 602.15,
        "training_memory_mb": 9731,
        "inference_memory_mb": 1872,
        "model_size_mb": 877,
    }
    row = ROWS["1/segnet_basic_encoder_addition/median"]
    assert (row.parameters_million, row.storage_multiplier, row.inference_ms) == (1.425, 64, 53.0)


def test_published_rows_join_the_conditions_of_the_table_and_of_the_row():
    assert ROWS["1/fcn_basic/natural"].conditions["class_weights"] == "none"
    assert ROWS["1/fcn_basic/median"].conditions["training_images"] == 367
    assert ROWS["3/fcn_learnt_deconv/80K"].conditions["iterations"] == 80_000
    assert ROWS["3/fcn_learnt_deconv/80K"].conditions["training_images"] == 3433
    assert ROWS["4/segnet/median"].conditions["class_weights"] == "median_frequency"


@pytest.mark.parametrize(
    ("network", "data", "upsampling", "expected"),
    [
        ("segnet_basic", "camvid", None, "1/segnet_basic/median"),
        ("segnet_basic", "synthetic", None, "1/segnet_basic/median"),
        ("segnet", "camvid", None, "3/segnet/best"),
        ("segnet", "folder", None, "3/segnet/best"),
        ("segnet", "sunrgbd", None, "4/segnet/best"),
        ("deeplab_largefov", "camvid", None, "3/deeplab_largefov/best"),
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


def test_label_is_unique():
    labels = [row.label for row in published_rows()]
    assert len(set(labels)) == len(labels)
    assert ROWS["1/fcn_basic/natural"].label == "FCN-Basic, Table 1, natural frequency"
    assert ROWS["2015-1/segnet_4_layer"].label == "SegNet - 4 layer, Table 1 of the 2015 paper"


def test_published_rows_of_the_benchmark_have_dropout_in_all_networks():
    rows = [row for row in published_rows() if row.model and row.id.startswith(("2/", "3/", "4/", "5/"))]
    assert len(rows) == 32
    assert all(row.conditions["dropout_rate"] == 0.5 for row in rows)
