"""Orbax's reading and writing of NumPy arrays, with errors that end it cleanly."""

import asyncio
from collections.abc import Awaitable, Iterable
from typing import Any

import orbax.checkpoint as ocp


class NumpyHandler(ocp.type_handlers.NumpyHandler):
    """Lets every read or write come to its end before the first error is raised.

    Orbax raises at once and leaves the others calling back into a closed event loop, which covers
    stderr with tracebacks.
    """

    async def deserialize(self, infos: Any, args: Any = None) -> Any:
        """Reads as Orbax does, array by array."""
        args = args or [ocp.RestoreArgs()] * len(infos)
        read = super().deserialize
        arrays = await _finish_all(read([info], [arg]) for info, arg in zip(infos, args, strict=True))
        return [array for (array,) in arrays]

    async def _background_serialize(self, values: Any, infos: Any, args: Any = None) -> None:
        args = args or [ocp.SaveArgs()] * len(infos)
        write = super()._background_serialize
        parts = zip(values, infos, args, strict=True)
        await _finish_all(write([value], [info], [arg]) for value, info, arg in parts)


async def _finish_all(tasks: Iterable[Awaitable[Any]]) -> list[Any]:
    results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results
