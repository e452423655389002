"""Tests for segnet_jax/evaluation/single_features.py."""

import jax.numpy as jnp
import numpy as np
import pytest

from segnet_jax.data import preprocessing
from segnet_jax.data.class_table import VOID
from segnet_jax.evaluation.feature_ablation import predict_active
from segnet_jax.evaluation.single_features import single_feature_table, study_single_features
from segnet_jax.models.segnet_flat import SegNetFlat
from tests.helpers.networks import random_variables
from tests.helpers.split import Images

NAMES = ("road", "car", "sky")


def by_hand():
    """Returns the study of a network that passes three channels on, and scores road 1st + 3rd, car 2 x 2nd, sky 0."""
    same = np.zeros((7, 7, 3, 3), np.float32)
    same[3, 3] = np.eye(3)
    scores = np.asarray([[[[1, 0, 0], [0, 2, 0], [1, 0, 0]]]], np.float32)
    params = {"conv1": same, "conv_decode1": same, "conv_classifier": scores}
    # Four windows, each with a maximum at its upper left pixel, which alone is labelled.
    image = np.zeros((2, 8, 3), np.uint8)
    image[0, ::2] = [(3, 1, 0), (1, 3, 0), (4, 3, 3), (0, 2, 0)]
    label = np.full((2, 8), VOID, np.uint8)
    label[0, ::2] = [0, 1, 0, 1]
    return study_single_features(
        SegNetFlat(num_classes=3, width_multiplier=3 / 64, pairs=1),
        {"params": {name: {"kernel": jnp.asarray(kernel)} for name, kernel in params.items()}},
        lambda image: image.astype(jnp.float32),
        [{"image": image, "label": label}],
        NAMES,
    )


def test_study_single_features_by_hand():
    (row,) = by_hand()
    assert row["depth"] == 1
    assert row["all"] == {
        "global_accuracy": 1.0,
        "mean_iou": 1.0,
        "accuracy": [1.0, 1.0, None],
        "iou": [1.0, 1.0, None],
    }
    # The third feature decides the third window. Where all scores are 0, road is the first of equals.
    only_road = {"global_accuracy": 0.5, "mean_iou": 0.25, "accuracy": [1.0, 0.0, None], "iou": [0.5, 0.0, None]}
    only_car = {"global_accuracy": 0.5, "mean_iou": 0.25, "accuracy": [0.0, 1.0, None], "iou": [0.0, 0.5, None]}
    assert [feature["feature"] for feature in row["features"]] == [0, 1, 2]
    assert [feature["alone"] for feature in row["features"]] == [only_road, only_car, only_road]
    assert [feature["without"] for feature in row["features"][:2]] == [only_car, only_road]
    assert row["features"][2]["without"] == {
        "global_accuracy": 0.75,
        "mean_iou": pytest.approx((1 / 2 + 2 / 3) / 2),
        "accuracy": [0.5, 1.0, None],
        "iou": [0.5, pytest.approx(2 / 3), None],
    }
    assert [feature["effect"]["iou"] for feature in row["features"]] == [
        [-1.0, -0.5, None],
        [-0.5, -1.0, None],
        [-0.5, pytest.approx(-1 / 3), None],
    ]
    assert row["features"][2]["effect"]["global_accuracy"] == -0.25


def test_single_feature_table_by_hand():
    assert single_feature_table(by_hand(), NAMES).splitlines()[2:] == [
        "| 1 | road | 100.0 | 0 | -100.0 | 0 | 50.0 |",
        "| 1 | car | 100.0 | 1 | -100.0 | 1 | 50.0 |",
    ]


def test_study_single_features_counts_every_image_at_every_depth():
    model = SegNetFlat(num_classes=3, width_multiplier=2 / 64, pairs=2)
    variables, data = random_variables(model), Images(count=3, sizes=((12, 14),))
    rows = study_single_features(model, variables, preprocessing.imagenet, data.examples, NAMES)
    for depth, row in enumerate(rows, start=1):
        masks = {"all": [1, 1], (0, "alone"): [1, 0], (1, "alone"): [0, 1], (0, "without"): [0, 1]}
        for key, active in masks.items():
            right = total = 0
            for example in data.examples:
                inputs = preprocessing.imagenet(example["image"][None])
                labels = predict_active(model.clone(pairs=depth), variables, inputs, jnp.asarray(active, bool))[0]
                right += np.sum(np.asarray(labels) == example["label"])
                total += np.sum(example["label"] < 3)
            found = row["all"] if key == "all" else row["features"][key[0]][key[1]]
            assert found["global_accuracy"] == pytest.approx(right / total)
    assert rows[0]["all"] != rows[1]["all"]
