"""Proposes a class table for the masks of a folder."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segnet_jax.data.check.label_file import NamedClass
from segnet_jax.data.check.survey import Survey, Value
from segnet_jax.data.class_table import VOID, ClassTable, palette_color
from segnet_jax.errors import InputError

# What smoothing and lossy compression leave lies in lines and single pixels: little of each value, but many values.
_FRINGE_INNER, _FRINGE_SHARE, _FRINGES = 0.05, 0.01, 5
_SHOWN = 12
# The colour of the id 255 in PASCAL VOC's palette.
_VOC_VOID = palette_color(VOID)


def propose_classes(
    survey: Survey, named: Sequence[NamedClass], label_file: Path | None
) -> tuple[list[dict[str, Any]], list[str]]:
    """Returns the entries of a class table that holds all values of the masks, and what to know of them.

    The names are those of the label file, if there is one, else class_0, class_1 and so on. Void is what has a name
    such as "unlabelled", and of values without a name 255 and its colour in PASCAL VOC, beside two others, and colours
    where the label file has those of all others.

    Args:
      survey: of the masks.
      named: the classes of the label file, in its order.
      label_file: its path, for messages.

    Returns:
      For each class a dict as `ClassTable.from_entries` takes it, and sentences.

    Raises:
      InputError: the masks hold too many values, or some ids and others colours, so that no table would be right.
    """
    ids = sorted(value for value in survey.pixels if isinstance(value, int))
    colors = sorted(value for value in survey.pixels if isinstance(value, tuple))
    notes: list[str] = []
    if colors and not any(entry.color for entry in named):
        if named:
            notes.append(f"{label_file} names classes without colours, so the colours of the masks have no names yet.")
        named = []
    if ids and colors and not named:
        first, second = survey.example["ids"], survey.example["colours"]
        raise InputError(
            f"{first} has one value a pixel and {second} colours; save all masks in one of the two ways, or add a "
            "labelmap.txt with a line name:red,green,blue:: for each class, in the order of the values."
        )
    entries = _named_entries(survey, named, ids, label_file, notes)
    known_ids = {entry["id"] for entry in entries}
    known_colors = {entry.get("color") for entry in entries}
    strange: list[Value] = [value for value in ids if value not in known_ids]
    strange += [color for color in colors if color not in known_colors]
    _refuse_fringes(survey, strange, "ids" if ids else "colours")
    # A value that is void by custom is not if it is all there is beside another one.
    customary = (VOID, _VOC_VOID) if named or max(len(ids), len(colors)) > 2 else ()
    numbers = (number for number in itertools.count() if number not in known_ids | set(ids))
    for value in strange:
        entry: dict[str, Any]
        if isinstance(value, int):
            entry, is_void = {"id": value}, value in customary
            if value < len(survey.palette) and survey.palette[value] not in known_colors:
                entry["color"] = survey.palette[value]
                known_colors.add(survey.palette[value])
        else:
            # The label file would name a class.
            entry, is_void = {"id": next(numbers), "color": value}, value in customary or any(e.color for e in named)
        name = "void" if value in customary else f"{'unknown' if is_void else 'class'}_{entry['id']}"
        entries.append({"name": name, **entry, **({"ignored": True} if is_void else {})})
        if is_void or named:
            what = "void" if is_void else f"the class {name}"
            unnamed = f"{label_file} does not name it" if named else "as is usual"
            notes.append(f"The value {value} is taken for {what} ({unnamed}); correct the table if that is wrong.")
    entries.sort(key=lambda entry: (entry.get("ignored", False), entry["id"]))
    if not ids:
        # Given by their order, as an id counts in indexed masks alone.
        entries = [{key: value for key, value in entry.items() if key != "id"} for entry in entries]
    ClassTable.from_entries(str(label_file or "of the masks"), entries)
    return entries, notes


def _named_entries(
    survey: Survey,
    named: Sequence[NamedClass],
    ids: Sequence[int],
    label_file: Path | None,
    notes: list[str],
) -> list[dict[str, Any]]:
    """Returns the entries of the label file's classes."""
    numbers = [entry.id for entry in named]
    of_color = {color: number for number, color in reversed(list(enumerate(survey.palette)))}
    if named and ids and all(entry.color in of_color for entry in named):
        numbers = [of_color[entry.color] for entry in named if entry.color]
    entries: list[dict[str, Any]] = []
    count, below_void = len(named), [value for value in ids if value != VOID]
    if count and ids and numbers == list(range(count)):
        # Where the names do not belong to 0, 1, 2 and so on.
        if 0 in ids and (max(below_void) == count or (count == 1 and list(ids) == [0, VOID])):
            entries = [{"name": "background", "id": 0}]
            numbers = list(range(1, count + 1)) if count in ids else [VOID]
        elif len(ids) == count and (max(below_void, default=0) >= count or list(ids) == [0, VOID]):
            numbers = list(ids)
    if numbers != [entry.id for entry in named]:
        found = ", ".join(map(str, ids))
        notes.append(
            f"The masks hold {found}, so the {count} names of {label_file} are taken for "
            f"{', '.join(map(str, numbers))}; correct the table if that is wrong."
        )
    for entry, number in zip(named, numbers, strict=True):
        values: dict[str, Any] = {"name": entry.name, "id": number}
        if entry.color:
            values["color"] = entry.color
        if entry.ignored:
            values["ignored"] = True
        entries.append(values)
    return entries


def _refuse_fringes(survey: Survey, strange: Sequence[Value], kind: str) -> None:
    """Raises InputError if most of the values in the masks are no classes but what smoothing left."""
    shares = survey.shares()
    fringes = [
        value
        for value in strange
        if survey.inner[value] < _FRINGE_INNER * survey.pixels[value] and shares[value] < _FRINGE_SHARE
    ]
    count = len(shares)
    if (len(fringes) < _FRINGES or 2 * len(fringes) <= count) and count <= VOID + 1:
        return
    shown = ", ".join(f"{value} {100 * share:.3g} %" for value, share in list(shares.items())[:_SHOWN])
    rest = f"; {count - _SHOWN} others have less each" if count > _SHOWN else ""
    raise InputError(
        f"The {survey.masks} masks, such as {next(iter(survey.example.values()))}, hold {count} different {kind}, "
        f"{len(fringes)} of them only in thin lines and single pixels, too many for classes; save the masks without "
        f"smoothing or lossy compression, with one {kind[:-1]} a class. Their shares of the pixels are {shown}{rest}."
    )
