"""Tests for segnet_jax/report.py."""

import re

import pytest

from segnet_jax.report.__main__ import main
from segnet_jax.report.comparison import compare
from segnet_jax.report.markdown import to_markdown
from tests.helpers.evaluated_runs import write_run


def rows_of(markdown, heading):
    """The cells of the table below the first line that begins with `heading`, without its two head lines."""
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


def test_scores_stand_above_the_published_ones_and_their_difference(tmp_path):
    for seed, right in enumerate((70, 80)):
        write_run(tmp_path / f"basic{seed}", seed=seed, right=right)
    write_run(tmp_path / "own", model__name="my_net", boundary_f1=None)
    markdown = to_markdown(*compare([f"{tmp_path}/basic*", str(tmp_path / "own")]))
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
    assert "No published row is of the network `my_net`" in markdown
    assert ["training images", "unknown", "367"] in rows_of(markdown, "### basic0, basic1")


def test_the_tables_around_a_row_follow_with_the_classical_methods(tmp_path):
    markdown = to_markdown(*compare([str(write_run(tmp_path / "run", right=90))]))
    variants = rows_of(markdown, "## Table 1:")
    assert len(variants) == 16
    assert variants[0] == [
        *["Bilinear-Interpolation, median frequency", "`1/bilinear_interpolation/median`"],
        *["77.9", "61.1", "43.3", "20.83", "89.1", "90.2", "82.7"],
    ]
    methods = rows_of(markdown, "## Table 2:")
    assert methods[0] == ["**run**", *["90.0"] * 11, "90.0", "90.0", "81.8", "25.0"]
    assert methods[1][:3] + methods[1][-4:] == ["SfM+Appearance", "46.2", "61.9", "69.1", "53.0", "-", "-"]
    assert len(methods) == 1 + 11
    assert "## Table 3" not in markdown


def test_classes_of_other_data_are_not_put_into_a_table_of_classes(tmp_path):
    classes = [{"name": "road", "iou": 0.5, "accuracy": 0.5, "pixels": 9}]
    path = write_run(tmp_path / "run", data__name="synthetic", report={"classes": classes})
    markdown = to_markdown(*compare([str(path)]))
    assert "**run**" not in [row[0] for row in rows_of(markdown, "## Table 2:")]


def test_the_command_line_writes_text_and_picture_and_says_what_it_left_out(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    write_run(tmp_path / "a"), write_run(tmp_path / "b", model__name="segnet")
    (tmp_path / "empty").mkdir()
    arguments = [f"--runs={tmp_path / 'a'}", str(tmp_path / "empty"), f"--output={tmp_path / 'new' / 'out'}"]
    assert main([*arguments, f"{tmp_path / 'b'}=4/segnet/80K"]) == 0
    output = capsys.readouterr()
    assert (
        output.err
        == f"{tmp_path / 'empty'} is no run, as it has no config.json; name the work directory of a training run.\n"
    )
    markdown = (tmp_path / "new" / "out" / "report.md").read_text()
    assert output.err.strip() in markdown
    assert "SegNet, Table 4, 80K iterations" in markdown
    assert "](report.png)" in markdown
    assert (tmp_path / "new" / "out" / "report.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_line_refuses_in_a_sentence(tmp_path, capsys):
    assert main(["--runs", str(tmp_path / "missing")]) == 1
    assert "error: There is no evaluated run among the directories" in capsys.readouterr().err
    write_run(tmp_path / "a")
    assert main([f"--runs={tmp_path / 'a'}=7/none"]) == 1
    assert "error: There is no published row '7/none'" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert main([f"--runs={tmp_path / 'a'}", f"--output={tmp_path / 'file'}"]) == 1
    assert "choose another --output" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([])


def test_the_rows_can_be_listed(capsys):
    assert main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 79
    assert "1/segnet_basic/median" in lines[2] and "SegNet-Basic, Table 1, median frequency" in lines[2]


def test_every_kind_of_evaluation_is_a_line_and_other_rows_are_named(tmp_path):
    path = write_run(tmp_path / "lab", right=70, model__name="deeplab_largefov", loss__class_weights="none")
    settings = {"model__name": "deeplab_largefov", "loss__class_weights": "none"}
    write_run(path, kind="-crf", right=80, report={"crf": {"iterations": 10}}, **settings)
    markdown = to_markdown(*compare([str(path)]))
    rows = [(row[0], row[3]) for row in rows_of(markdown, "| ")]
    assert rows == [
        ("**lab**", "70.00"),
        ("DeepLab-LargeFOV, Table 3, 40K iterations", "85.95"),
        ("difference", "-16.0"),
        ("**lab (dense CRF)**", "80.00"),
        ("DeepLab-LargeFOV-denseCRF, Table 3, best iteration", "89.71"),
        ("difference", "-9.7"),
    ]
    assert "### lab (dense CRF)" in markdown
    flat = write_run(tmp_path / "flat", model__name="segnet_flat", data__name="folder")
    markdown = to_markdown(*compare([str(flat)]))
    others = "`2015-3/segnet_r`, `2015-3/segnet_l4`, `2015-3/segnet_sm`"
    assert f"Other rows of this network, which `DIR=ROW` chooses: {others}." in markdown
