"""Formats numbers and rows as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_MEGABYTE = 1e6


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a table."""
    return "\n".join(map(row, [header, ["---"] * len(header), *rows]))


def row(cells: Sequence[str]) -> str:
    """Returns a row of a table."""
    return f"| {' | '.join(cells)} |"


def ms(seconds: float | None, spread: Sequence[float] | None = None) -> str:
    """Returns milliseconds, with half of what `spread`, the least and the most, differ by; "" for None."""
    if seconds is None:
        return ""
    text = f"{1000 * seconds:.0f}" if seconds >= 0.1 else f"{1000 * seconds:.3g}"
    if spread is None:
        return text
    return f"{text} ±{(spread[1] - spread[0]) / 2 / seconds:.0%}"


def mb(size: float | None, digits: int = 0) -> str:
    """Returns megabytes; "" for None."""
    return "" if size is None else f"{size / _MEGABYTE:.{digits}f}"
