"""Collects all that is wrong with the files of a data set, where otherwise the first fault ends the program."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextvars import ContextVar

from segnet_jax.errors import InputError

_found: ContextVar[list[str] | None] = ContextVar("found", default=None)


@contextlib.contextmanager
def collected() -> Iterator[list[str]]:
    """Gives a list that takes the sentences of `refuse`; data sets that are opened within leave out what is faulty.

    It holds for this thread alone.
    """
    found: list[str] = []
    token = _found.set(found)
    try:
        yield found
    finally:
        _found.reset(token)


def refuse(error: InputError, each: Sequence[str] = ()) -> None:
    """Raises an error; within `collected` it returns instead, and the caller leaves out what is faulty.

    Args:
      error: for all that is faulty together.
      each: a sentence for each of it, which are collected; () collects that of the error.
    """
    found = _found.get()
    if found is None:
        raise error
    found += each or [str(error)]
