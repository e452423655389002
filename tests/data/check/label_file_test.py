"""Tests for segnet_jax/data/check/label_file.py."""

import pytest

from segnet_jax.data.check.label_file import NamedClass, find_label_file, read_label_file
from segnet_jax.errors import InputError

ROAD, VOID_COLOR = (128, 64, 128), (0, 0, 0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "# label:color_rgb:parts:actions\nroad:128,64,128::\nfire hydrant:::\nunlabelled:0,0,0:a,b:c\n",
            [("road", 0, ROAD, False), ("fire hydrant", 1, None, False), ("unlabelled", 2, VOID_COLOR, True)],
        ),
        ("128 64 128\tRoad\n0 0 0\t\tVoid\n", [("Road", 0, ROAD, False), ("Void", 1, VOID_COLOR, True)]),
        (
            "name,r,g,b\nRoad marking,128,64,128\nLane 2, 0, 0, 0\n",
            [("Road marking", 0, ROAD, False), ("Lane 2", 1, VOID_COLOR, False)],
        ),
        (
            "3: road\n0: sky\n255: ignore\n",
            [("road", 3, None, False), ("sky", 0, None, False), ("ignore", 255, None, True)],
        ),
        ("id name\n7 traffic light\n", [("traffic light", 7, None, False)]),
        (
            "__ignore__\n_background_\nroad\n",
            [("__ignore__", 255, None, True), ("_background_", 0, None, False), ("road", 1, None, False)],
        ),
        ("\ufeffroad\r\n\r\n2 lane road\r\n", [("road", 0, None, False), ("2 lane road", 1, None, False)]),
    ],
)
def test_read_label_file_knows_the_ways_of_several_tools(tmp_path, text, expected):
    path = tmp_path / "classes.txt"
    path.write_text(text, encoding="utf-8")
    assert read_label_file(path) == [NamedClass(*values) for values in expected]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# nothing\n", r"classes\.txt names no class; give one a line, or remove the file\."),
        ("0 0 300 sky\n", r"classes\.txt gives 'sky' the colour \(0, 0, 300\); colours have values from 0 to 255\."),
    ],
)
def test_read_label_file_refuses(tmp_path, text, message):
    path = tmp_path / "classes.txt"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_label_file(path)


def test_find_label_file_looks_into_the_folders_in_turn(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    for folder in (first, second):
        folder.mkdir()
    assert find_label_file([first, second]) is None
    (second / "labelmap.txt").touch()
    assert find_label_file([first, second]) == second / "labelmap.txt"
    (first / "classes.txt").touch()
    (first / "label_colors.txt").touch()
    assert find_label_file([first, second]) == first / "label_colors.txt"
