"""Tests for segnet_jax/report/markdown.py."""

import re

from segnet_jax.report.comparison import compare
from segnet_jax.report.markdown import to_markdown
from tests.helpers.evaluated_runs import write_run


def rows_of(markdown, heading):
    """Returns the cells of the table below the first line that begins with `heading`, without its two head lines."""
    lines = markdown.split("\n")
    start = next(i for i, line in enumerate(lines) if line.startswith(heading))
    table = []
    for line in lines[start:]:
        if line.startswith("|"):
            table.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
        elif table:
            break
    assert len({len(row) for row in table}) == 1, "all lines of a table have the same number of cells"
    return table[2:]


def test_to_markdown_shows_scores_above_the_published_ones_and_their_difference(tmp_path):
    for seed, right in enumerate((70, 80)):
        write_run(tmp_path / f"basic{seed}", seed=seed, right=right)
    write_run(tmp_path / "own", model__name="my_net", boundary_f1=None)
    markdown = to_markdown(*compare([str(tmp_path / name) for name in ("basic0", "basic1", "own")]))
    # Of each class 75 of 100 pixels are right, and the wrong ones are another class's: the IoUs are 70 / 130 and
    # 80 / 120.
    assert rows_of(markdown, "| ") == [
        [
            "**basic0, basic1** (2 seeds)",
            "camvid test",
            "10",
            "75.00 ± 7.07",
            "75.00 ± 7.07",
            "60.26 ± 9.07",
            "25.00 ± 0.00",
        ],
        ["SegNet-Basic, Table 1, median frequency", "camvid test", "-", "82.7", "62.0", "47.7", "35.78"],
        ["difference", "", "", "-7.7", "+13.0", "+12.6", "-10.8"],
        ["**own**", "camvid test", "10", "80.00", "80.00", "66.67", "-"],
    ]
    assert "The papers have no row for the network `my_net`" in markdown
    assert ["training images", "unknown", "367"] in rows_of(markdown, "### basic0, basic1")


def test_to_markdown_shows_the_tables_around_a_row_with_the_classical_methods(tmp_path):
    markdown = to_markdown(*compare([str(write_run(tmp_path / "run", right=90))]))
    variants = rows_of(markdown, "## Table 1:")
    assert len(variants) == 16
    assert variants[0][:2] == ["Bilinear-Interpolation, median frequency", "`1/bilinear_interpolation/median`"]
    assert variants[0][2:] == ["77.9", "61.1", "43.3", "20.83", "89.1", "90.2", "82.7"]
    methods = rows_of(markdown, "## Table 2:")
    assert methods[0] == ["**run**", "", *["90.0"] * 11, "90.0", "90.0", "81.8", "25.0"]
    assert methods[1][:3] + methods[1][-3:] == ["SfM+Appearance", "`2/sfm_appearance`", "46.2", "53.0", "-", "-"]
    assert len(methods) == 1 + 11
    assert "## Table 3" not in markdown


def test_to_markdown_leaves_other_classes_out_of_a_table_of_classes(tmp_path):
    classes = [{"name": "road", "iou": 0.5, "accuracy": 0.5, "pixels": 9}]
    report = {"classes": classes, "class_accuracy": 0.5, "mean_iou": 0.5}
    path = write_run(tmp_path / "run", data__name="synthetic", report=report)
    markdown = to_markdown(*compare([str(path)]))
    assert "**run**" not in [row[0] for row in rows_of(markdown, "## Table 2:")]


def test_to_markdown_names_the_row_and_the_other_rows_of_the_network(tmp_path):
    flat = write_run(tmp_path / "flat", model__name="segnet_flat", data__name="folder")
    markdown = to_markdown(*compare([f"{flat}=2015-3/segnet_r"]))
    assert "### flat\n\nCompared with `2015-3/segnet_r`: SegNet(R), Table 3 of the 2015 paper." in markdown
    # The classes of the row's own table, whose names its text does not have.
    assert f"| row | id | {' | '.join(f'column {number}' for number in range(1, 8))} | G | C |" in markdown
    (row,) = [row for row in rows_of(markdown, "## Table 3 of the 2015 paper:") if row[1] == "`2015-3/segnet_r`"]
    assert row[2:9] == ["88.6", "92.2", "23.3", "97.4", "9.2", "39.9", "69.4"]
    assert "In the paper: all layers trained from random weights on KITTI." in markdown
    others = "`2015-1/segnet_4_layer`, `2015-3/segnet_l4`, `2015-3/segnet_sm`"
    assert f"Other rows of this network, which `DIR=ROW` chooses: {others}." in markdown
