"""Tests for benchmarks/timing.py."""

import time

from benchmarks import timing


def test_interleaved_takes_turns_after_the_warm_up():
    calls = []
    seconds = timing.interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=3, warm_up=2)
    assert calls == [*"aabb", *"ababab"]
    assert seconds.keys() == {"a", "b"}


def test_interleaved_returns_the_median_of_the_measured_runs(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    durations = iter([100.0, 1.0, 7.0, 2.0])

    def run():
        clock[0] += next(durations)

    # The first is the warm-up.
    assert timing.interleaved({"a": run}, rounds=3) == {"a": 2.0}
