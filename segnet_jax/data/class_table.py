"""Class tables: from the values or colours of a label image to class indices."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from segnet_jax.errors import InputError

VOID = 255
"""The label of an unlabelled or ignored pixel; it counts neither in the loss nor in a metric."""

_MAX_ID = 65535
_BLACK = (0, 0, 0)

Color = tuple[int, int, int]


class UnknownLabelError(InputError):
    """A mask holds what its class table lacks.

    Attributes:
      values: all unknown ids, or colours.
    """

    def __init__(self, message: str, values: Collection[int | Color]) -> None:
        """Takes the message and the unknown ids or colours."""
        super().__init__(message)
        self.values = values


@dataclass(frozen=True)
class SegmentationClass:
    """One entry of a class table.

    Attributes:
      name: the class's name.
      id: its value in an indexed label image, 0..65535.
      color: its RGB colour, 0..255 each, in a colour label image and in visualizations.
      ignored: whether its pixels are void.

    Raises:
      InputError: a value is of the wrong type or out of range.
    """

    name: str
    id: int
    color: Color
    ignored: bool = False

    def __post_init__(self) -> None:
        """Checks the values, which may come straight from a user's config."""
        if not isinstance(self.name, str) or not self.name:
            raise InputError(f"A class has the name {self.name!r}; give it a text, such as 'road'.")
        if not _is_int(self.id, _MAX_ID):
            raise InputError(f"Class {self.name!r} has the id {self.id!r}; give a whole number from 0 to 65535.")
        if len(self.color) != 3 or not all(_is_int(value, 255) for value in self.color):
            raise InputError(
                f"Class {self.name!r} has the colour {self.color!r}; "
                "give three whole numbers (red, green, blue) from 0 to 255."
            )
        if not isinstance(self.ignored, bool):
            raise InputError(f"Class {self.name!r} has 'ignored' set to {self.ignored!r}; give True or False.")


