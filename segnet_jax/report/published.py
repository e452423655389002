"""Reads the papers' tables, and finds the row that a run is compared with."""

from __future__ import annotations

import functools
import importlib.resources
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from segnet_jax.errors import InputError

SHORT_NAMES = {"global_accuracy": "G", "class_accuracy": "C", "mean_iou": "mIoU", "boundary_f1": "BF"}
"""The papers' names of the scores, by those of an evaluation's report."""

METRICS = tuple(SHORT_NAMES)


@dataclass(frozen=True)
class PublishedRow:
    """A row of a table of arXiv 1511.00561 or arXiv 1505.07293.

    Attributes:
      id: names the row, such as "1/segnet_basic/median" or, in the 2015 paper, "2015-1/segnet_4_layer".
      paper: the paper's number at arXiv.
      table: the table's number in the paper; `title` is its title.
      method: the row's name in the table.
      model: the network's name in this package, or None.
      conditions: what the paper tells about how the numbers were obtained, by the keys of `from_config.CONDITIONS`,
        KEY_note for a remark on one of them, and note for one on the row.
      scores: percentages by split and metric, see `METRICS`.
      class_accuracies: percentages by split and class.
    """

    id: str
    paper: str
    table: int
    title: str
    method: str
    model: str | None = None
    conditions: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    class_accuracies: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def source(self) -> str:
        """The table in words."""
        return f"Table {self.table}" + (" of the 2015 paper" if self.paper == "1505.07293" else "")

    @property
    def label(self) -> str:
        """Method, table, and what distinguishes the row from the method's other rows."""
        names = {"median": "median frequency", "natural": "natural frequency", "best": "best iteration"}
        variants = (names.get(part, f"{part} iterations") for part in self.id.split("/")[2:])
        return ", ".join([self.method, self.source, *variants])


@functools.cache
def published_rows() -> tuple[PublishedRow, ...]:
    """Returns every row, in the order of the tables."""
    text = importlib.resources.files("segnet_jax.report").joinpath("published.json").read_text(encoding="utf-8")
    rows = []
    for table in json.loads(text)["tables"]:
        about = {key: table[key] for key in ("paper", "table", "title")}
        for row in table["rows"]:
            conditions = {**table["conditions"], **row.pop("conditions", {})}
            rows.append(PublishedRow(**about, **row, conditions=conditions))
    return tuple(rows)


def find_row(row_id: str) -> PublishedRow:
    """Returns the row of that id; raises InputError if there is none that holds scores."""
    rows = {row.id: row for row in published_rows() if row.scores}
    if row_id not in rows:
        raise InputError(f"There is no published row {row_id!r} with scores; --list prints all of them.")
    return rows[row_id]


def rows_of(network: str) -> list[PublishedRow]:
    """Returns the rows that hold scores of a network."""
    return [row for row in published_rows() if row.scores and row.model == network]


def nearest_row(network: str, data: str, upsampling: str | None = None) -> PublishedRow | None:
    """Returns the row of a network on a data set, or on another if there is none; None if no table has the network.

    Of several, that is the row of the best iteration, else the first. FCN is two networks, by its `upsampling`.
    """

    def distance(row: PublishedRow) -> tuple[bool, ...]:
        is_other_network = row.conditions.get("upsampling") != upsampling
        return row.conditions["data"] != data, is_other_network, not row.id.endswith("/best")

    return min(rows_of(network), key=distance, default=None)
