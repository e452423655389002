"""Tests for segnet_jax/training/progress.py."""

import io
import re
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from segnet_jax.training.progress import Progress


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Unread:
    """A value that must not be read, as that would make the host wait for the device."""

    def __float__(self) -> float:
        raise AssertionError("read a value that is not shown")


def take_steps(
    progress: Progress, clock: Clock, steps: range, *, seconds: float, wait: float = 0.0, **values: Any
) -> dict[int, dict[str, float]]:
    """Takes steps of `seconds` each, of which the data take `wait`; returns the results of `update` by step."""
    rates = {}
    for step in steps:
        with progress.data_wait():
            clock.now += wait
        clock.now += seconds - wait
        result = progress.update(step, values)
        if result is not None:
            rates[step] = result
    return rates


def test_progress_writes_lines_into_a_file() -> None:
    clock, stream = Clock(), io.StringIO()
    with Progress(100, 1, 8, log_every=40, stream=stream, clock=clock) as progress:
        rates = take_steps(progress, clock, range(1, 2), seconds=12.34, wait=3.0, loss=2.39790, learning_rate=0.1)
        rates |= take_steps(progress, clock, range(2, 41), seconds=0.5, wait=0.125, loss=0.5, learning_rate=0.1)
        rates |= take_steps(progress, clock, range(41, 101), seconds=2.0, wait=1.8, loss=0.25, learning_rate=1e-5)
    assert stream.getvalue().splitlines() == [
        "step   1/100  loss 2.398  learning_rate 0.1  first step took 12.3 s, compilation included",
        # 39 steps of 0.5 s since the first; 60 to go.
        "step  40/100  loss 0.5  learning_rate 0.1  images/s 16  data wait 25%  eta 0:00:30",
        # 40 of 2 s; the time left goes by the 79 steps since the first: 99.5 s / 79 * 20.
        "step  80/100  loss 0.25  learning_rate 1e-05  images/s 4  data wait 90%  eta 0:00:25",
        "step 100/100  loss 0.25  learning_rate 1e-05  images/s 4  data wait 90%  eta 0:00:00",
    ]
    assert sorted(rates) == [40, 80, 100], "and none at the first step, where none is due"
    assert rates[40] == pytest.approx({"images_per_second": 16, "data_wait": 0.25})
    assert rates[80] == pytest.approx({"images_per_second": 4, "data_wait": 0.9})


def test_progress_does_not_count_pauses() -> None:
    clock, stream = Clock(), io.StringIO()
    with Progress(1000, 1, 2, log_every=10, stream=stream, clock=clock) as progress:
        with progress.pause():  # e.g. an evaluation before the first step
            clock.now += 100
        take_steps(progress, clock, range(1, 2), seconds=5, loss=1)
        take_steps(progress, clock, range(2, 6), seconds=1, loss=1)
        with progress.pause():
            clock.now += 1000
            progress.write("step 5: mean IoU 0.5")
        take_steps(progress, clock, range(6, 11), seconds=1, wait=0.5, loss=1)
        with progress.pause():
            clock.now += 1000
        take_steps(progress, clock, range(11, 21), seconds=1, wait=0.5, loss=1)
    assert stream.getvalue().splitlines() == [
        "step    1/1000  loss 1  first step took 5.0 s, compilation included",
        "step 5: mean IoU 0.5",
        "step   10/1000  loss 1  images/s 2  data wait 28%  eta 0:16:30",  # 2.5 of 9 s, 990 to go
        "step   20/1000  loss 1  images/s 2  data wait 50%  eta 0:16:20",
    ]


def test_progress_times_a_pause_or_a_wait_that_fails() -> None:
    clock, stream = Clock(), io.StringIO()
    progress = Progress(10, 1, 1, log_every=1, stream=stream, clock=clock)
    take_steps(progress, clock, range(1, 2), seconds=1)
    for context, seconds in ((progress.pause(), 10), (progress.data_wait(), 3)):
        with pytest.raises(KeyError), context:
            clock.now += seconds
            raise KeyError
    clock.now += 1
    assert progress.update(2, {}) == pytest.approx({"images_per_second": 1 / 4, "data_wait": 3 / 4})


def test_progress_of_a_resumed_run() -> None:
    clock, stream = Clock(), io.StringIO()
    with Progress(200_000, 150_001, 4, log_every=1000, stream=stream, clock=clock) as progress:
        take_steps(progress, clock, range(150_001, 150_002), seconds=60, loss=1)
        take_steps(progress, clock, range(150_002, 151_001), seconds=2, loss=1)
    assert stream.getvalue().splitlines() == [
        "step 150001/200000  loss 1  first step took 60.0 s, compilation included",
        "step 151000/200000  loss 1  images/s 2  data wait 0%  eta 27:13:20",  # 98000 s
    ]


