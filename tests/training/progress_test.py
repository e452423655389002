"""Tests for segnet_jax/training/progress.py."""

import io
import re

import pytest

from segnet_jax.training.progress import Progress


class Clock:
    """A clock that tests set."""

    now = 1000.0

    def __call__(self):
        return self.now


class Terminal(io.StringIO):
    def isatty(self):
        return True


def take_steps(progress, clock, first, last, *, seconds, wait=0.0, **values):
    """Takes steps of `seconds` each, of which the data take `wait`; returns the results of `update` by step."""
    rates = {}
    for step in range(first, last + 1):
        with progress.data_wait():
            clock.now += wait
        clock.now += seconds - wait
        result = progress.update(step, values)
        if result is not None:
            rates[step] = result
    return rates


def test_progress_writes_lines_into_a_file():
    clock, stream = Clock(), io.StringIO()
    with Progress(100, 1, 8, log_every=40, stream=stream, clock=clock) as progress:
        rates = take_steps(progress, clock, 1, 1, seconds=12.34, wait=3.0, loss=2.39790, learning_rate=0.1)
        rates |= take_steps(progress, clock, 2, 40, seconds=0.5, wait=0.125, loss=0.5, learning_rate=0.1)
        rates |= take_steps(progress, clock, 41, 100, seconds=2.0, wait=1.8, loss=0.25, learning_rate=1e-5)
    assert stream.getvalue().splitlines() == [
        "step   1/100  loss 2.398  learning_rate 0.1  first step took 12.3 s, compilation included",
        "step   2/100  loss 0.5  learning_rate 0.1  images/s 16  data wait 25%  eta 0:00:49",
        # 39 steps of 0.5 s since the first; 60 to go.
        "step  40/100  loss 0.5  learning_rate 0.1  images/s 16  data wait 25%  eta 0:00:30",
        # The mean of all but the first: 99.5 s / 79 * 20.
        "step  80/100  loss 0.25  learning_rate 1e-05  images/s 4  data wait 90%  eta 0:00:25",
        "step 100/100  loss 0.25  learning_rate 1e-05  images/s 4  data wait 90%  eta 0:00:00",
    ]
    assert sorted(rates) == [40, 80, 100], "and none at the first step, where none is due"
    assert rates[40] == pytest.approx({"images_per_second": 16, "data_wait": 0.25})
    assert rates[80] == pytest.approx({"images_per_second": 4, "data_wait": 0.9})


def test_progress_does_not_count_pauses():
    clock, stream = Clock(), io.StringIO()
    with Progress(1000, 1, 2, log_every=10, stream=stream, clock=clock) as progress:
        with progress.pause():  # e.g. an evaluation before the first step
            clock.now += 100
        take_steps(progress, clock, 1, 1, seconds=5, loss=1)
        take_steps(progress, clock, 2, 5, seconds=1, loss=1)
        with progress.pause():
            clock.now += 1000
        take_steps(progress, clock, 6, 10, seconds=1, wait=0.5, loss=1)
        with progress.pause():
            clock.now += 1000
        take_steps(progress, clock, 11, 20, seconds=1, wait=0.5, loss=1)
    assert stream.getvalue().splitlines() == [
        "step    1/1000  loss 1  first step took 5.0 s, compilation included",
        "step    2/1000  loss 1  images/s 2  data wait 0%  eta 0:16:38",
        "step   10/1000  loss 1  images/s 2  data wait 28%  eta 0:16:30",  # 2.5 of 9 s, 990 to go
        "step   20/1000  loss 1  images/s 2  data wait 50%  eta 0:16:20",
    ]


def test_progress_of_a_resumed_run():
    clock, stream = Clock(), io.StringIO()
    with Progress(200_000, 150_001, 4, log_every=1000, stream=stream, clock=clock) as progress:
        take_steps(progress, clock, 150_001, 150_001, seconds=60, loss=1)
        take_steps(progress, clock, 150_002, 151_000, seconds=2, loss=1)
    assert stream.getvalue().splitlines() == [
        "step 150001/200000  loss 1  first step took 60.0 s, compilation included",
        "step 150002/200000  loss 1  images/s 2  data wait 0%  eta 1 day, 3:46:36",  # 99996 s
        "step 151000/200000  loss 1  images/s 2  data wait 0%  eta 1 day, 3:13:20",  # 98000 s
    ]


def test_progress_of_a_run_of_one_step():
    clock, stream = Clock(), io.StringIO()
    with Progress(1, 1, 4, log_every=1, stream=stream, clock=clock) as progress:
        assert take_steps(progress, clock, 1, 1, seconds=2, loss=1) == {1: {}}
    assert stream.getvalue() == "step 1/1  loss 1  first step took 2.0 s, compilation included\n"


def test_progress_draws_a_bar_on_a_terminal():
    clock, stream = Clock(), Terminal()
    with Progress(30, 11, 8, log_every=10, stream=stream, clock=clock) as progress:
        take_steps(progress, clock, 11, 11, seconds=12.3, loss=2)
        take_steps(progress, clock, 12, 20, seconds=0.5, wait=0.125, loss=0.5)
        take_steps(progress, clock, 21, 30, seconds=0.5, loss=0.125)
    screens = [part.strip() for part in re.split(r"[\r\n]+", stream.getvalue()) if part.strip()]
    # The line stands alone, not behind a bar.
    assert "step 11/30  loss 2  first step took 12.3 s, compilation included" in screens
    bars = [screen for screen in screens if "|" in screen]
    assert re.fullmatch(r"10/30 \|[#0-9 ]+\|", bars[0])
    assert any("|  loss 0.5  images/s 16  data wait 25%  eta 0:00:05" in bar for bar in bars)
    assert re.fullmatch(r"30/30 \|#+\|  loss 0.125  images/s 16  data wait 0%  eta 0:00:00", bars[-1])
    assert len(screens) == len(bars) + 1, "no plain lines besides"
    assert stream.getvalue().endswith("\n")


def test_progress_of_other_processes_is_silent(capfd):
    clock = Clock()
    with Progress(4, 1, 1, log_every=2, stream=None, clock=clock) as progress:
        rates = take_steps(progress, clock, 1, 4, seconds=1, loss=1)
    assert rates == {2: {"images_per_second": 1, "data_wait": 0}, 4: {"images_per_second": 1, "data_wait": 0}}
    assert capfd.readouterr() == ("", "")
