"""The numbers of the papers' tables, and which of them a run is to be held against."""

from __future__ import annotations

import difflib
import functools
import importlib.resources
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from segnet_jax.errors import InputError

SHORT_NAMES = {"global_accuracy": "G", "class_accuracy": "C", "mean_iou": "mIoU", "boundary_f1": "BF"}
"""What the papers call the scores, by the names that they have in reports."""

METRICS = tuple(SHORT_NAMES)


@dataclass(frozen=True)
class PublishedRow:
    """One row of a table of arXiv 1511.00561 or arXiv 1505.07293.

    Attributes:
      id: names the row, such as "1/segnet_basic/median" or, of the 2015 paper, "2015-1/segnet_4_layer".
      paper: its number at arXiv.
      table: its number in the paper.
      title: of the table.
      method: the row's name in the table.
      kind: "network", "classical" or "classical with CRF".
      model: the network's name here, or None.
      conditions: what is known of how the numbers came about: data, training_images, test_images, image_size,
        iterations, class_weights, batch_size, learning_rate, preprocessing, pretrained, batch_norm, crf, procedure,
        source and trained_part (see `origin`), and notes.
      scores: per split, percentages by the names of `METRICS`.
      class_accuracies: per split, percentages by class.
      costs: times in ms, memory in MB, as named in the table.
      parameters_million: size of the network.
      storage_multiplier: of the encoder's maps that the decoder needs, in units of one map.
      inference_ms: of a forward pass.
    """

    id: str
    paper: str
    table: int
    title: str
    method: str
    kind: str
    model: str | None = None
    conditions: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    class_accuracies: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    costs: Mapping[str, float] = field(default_factory=dict)
    parameters_million: float | None = None
    storage_multiplier: float | None = None
    inference_ms: float | None = None

    @property
    def source(self) -> str:
        """The table in words."""
        return f"Table {self.table}" + (" of the 2015 paper" if self.paper == "1505.07293" else "")

    @property
    def label(self) -> str:
        """The row in words: method, table, and what tells it from the method's other rows."""
        return f"{self.method}, {self.source}{self._variant()}"

    def _variant(self) -> str:
        parts = self.id.split("/")[2:]
        names = {"median": "median frequency", "natural": "natural frequency", "best": "best iteration"}
        return "".join(f", {names.get(part, part + ' iterations')}" for part in parts)


@functools.cache
def published_rows() -> tuple[PublishedRow, ...]:
    """Every row, in the order of the tables."""
    text = importlib.resources.files("segnet_jax.report").joinpath("published.json").read_text(encoding="utf-8")
    rows = []
    for table in json.loads(text)["tables"]:
        for row in table["rows"]:
            conditions = {**table["conditions"], **row.pop("conditions", {})}
            rows.append(
                PublishedRow(
                    paper=table["paper"], table=table["table"], title=table["title"], conditions=conditions, **row
                )
            )
    return tuple(rows)


def find_row(row_id: str) -> PublishedRow:
    """The row of that id.

    Raises:
      InputError: if there is none, or it holds no scores.
    """
    rows = {row.id: row for row in published_rows()}
    if row_id not in rows:
        close = difflib.get_close_matches(row_id, rows, 1, cutoff=0.4)
        advice = f"did you mean {close[0]}? --list" if close else "--list"
        raise InputError(f"There is no published row {row_id!r}; {advice} prints all of them.")
    if not rows[row_id].scores:
        raise InputError(f"The published row {row_id!r} holds no scores; choose another of those that --list prints.")
    return rows[row_id]


def rows_of(model: str) -> list[PublishedRow]:
    """The rows that hold scores of a network; its name may be in any spelling of case, hyphens and underscores."""
    return [row for row in published_rows() if row.scores and row.model and plain_name(row.model) == plain_name(model)]


def match_row(model: str, conditions: Mapping[str, Any]) -> PublishedRow | None:
    """The row of a network whose conditions are nearest to a run's; None if no table has the network.

    Of several, the one that trained the same part of the network, on the run's data, with or without a CRF as the run,
    of the same class balancing, and then of the nearest number of iterations.

    Args:
      model: name of the network, as of `rows_of`.
      conditions: of the run, named as in `PublishedRow.conditions`.
    """
    return min(rows_of(model), key=lambda row: _distance(row.conditions, conditions), default=None)


def _distance(published: Mapping[str, Any], run: Mapping[str, Any]) -> tuple[float, ...]:
    def differs(key: str, default: Any = None) -> bool:
        return published.get(key, default) != run.get(key, default)

    iterations, others = published.get("iterations"), run.get("iterations")
    steps = abs(math.log(iterations / others)) if iterations and others else 0.0
    # Table 2 repeats a row of table 3; the one that says more about its conditions is preferred.
    is_balanced = published.get("class_weights", "none") != "none"
    was_balanced = run.get("class_weights", "none") != "none"
    return (
        differs("trained_part", "everything"),
        differs("data"),
        differs("crf", False),
        differs("upsampling") if "upsampling" in run else 0,
        is_balanced != was_balanced,
        steps,
        "class_weights_note" in published,
    )


def plain_name(name: str) -> str:
    """A name of a network or a class without case, spaces, hyphens and underscores, for comparisons."""
    return "".join(character for character in name.lower() if character.isalnum())
