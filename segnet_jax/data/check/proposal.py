"""Proposes a class table for the masks of a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segnet_jax.data.check.label_file import NamedClass
from segnet_jax.data.check.survey import Survey, Value
from segnet_jax.data.class_table import VOID, ClassTable
from segnet_jax.errors import InputError

# What smoothing and lossy compression leave lies in lines and single pixels, little of each.
_FRINGE_INNER, _FRINGE_SHARE = 0.05, 0.001
_SHOWN = 12


def propose_classes(
    survey: Survey, named: Sequence[NamedClass], label_file: Path | None
) -> tuple[list[dict[str, Any]], list[str]]:
    """Returns the entries of a class table that holds all values of the masks, and what to know of them.

    The names are those of the label file, if there is one, else class_0, class_1 and so on. Void is what has a name
    such as "unlabelled", and 255 in indexed masks that hold two other ids or that a label file names otherwise.

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
    if ids and colors and not any(entry.color for entry in named):
        first, second = survey.example["ids"], survey.example["colours"]
        raise InputError(
            f"{first} has one value a pixel and {second} colours; save all masks in one of the two ways, or add a "
            "labelmap.txt with a line name:red,green,blue:: for each class, in the order of the values."
        )
    entries = _named_entries(survey, named, ids, bool(colors), label_file, notes)
    known_ids = {entry["id"] for entry in entries}
    known_colors = {entry.get("color") for entry in entries}
    strange: list[Value] = [value for value in ids if value not in known_ids]
    strange += [color for color in colors if color not in known_colors]
    _refuse_fringes(survey, strange, "ids" if ids else "colours")
    # 255 is void by custom, unless it is all there is beside 0.
    ends_in_void = bool(named) or len(ids) > 2
    numbers = (number for number in range(len(entries) + len(strange) + 1) if number not in known_ids)
    for value in strange:
        if isinstance(value, int):
            is_void = value == VOID and ends_in_void
            entry: dict[str, Any] = {"name": "void" if is_void else f"class_{value}", "id": value}
        else:
            # The label file would name a class.
            is_void = any(entry.color for entry in named)
            number = next(numbers)
            entry = {"name": f"{'unknown' if is_void else 'class'}_{number}", "id": number, "color": value}
        if isinstance(value, int) and value < len(survey.palette) and survey.palette[value] not in known_colors:
            entry["color"] = survey.palette[value]
            known_colors.add(survey.palette[value])
        if is_void:
            entry["ignored"] = True
        entries.append(entry)
        if named:
            what = f"{value} is not in {label_file}"
            notes.append(f"The value {what} and becomes {'void' if is_void else entry['name']}; correct the table.")
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
    has_colors: bool,
    label_file: Path | None,
    notes: list[str],
) -> list[dict[str, Any]]:
    """Returns the entries of the label file's classes."""
    if has_colors and not any(entry.color for entry in named):
        if named:
            notes.append(f"{label_file} names classes without colours, so the colours of the masks have no names yet.")
        return []
    numbers = [entry.id for entry in named]
    of_color = {color: number for number, color in reversed(list(enumerate(survey.palette)))}
    if named and ids and all(entry.color in of_color for entry in named):
        numbers = [of_color[entry.color] for entry in named if entry.color]
    entries: list[dict[str, Any]] = []
    if numbers == list(range(len(named))) and len(named) in ids and 0 in ids and max(set(ids) - {VOID}) == len(named):
        # A list of names without the background, which has the value 0.
        entries, numbers = [{"name": "background", "id": 0}], [number + 1 for number in numbers]
        notes.append(
            f"{label_file} names {len(named)} classes, but the masks hold {len(named)} as well, so its first name is "
            "taken for the value 1, and 0 for the background; correct the table if that is wrong."
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
    if 2 * len(fringes) <= count and count <= VOID + 1:
        return
    shown = ", ".join(f"{value} {100 * share:.3g} %" for value, share in list(shares.items())[:_SHOWN])
    rest = f"; {count - _SHOWN} others have less each" if count > _SHOWN else ""
    raise InputError(
        f"The {survey.masks} masks, such as {next(iter(survey.example.values()))}, hold {count} different {kind}, "
        f"{len(fringes)} of them only in thin lines and single pixels, too many for classes; save the masks without "
        f"smoothing or lossy compression, with one {kind[:-1]} a class. Their shares of the pixels are {shown}{rest}."
    )