def test_progress_of_a_run_of_one_step() -> None:
    clock, stream = Clock(), io.StringIO()
    with Progress(1, 1, 4, log_every=1, stream=stream, clock=clock) as progress:
        assert take_steps(progress, clock, range(1, 2), seconds=2, loss=1) == {1: {}}
    assert stream.getvalue() == "step 1/1  loss 1  first step took 2.0 s, compilation included\n"


def test_progress_reads_values_only_where_it_shows_them() -> None:
    clock, stream = Clock(), io.StringIO()
    progress = Progress(10, 1, 1, log_every=5, stream=stream, clock=clock)
    for step in range(1, 11):
        clock.now += 1
        shown = step in (1, 5, 10)
        progress.update(step, {"loss": jnp.float32(1.5) if shown else Unread(), "iou": np.float64(0.123456)})
    assert [re.findall(r"loss 1.5  iou 0.1235", line) for line in stream.getvalue().splitlines()] == [
        ["loss 1.5  iou 0.1235"]
    ] * 3


def test_progress_times_a_step_until_its_values_arrive() -> None:
    clock, stream = Clock(), io.StringIO()

    class Late:
        def __float__(self) -> float:
            clock.now += 3  # the device takes that long after the step was sent to it
            return 1.0

    progress = Progress(10, 1, 6, log_every=2, stream=stream, clock=clock)
    progress.update(1, {"loss": Late()})
    assert "first step took 3.0 s" in stream.getvalue()
    rates = progress.update(2, {"loss": Late()})
    assert rates is not None
    assert rates["images_per_second"] == pytest.approx(2)


def test_progress_gives_finite_rates_when_the_clock_does_not_move() -> None:
    stream = io.StringIO()
    progress = Progress(3, 1, 1, log_every=1, stream=stream, clock=lambda: 0.0)
    rates = [progress.update(step, {"loss": 1.0}) for step in (1, 2, 3)]
    assert [line.split("  ")[0] for line in stream.getvalue().splitlines()] == ["step 1/3", "step 2/3", "step 3/3"]
    assert rates[0] == {}
    assert all(values and np.isfinite(list(values.values())).all() for values in rates[1:])


def test_progress_draws_a_bar_on_a_terminal() -> None:
    clock, stream = Clock(), Terminal()
    with Progress(30, 11, 8, log_every=10, stream=stream, clock=clock) as progress:
        take_steps(progress, clock, range(11, 12), seconds=12.3, loss=2)
        take_steps(progress, clock, range(12, 21), seconds=0.5, wait=0.125, loss=0.5)
        with progress.pause():
            progress.write("mean IoU 0.25")
        take_steps(progress, clock, range(21, 31), seconds=0.5, loss=0.125)
    screens = [part.strip() for part in re.split(r"[\r\n]+", stream.getvalue()) if part.strip()]
    # Each line stands alone, not behind a bar.
    assert "step 11/30  loss 2  first step took 12.3 s, compilation included" in screens
    assert "mean IoU 0.25" in screens
    bars = [screen for screen in screens if "|" in screen]
    assert re.fullmatch(r"10/30 \|[#0-9 ]+\|", bars[0])
    assert any("|  loss 0.5  images/s 16  data wait 25%  eta 0:00:05" in bar for bar in bars)
    assert re.fullmatch(r"30/30 \|#+\|  loss 0.125  images/s 16  data wait 0%  eta 0:00:00", bars[-1])
    assert len(screens) == len(bars) + 2  # no plain lines besides
    assert stream.getvalue().endswith("\n")


@pytest.mark.parametrize("terminal", [False, True])
def test_progress_of_other_processes_is_silent(terminal: bool, capfd: pytest.CaptureFixture[str]) -> None:
    clock, stream = Clock(), Terminal() if terminal else io.StringIO()
    with Progress(4, 1, 1, log_every=2, stream=stream, enabled=False, clock=clock) as progress:
        rates = take_steps(progress, clock, range(1, 5), seconds=1, loss=1)
        progress.write("a line")
    assert rates == {2: {"images_per_second": 1, "data_wait": 0}, 4: {"images_per_second": 1, "data_wait": 0}}
    assert stream.getvalue() == ""
    assert capfd.readouterr() == ("", "")


def test_progress_goes_to_stderr_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(1, 1, 1, clock=Clock())
    progress.update(1, {"loss": 0.5})
    assert capsys.readouterr() == ("", "step 1/1  loss 0.5  first step took 0.0 s, compilation included\n")
