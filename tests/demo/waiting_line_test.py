"""Tests for segnet_jax/demo/waiting_line.py."""

import asyncio
import threading

import pytest

from segnet_jax.demo.waiting_line import FullError, WaitingLine


class Work:
    """Work that notes its content and waits until `gate` is set."""

    def __init__(self):
        self.seen, self.started, self.gate = [], threading.Event(), threading.Event()

    def __call__(self, content):
        self.seen.append(content)
        self.started.set()
        assert self.gate.wait(20)
        return content * 2


async def begin(line, content, work):
    """Starts a task that stands in the line, and returns it."""

    async def read():
        return content

    task = asyncio.create_task(line.run(read, work))
    for _ in range(5):
        await asyncio.sleep(0)
    return task


async def is_full(line):
    """Tells whether there is no place, and that the content is then not read."""

    async def read():
        raise LookupError("read")

    try:
        await line.run(read, None)
    except FullError:
        return True
    except LookupError:
        return False


def test_run_takes_one_after_the_other_and_no_more_than_may_wait():
    async def scenario():
        line, work = WaitingLine(waiting=1), Work()
        first = await begin(line, b"a", work)
        assert not await is_full(line)
        second = await begin(line, b"b", work)
        assert await is_full(line)
        assert await asyncio.to_thread(work.started.wait, 20)
        assert work.seen == [b"a"]
        work.gate.set()
        assert await asyncio.gather(first, second) == [b"aa", b"bb"]
        assert not await is_full(line)

    asyncio.run(scenario())


def test_run_that_is_given_up_while_it_waits_leaves_the_line():
    async def scenario():
        line, work = WaitingLine(waiting=1), Work()
        first = await begin(line, b"a", work)
        assert await asyncio.to_thread(work.started.wait, 20)
        second = await begin(line, b"b", work)
        assert await is_full(line)
        second.cancel()
        await asyncio.wait([second])
        assert not await is_full(line)
        work.gate.set()
        assert await first == b"aa"
        assert work.seen == [b"a"]

    asyncio.run(scenario())


def test_run_that_is_given_up_while_it_works_keeps_its_place_until_it_is_done():
    async def scenario():
        line, work = WaitingLine(waiting=0), Work()
        first = await begin(line, b"a", work)
        assert await asyncio.to_thread(work.started.wait, 20)
        first.cancel()
        await asyncio.wait([first])
        assert await is_full(line)
        work.gate.set()
        line._worker.shutdown()  # waits for it
        assert line._places.acquire(blocking=False)

    asyncio.run(scenario())


def test_run_passes_on_what_fails_and_frees_the_place():
    async def scenario():
        line = WaitingLine(waiting=0)
        with pytest.raises(ZeroDivisionError):
            await (await begin(line, b"a", lambda _: 1 // 0))
        assert not await is_full(line)
        assert not await is_full(line)  # which also fails, while it reads

    asyncio.run(scenario())