@dataclass(frozen=True)
class ClassTable:
    """The classes of a data set; class k is the k-th entry that is not ignored.

    Attributes:
      name: the table's name, for messages.
      classes: the entries, ignored ones included.

    Raises:
      InputError: two entries share a name, an id or a colour (ignored ones may share a colour), or
        not between 1 and 255 classes are left to learn.
    """

    name: str
    classes: tuple[SegmentationClass, ...]

    def __post_init__(self) -> None:
        """Refuses a table that label images could not be read with."""
        self._refuse_duplicates("name", [c.name for c in self.classes])
        self._refuse_duplicates("id", [c.id for c in self.classes])
        # Several ignored entries of one colour, as in Cityscapes, are no ambiguity: all are void.
        void_colors = {c.color for c in self.classes if c.ignored}
        self._refuse_duplicates("colour", [c.color for c in self._kept] + sorted(void_colors))
        if not 1 <= self.num_classes <= VOID:
            raise InputError(
                f"Class table {self.name!r} has {self.num_classes} classes that are not ignored; "
                f"list between 1 and {VOID} of them."
            )

    def _refuse_duplicates(self, what: str, values: list[Any]) -> None:
        seen = set()
        for value in values:
            if value in seen:
                raise InputError(
                    f"Class table {self.name!r} gives the {what} {value!r} to two classes; make each {what} unique."
                )
            seen.add(value)

    @cached_property
    def _kept(self) -> tuple[SegmentationClass, ...]:
        return tuple(c for c in self.classes if not c.ignored)

    @property
    def num_classes(self) -> int:
        """The number of classes K, ignored ones not counted."""
        return len(self._kept)

    @property
    def names(self) -> list[str]:
        """The K class names."""
        return [c.name for c in self._kept]

    @property
    def colors(self) -> np.ndarray:
        """The K class colours, uint8 [K, 3] RGB."""
        return np.array([c.color for c in self._kept], np.uint8)

    @property
    def void_color(self) -> Color:
        """The colour of the first ignored class; black if there is none."""
        return next((c.color for c in self.classes if c.ignored), _BLACK)

    @cached_property
    def _labels(self) -> np.ndarray:
        """The label of every entry, uint8 [len(classes)]."""
        index = {entry.name: k for k, entry in enumerate(self._kept)}
        return np.array([index.get(entry.name, VOID) for entry in self.classes], np.uint8)

    @cached_property
    def _label_of_id(self) -> np.ndarray:
        """The label of every id, uint8 [65536]; VOID where the id is unknown as well."""
        table = np.full(_MAX_ID + 1, VOID, np.uint8)
        table[[entry.id for entry in self.classes]] = self._labels
        return table

    def ids_to_labels(self, mask: np.ndarray, source: str) -> np.ndarray:
        """Maps the ids of an indexed label image to class indices.

        Args:
          mask: uint8 or uint16 [H, W], ids.
          source: the file of the mask, for error messages.

        Returns:
          uint8 [H, W], 0..K-1, VOID for ignored classes.

        Raises:
          UnknownLabelError: the mask holds an id that is not in the table.
        """
        labels = self._label_of_id[mask]
        void_ids = [entry.id for entry in self.classes if entry.ignored]
        # Unknown ids came out as VOID too, so only void pixels need a second look.
        unknown = (labels == VOID) & ~np.isin(mask, void_ids)
        if unknown.any():
            row, column = np.argwhere(unknown)[0]
            value, known = int(mask[row, column]), ", ".join(str(c.id) for c in self.classes)
            raise UnknownLabelError(
                f"{source}: the label id {value} at row {row}, column {column} is not in class "
                f"table {self.name!r}, which knows {known}; correct "
                f'the mask, or add an entry with "id": {value} to the table (and "ignored": True '
                "if such pixels are not to count).",
                np.unique(mask[unknown]).tolist(),
            )
        return labels

    def colors_to_labels(self, rgb: np.ndarray, source: str) -> np.ndarray:
        """Maps the colours of a colour label image to class indices.

        Args:
          rgb: uint8 [H, W, 3], colours.
          source: the file of the image, for error messages.

        Returns:
          uint8 [H, W], 0..K-1, VOID for ignored classes.

        Raises:
          UnknownLabelError: the image holds a colour that is not in the table.
        """
        palette = np.array([entry.color for entry in self.classes], np.uint8)
        labels, known = lookup_colors(rgb, palette, self._labels)
        if not known.all():
            row, column = np.argwhere(~known)[0]
            color = tuple(rgb[row, column].tolist())
            distance = np.abs(palette.astype(np.int32) - rgb[row, column]).sum(axis=1)
            nearest = self.classes[int(distance.argmin())]
            raise UnknownLabelError(
                f"{source}: the colour {color} at row {row}, column {column} is not in class table "
                f"{self.name!r} (unknown colours: {np.sum(~known)} pixels; nearest known: "
                f"{nearest.name} {nearest.color}); save the mask without smoothing or lossy "
                f'compression, or add an entry with "color": {color} to the table (and '
                '"ignored": True if such pixels are not to count).',
                [tuple(color) for color in np.unique(rgb[~known], axis=0)[:1000].tolist()],
            )
        return labels

    def to_dict(self) -> dict[str, Any]:
        """Returns the table as plain JSON values; `from_dict` inverts it."""
        return {"name": self.name, "classes": [asdict(entry) | {"color": list(entry.color)} for entry in self.classes]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ClassTable:
        """Returns the table that `to_dict` described."""
        return cls.from_entries(values["name"], values["classes"])

    @classmethod
    def from_colors(cls, name: str, void_id: int, void_name: str, classes: Sequence[tuple[str, Color]]) -> ClassTable:
        """Returns the table of classes that are numbered from 0 on, with one ignored entry for void, in black."""
        entries = [SegmentationClass(label, index, color) for index, (label, color) in enumerate(classes)]
        return cls(name, (*entries, SegmentationClass(void_name, void_id, _BLACK, ignored=True)))

    @classmethod
    def from_entries(cls, name: str, entries: Sequence[Any]) -> ClassTable:
        """Returns a table of what a user writes into a configuration.

        Args:
          name: the table's name.
          entries: for each class either its name or a dict with "name" and optionally "id" (its position if absent),
            "color" (a distinct one of a fixed palette if absent, for an ignored class black if that is free) and
            "ignored".

        Raises:
          InputError: an entry has an unknown key or a wrong value, or the table is not valid.
        """
        if isinstance(entries, str) or not isinstance(entries, Sequence):
            raise InputError(f"The classes of table {name!r} are {entries!r}; give a list of names or of dicts.")
        parsed = [_parse_entry(name, position, entry) for position, entry in enumerate(entries)]
        given = [entry["color"] for entry in parsed]
        free = (c for c in map(palette_color, range(1, 1 << 24)) if c not in given)
        void_color = next(free) if _BLACK in given else _BLACK
        for entry in parsed:
            if entry["color"] is None:
                entry["color"] = void_color if entry["ignored"] else next(free)
        return cls(name, tuple(SegmentationClass(**entry) for entry in parsed))


def lookup_colors(rgb: np.ndarray, palette: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Maps colours to labels by a palette.

    Args:
      rgb: uint8 [H, W, 3], colours.
      palette: uint8 [N, 3], known colours.
      labels: uint8 [N], their labels.

    Returns:
      uint8 [H, W] labels, VOID where the colour is unknown, and bool [H, W], True where it is known.
    """
    codes = _pack(rgb)
    known_codes, first = np.unique(_pack(palette), return_index=True)
    position = np.searchsorted(known_codes[:-1], codes)
    known = known_codes[position] == codes
    return np.where(known, labels[first][position], np.uint8(VOID)), known


def palette_color(index: int) -> Color:
    """Returns the colour of an index, 0..2**24-1, in the palette of PASCAL VOC: 0 is black, all differ."""

    def channel(offset: int) -> int:
        return sum((index >> 3 * bit + offset & 1) << 7 - bit for bit in range(8))

    return channel(0), channel(1), channel(2)


def _pack(rgb: np.ndarray) -> np.ndarray:
    wide = rgb.astype(np.uint32)
    return wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]


def _is_int(value: Any, maximum: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= maximum


def _parse_entry(table: str, position: int, entry: Any) -> dict[str, Any]:
    parsed: dict[str, Any] = {"name": None, "id": position, "color": None, "ignored": False}
    if isinstance(entry, str):
        return parsed | {"name": entry}
    where = f"Entry {position} of class table {table!r}"
    if not hasattr(entry, "keys"):  # a ConfigDict is no Mapping
        raise InputError(f'{where} is {entry!r}; give a name or a dict such as {{"name": "road", "id": 3}}.')
    for key in entry:
        if key not in parsed:
            raise InputError(f'{where} has the unknown key {key!r}; use "name", "id", "color" and "ignored".')
    parsed |= dict(entry)
    if isinstance(parsed["color"], Sequence) and not isinstance(parsed["color"], str):
        parsed["color"] = tuple(parsed["color"])
    elif parsed["color"] is not None:
        raise InputError(
            f'{where} has "color": {parsed["color"]!r}; give three whole numbers (red, green, blue) from 0 to 255.'
        )
    return parsed
