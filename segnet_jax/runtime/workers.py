"""Carries out tasks in worker processes."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import operator
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from segnet_jax.errors import InputError

_Result = TypeVar("_Result")


def available_cores() -> int:
    """Returns the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_tasks(tasks: Sequence[Callable[[], _Result]], workers: int) -> Iterator[_Result]:
    """Yields the results of the tasks, in order.

    Args:
      tasks: functions without arguments, which can be pickled with more than one worker.
      workers: processes; 1 takes none but this one.

    Raises:
      InputError: a worker process died.
    """
    if min(workers, len(tasks)) < 2:
        yield from map(operator.call, tasks)
        return
    # Not by fork: JAX has threads.
    context = multiprocessing.get_context("spawn")
    pool = concurrent.futures.ProcessPoolExecutor(workers, context, _start_worker)
    try:
        for result in [pool.submit(operator.call, task) for task in tasks]:
            yield result.result()
    except BrokenProcessPool as error:
        raise InputError(
            "A worker process died, perhaps for want of memory; run the same command again, with fewer --workers."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    # A terminal sends Ctrl-C to all processes; the first one answers it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

    def end_with_parent() -> None:
        parent = multiprocessing.parent_process()
        assert parent is not None
        parent.join()
        os._exit(1)

    # A worker of concurrent.futures whose parent was killed would wait for its next task for ever.
    threading.Thread(target=end_with_parent, daemon=True).start()
