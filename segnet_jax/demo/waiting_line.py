"""A short line before the network, which takes one picture at a time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class FullError(Exception):
    """As many wait as may."""


class WaitingLine:
    """Runs one job at a time, in a thread, while a few more wait.

    Args:
      waiting: how many may wait besides the one that runs.
    """

    def __init__(self, waiting: int) -> None:
        self._places = threading.Semaphore(waiting + 1)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="network")

    async def run(self, read: Callable[[], Awaitable[bytes]], work: Callable[[bytes], Any]) -> Any:
        """Reads some content, waits for its turn, and returns what `work` makes of the content.

        The place is taken before anything is read, so that no more of it is in memory than there are places. Who gives
        up while waiting leaves the line at once; work that has begun keeps its place until it is done.

        Raises:
          FullError: if there is no place; nothing is read then.
        """
        if not self._places.acquire(blocking=False):
            raise FullError
        job: Future[Any] | None = None
        try:
            job = self._worker.submit(work, await read())
            return await asyncio.wrap_future(job)
        finally:
            if job is None:
                self._places.release()
            else:
                job.add_done_callback(lambda _: self._places.release())
