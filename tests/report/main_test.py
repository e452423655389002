"""Tests for segnet_jax/report/__main__.py."""

import pytest

from segnet_jax.report.__main__ import main
from tests.helpers.evaluated_runs import write_run


def test_main_writes_text_and_picture_and_says_what_it_left_out(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    write_run(tmp_path / "a"), write_run(tmp_path / "b", model__name="segnet")
    (tmp_path / "empty").mkdir()
    arguments = ["--runs", str(tmp_path / "a"), str(tmp_path / "empty"), f"--output={tmp_path / 'new' / 'out'}"]
    assert main([*arguments, f"--runs={tmp_path / 'b'}=4/segnet/80K"]) == 0
    output = capsys.readouterr()
    assert output.err.startswith(f"{tmp_path / 'empty'} is no run, as it has no config.json; ")
    markdown = (tmp_path / "new" / "out" / "report.md").read_text()
    assert output.err.strip() in markdown
    assert "SegNet, Table 4, 80K iterations" in markdown
    assert "](report.png)" in markdown
    assert (tmp_path / "new" / "out" / "report.png").read_bytes().startswith(b"\x89PNG")


def test_main_refuses_in_a_sentence(tmp_path, capsys):
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


def test_main_lists_the_rows_with_scores(capsys):
    assert main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 74
    assert "1/segnet_basic/median" in lines[2] and "SegNet-Basic, Table 1, median frequency" in lines[2]
