"""Reads the file that names the classes, as annotation tools and data sets put it beside the masks."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from segnet_jax.data import image_files
from segnet_jax.data.class_table import VOID, Color
from segnet_jax.errors import InputError

NAMES = ("labelmap.txt", "label_colors.txt", "class_dict.csv", "labels.txt", "class_names.txt", "classes.txt")
"""The files' names: of CVAT, CamVid, people's tables, labelme (two) and lists of names; the first of them counts."""

_VOID_NAMES = ("void", "unlabelled", "unlabeled", "unknown", "ignore", "ignored", "ignore_label", "unlabel")

_COLOR = r"(\d{1,3})[\s,]+(\d{1,3})[\s,]+(\d{1,3})"
_CVAT = re.compile(r"([^:]+):(?:(\d+),(\d+),(\d+))?:[^:]*:[^:]*")
_COLOR_FIRST = re.compile(rf"{_COLOR}[\s,]+(\D.*)")
_COLOR_LAST = re.compile(rf"(.*?[^\s,])[\s,]+{_COLOR}")
_ID_FIRST = re.compile(r"(\d{1,5})(?:\s*[:,]\s*|\s+)(\D.*)")


@dataclass(frozen=True)
class NamedClass:
    """A class that a label file names.

    Attributes:
      name: its name.
      id: its value in indexed masks, as the file says or by its place in it.
      color: its colour; None if the file has none.
      ignored: whether its name says that it is void.
    """

    name: str
    id: int
    color: Color | None
    ignored: bool


def find_label_file(folders: Iterable[Path]) -> Path | None:
    """Returns the first file of `NAMES` that one of the folders has; None if there is none."""
    return next((folder / name for folder in folders for name in NAMES if (folder / name).is_file()), None)


def read_label_file(path: Path) -> list[NamedClass]:
    """Returns the classes of a label file, in its order.

    A line is `name:red,green,blue:parts:actions` (CVAT), `red green blue name`, `name,red,green,blue`, `id name` or a
    name alone, all in one of these ways; lines that begin with # are left out. labelme's `__ignore__` has the id 255.

    Raises:
      InputError: the file is no text, a number is too great, or it names nothing.
    """
    lines = [line for _, line in image_files.read_list(path) if not line.startswith("#")]
    if lines and re.split(r"[\s,]+", lines[0].lower())[0] in ("name", "id"):
        del lines[0]  # the names of a table's columns
    if not lines:
        raise InputError(f"{path} names no class; give one a line, or remove the file.")
    for parse in (_parse_cvat, _parse_colors_first, _parse_colors_last, _parse_ids):
        parsed = [parse(line) for line in lines]
        if None not in parsed:
            return _classes(path, [entry for entry in parsed if entry is not None])
    return _classes(path, [(line, None, None) for line in lines])


_Parsed = tuple[str, int | None, Color | None]


def _parse_cvat(line: str) -> _Parsed | None:
    found = _CVAT.fullmatch(line)
    return found and (found[1], None, _color(found.groups()[1:]) if found[2] else None)


def _parse_colors_first(line: str) -> _Parsed | None:
    found = _COLOR_FIRST.fullmatch(line)
    return found and (found[4], None, _color(found.groups()[:3]))


def _parse_colors_last(line: str) -> _Parsed | None:
    found = _COLOR_LAST.fullmatch(line)
    return found and (found[1], None, _color(found.groups()[1:]))


def _parse_ids(line: str) -> _Parsed | None:
    found = _ID_FIRST.fullmatch(line)
    return found and (found[2], int(found[1]), None)


def _color(values: tuple[str, ...]) -> Color:
    red, green, blue = map(int, values)
    return red, green, blue


def _classes(path: Path, parsed: list[_Parsed]) -> list[NamedClass]:
    # labelme counts from -1, which its masks hold as 255.
    first = -1 if parsed[0][0] == "__ignore__" else 0
    classes = []
    for place, (name, number, color) in enumerate(parsed, start=first):
        if color is not None and max(color) > 255:
            raise InputError(f"{path} gives {name!r} the colour {color}; colours have values from 0 to 255.")
        ignored = name.strip("_ ").lower() in _VOID_NAMES
        position = VOID if place < 0 else place
        classes.append(NamedClass(name.strip(), position if number is None else number, color, ignored))
    return classes
