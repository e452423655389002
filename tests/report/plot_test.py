"""Tests for segnet_jax/report/plot.py."""

import sys

import numpy as np
import pytest
from PIL import Image

from segnet_jax.errors import InputError
from segnet_jax.report.comparison import compare
from segnet_jax.report.plot import draw
from tests.helpers.evaluated_runs import write_run

BLUE, GRAY = (0x1F, 0x5F, 0xA8), (0xC3, 0xC7, 0xCC)


def read(path):
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def bars(path, color):
    """Returns the bars of a colour as (top, left, length) in pixels, from the top and then from the left."""
    mask = (read(path) == color).all(axis=-1)
    # Letters and the legend are narrower than bars.
    found, previous = [], np.zeros(mask.shape[1], bool)
    for y, row in enumerate(mask):
        edges = np.flatnonzero(np.diff(np.concatenate(([0], row.astype(int), [0]))))
        for left, right in edges.reshape(-1, 2):
            if right - left > 45 and not previous[left:right].any():
                found.append((y, left, right - left))
        previous = row
    return found


def test_draw_makes_bars_as_long_as_the_scores(tmp_path):
    pytest.importorskip("matplotlib")
    write_run(tmp_path / "a", right=50, boundary_f1=0.6)
    write_run(tmp_path / "b", right=90, boundary_f1=None, model__name="my_net")
    comparisons, _ = compare([str(tmp_path / "a"), str(tmp_path / "b")])
    draw(comparisons, tmp_path / "plot.png")
    # The first run's four bars and the second's three; one has no published row.
    runs, papers = bars(tmp_path / "plot.png", BLUE), bars(tmp_path / "plot.png", GRAY)
    assert len(runs) == 7
    assert len(papers) == 4
    lengths = [length for *_, length in runs]
    unit = lengths[0] / 50
    np.testing.assert_allclose(lengths, unit * np.array([50, 50, 100 / 3, 60, 90, 90, 100 * 90 / 110]), atol=2.5)
    np.testing.assert_allclose([length for *_, length in papers], unit * np.array([82.7, 62, 47.7, 35.78]), atol=2.5)
    # The paper's bar lies below the run's, and both begin at the same line.
    for run, paper in zip(runs[:4], papers, strict=True):
        assert paper[0] > run[0]
        assert abs(paper[1] - run[1]) <= 1


def test_draw_names_a_missing_matplotlib(tmp_path, monkeypatch):
    comparisons, _ = compare([str(write_run(tmp_path / "a"))])
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(InputError, match="pip install -r requirements-report.txt"):
        draw(comparisons, tmp_path / "plot.png")
