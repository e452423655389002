"""Tests for segnet_jax/visualize/class_shares.py."""

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from segnet_jax.visualize import class_shares  # noqa: E402


def test_draw_class_shares_has_a_bar_for_each_split_and_names_absent_classes(monkeypatch):
    figures = []
    monkeypatch.setattr(class_shares, "render", figures.append)
    pixels = {"train": [75.0, 25.0, 0.0], "val": [99.5, 0.0, 0.5]}
    class_shares.draw_class_shares(
        ["road", "car", "sky"], pixels, {"train": [100.0, 50.0, 0.0], "val": [100.0, 0.0, 12.5]}, "mine"
    )
    left, right = figures[0].axes
    assert [label.get_text() for label in left.get_yticklabels()] == ["road", "car", "sky"]
    np.testing.assert_allclose([bar.get_width() for bar in left.patches], [75, 25, 0, 99.5, 0, 0.5])
    # A class's bars lie around its name, that of the first split above.
    np.testing.assert_allclose([bar.get_y() for bar in left.patches], [-0.4, 0.6, 1.6, 0, 1, 2], atol=1e-9)
    np.testing.assert_allclose([bar.get_width() for bar in right.patches], [100, 50, 0, 100, 0, 12.5])
    assert [text.get_text() for text in left.texts] == ["75", "25", "none", "99.5", "none", "0.5"]
    assert [text.get_text() for text in figures[0].legends[0].get_texts()] == ["train", "val"]
    assert left.yaxis_inverted(), "the first class is at the top"
