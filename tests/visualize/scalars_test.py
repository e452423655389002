"""Tests for segnet_jax/visualize/scalars.py."""

import numpy as np
import pytest

from segnet_jax.errors import InputError
from segnet_jax.training.metric_writer import MetricWriter
from segnet_jax.visualize.scalars import read_scalars, running_mean
from tests.helpers.metrics_files import write_metrics


def check(series, steps, values):
    np.testing.assert_array_equal(series.steps, steps)
    np.testing.assert_array_equal(series.values, values)


def test_read_scalars_reads_what_a_resumed_run_wrote(tmp_path):
    with MetricWriter(tmp_path) as writer:
        writer.write_scalars(2, {"train/loss": 0.5, "train/learning_rate": 0.1})
        writer.write_scalars(2, {"val/mean_iou": 0.25, "val_iou/a/b": 0.125})
        writer.write_scalars(4, {"train/loss": 9.0})
    # A killed process has left what comes after step 2.
    with MetricWriter(tmp_path, resume_step=2) as writer:
        writer.write_scalars(2, {"val/mean_iou": 0.75})
        writer.write_scalars(4, {"train/loss": float("inf")})
        writer.write_scalars(6, {"train/loss": 0.25})
    found = read_scalars(tmp_path / "metrics.jsonl")
    assert list(found) == ["train/loss", "train/learning_rate", "val/mean_iou", "val_iou/a/b"]
    check(found["train/loss"], [2, 4, 6], [0.5, np.nan, 0.25])
    check(found["train/learning_rate"], [2], [0.1])
    check(found["val/mean_iou"], [2], [0.75])
    check(found["val_iou/a/b"], [2], [0.125])


def test_read_scalars_leaves_out_a_last_line_without_an_end(tmp_path):
    path = write_metrics(tmp_path, {"step": 1, "train/loss": 2.0}, '{"step": 2, "train/lo', end="")
    check(read_scalars(path)["train/loss"], [1], [2.0])


@pytest.mark.parametrize(
    "line", ['{"step": 2, "train/lo', "[2]", '{"train/loss": 1.0}', '{"step": 2, "train/loss": "x"}', ""]
)
def test_read_scalars_names_a_damaged_line(tmp_path, line):
    path = write_metrics(tmp_path, {"step": 1, "train/loss": 2.0}, line, {"step": 3, "train/loss": 1.0})
    with pytest.raises(InputError, match=f"^Line 2 of {path} is damaged; restore a copy, or delete the line.$"):
        read_scalars(path)


def test_read_scalars_names_a_file_that_is_missing_or_empty(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with pytest.raises(InputError, match=f"{path} cannot be read .*name the work directory of a run"):
        read_scalars(path)
    path.write_text("")
    with pytest.raises(InputError, match=f"{path} holds no numbers yet"):
        read_scalars(path)


def test_running_mean_of_each_window():
    means = running_mean(np.array([1.0, 2.0, 6.0, np.nan, 1.0, 3.0, 5.0]), 3)
    np.testing.assert_allclose(means, [3, np.nan, np.nan, np.nan, 3])
