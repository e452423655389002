"""Tests for segnet_jax/evaluation/result.py."""

import numpy as np

from segnet_jax.evaluation.metrics import summarize
from segnet_jax.evaluation.result import Evaluation
from segnet_jax.visualize.confusion import draw_confusion


def test_evaluation_draws_the_confusion_matrix_of_its_report():
    confusion = np.array([[3, 1], [2, 2]])
    report = summarize(confusion, ["a", "b"], boundary_f1=None, void_pixels=0, images=1)
    assert report["confusion"] == [[3, 1], [2, 2]]
    picture = Evaluation(report, []).draw_confusion("val, step 7")
    np.testing.assert_array_equal(picture, draw_confusion(confusion, ["a", "b"], "val, step 7"))
    assert Evaluation({"mean_squared_error": 0.5}, []).draw_confusion("val, step 7") is None
