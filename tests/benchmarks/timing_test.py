"""Tests for benchmarks/timing.py."""

import time

import numpy as np
import pytest

from benchmarks import timing


def test_contenders_take_turns_after_their_warm_up():
    calls = []
    seconds = timing.interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=3, warm_up=2)
    assert calls == [*"aabb", *"ababab"]
    assert seconds.keys() == {"a", "b"}


def test_the_median_is_that_of_the_measured_runs(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    durations = iter([100.0, 1.0, 7.0, 2.0])

    def run():
        clock[0] += next(durations)

    # The first is the warm-up.
    assert timing.interleaved({"a": run}, rounds=3) == {"a": 2.0}


def test_peak_memory_sees_what_is_already_freed():
    size = 200_000_000
    before = timing.resident_bytes()
    timing.reset_peak()
    block = np.ones(size // 8)
    del block
    assert timing.peak_bytes() - before > 0.9 * size
    timing.reset_peak()
    assert timing.peak_bytes() - before < 0.5 * size


def test_an_unknown_figure_is_an_error():
    with pytest.raises(RuntimeError, match="VmNothing"):
        timing._status("VmNothing")
