"""Tests for segnet_jax/visualize/curves.py."""

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from segnet_jax.visualize import curves  # noqa: E402
from segnet_jax.visualize.scalars import Series  # noqa: E402


@pytest.fixture
def drawn(monkeypatch):
    """Returns the list of figures that are drawn."""
    figures = []
    monkeypatch.setattr(curves, "render", figures.append)
    return figures


def panels(figure):
    """Returns the curves of each visible panel by its title: name, steps and values."""
    return {
        axes.get_title(loc="left"): [
            (line.get_label(), line.get_xdata().tolist(), line.get_ydata().tolist()) for line in axes.get_lines()
        ]
        for axes in figure.axes
        if axes.get_visible()
    }


def series(*points):
    steps, values = zip(*points, strict=True)
    return Series(np.array(steps), np.array(values))


def test_draw_curves_has_panels_of_what_there_is(drawn):
    curves.draw_curves(
        {
            "train/loss": series((10, 2.0), (20, np.nan), (30, 1.0)),
            "train/images_per_second": series((10, 5.0)),
            "train/learning_rate": series((10, 0.5), (20, 0.25)),
            "val/mean_iou": series((20, 0.25), (30, 0.5)),
            "val_iou/road": series((20, 0.125)),
            "val/boundary_f1": series((30, 0.75)),
        }
    )
    found = panels(drawn[0])
    assert list(found) == ["training loss", "learning rate", "val scores, %"]
    ((_, steps, values),) = found["training loss"]
    np.testing.assert_array_equal(steps, [10, 20, 30])
    np.testing.assert_array_equal(values, [2, np.nan, 1])
    assert found["learning rate"][0][1:] == ([10, 20], [0.5, 0.25])
    assert found["val scores, %"] == [("mean IoU", [20, 30], [25, 50]), ("boundary F1 (BF)", [30], [75])]


def test_draw_curves_of_a_run_under_way_and_of_a_reconstruction(drawn):
    curves.draw_curves({"train/loss": series((1, 1.0))})
    assert list(panels(drawn[0])) == ["training loss"]
    scalars = {"val/mean_squared_error": series((5, 0.3)), "val/explained_variance": series((5, -0.5))}
    curves.draw_curves({"train/loss": series((1, 1.0))} | scalars)
    found = panels(drawn[1])
    assert list(found) == ["training loss", "val mean squared error", "val explained variance"]
    assert found["val explained variance"][0][1:] == ([5], [-0.5])
    assert [axes.get_ylim()[0] < 0 for axes in drawn[1].axes] == [False, False, True]


def test_draw_curves_draws_the_mean_of_a_long_loss(drawn):
    steps = np.arange(10, 2510, 10)
    curves.draw_curves({"train/loss": Series(steps, steps / 10.0)})
    single, mean = panels(drawn[0])["training loss"]
    assert (single[0], mean[0]) == ("each report", "mean of 5 reports")
    assert single[1] == steps.tolist()
    # The mean of a straight line is the line, without two reports at either end.
    assert mean[1] == steps[2:-2].tolist()
    np.testing.assert_allclose(mean[2], steps[2:-2] / 10)


def test_draw_class_curves_has_a_panel_for_each_class(drawn):
    scalars = {f"val_iou/class {k}": series((5, k / 100), (10, 0.5)) for k in range(7)}
    assert list(curves.draw_class_curves({"train/loss": series((1, 1.0)), "val/mean_iou": series((5, 0.1))} | scalars))
    found = panels(drawn[0])
    assert list(found) == [f"class {k}  50.0" for k in range(7)]
    assert found["class 3  50.0"][0][1:] == ([5, 10], [3, 50])
    assert curves.draw_class_curves({"train/loss": series((1, 1.0))}) == {}
