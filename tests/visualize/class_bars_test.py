"""Tests for segnet_jax/visualize/class_bars.py."""

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from segnet_jax.visualize import class_bars  # noqa: E402


def test_draw_class_bars_shows_scores_and_shares_and_names_absent_classes(monkeypatch):
    figures = []
    monkeypatch.setattr(class_bars, "render", figures.append)
    class_bars.draw_class_bars(
        [
            {"name": "road", "iou": 0.5, "accuracy": 0.625, "pixels": 30},
            {"name": "only predicted", "iou": 0.0, "accuracy": None, "pixels": 0},
            {"name": "absent", "iou": None, "accuracy": None, "pixels": 0},
            {"name": "sky", "iou": 0.875, "accuracy": 1.0, "pixels": 10},
        ],
        "run: val",
    )
    scores, shares = figures[0].axes
    assert [label.get_text() for label in scores.get_yticklabels()] == ["road", "only predicted", "absent", "sky"]
    widths = [bar.get_width() for bar in scores.patches]
    np.testing.assert_allclose(widths, [50, 0, 0, 87.5, 62.5, 0, 0, 100])
    texts = [text.get_text() for text in scores.texts]
    assert texts == ["50.0", "0.0", "none", "87.5", "62.5", "none", "none", "100.0"]
    np.testing.assert_allclose([bar.get_width() for bar in shares.patches], [75, 0, 0, 25])
    assert [text.get_text() for text in shares.texts] == ["75.0", "none", "none", "25.0"]
    assert scores.yaxis_inverted(), "the first class is at the top"
