"""Collects all that is wrong with the files of a data set, where otherwise the first fault ends the program."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import TypeVar

from segnet_jax.errors import InputError

_Example = TypeVar("_Example")

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


def with_shapes(
    examples: Sequence[_Example], shape_of: Callable[[_Example], tuple[int, int]]
) -> tuple[list[_Example], list[tuple[int, int]]]:
    """Returns the examples, and the (height, width) of each, which several threads read.

    Within `collected` those are left out of which `shape_of`, such as `image_files.common_shape`, raises an InputError.

    Raises:
      InputError: for the first of them otherwise, or if none is left.
    """

    def shape_or_fault(example: _Example) -> tuple[int, int] | InputError:
        try:
            return shape_of(example)
        except InputError as error:
            return error

    kept, shapes = [], []
    with ThreadPoolExecutor() as pool:
        for example, shape in zip(examples, pool.map(shape_or_fault, examples), strict=True):
            if isinstance(shape, InputError):
                refuse(shape)
            else:
                kept.append(example)
                shapes.append(shape)
    if not kept:
        raise InputError("No image is left that has all of its files; correct those that are named.")
    return kept, shapes
