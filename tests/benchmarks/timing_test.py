"""Tests for benchmarks/timing.py."""

from benchmarks import timing


def test_interleaved_takes_turns_after_the_warm_up_and_returns_medians(monkeypatch):
    calls, clock, durations = [], [0.0], iter([100.0, 100.0, 100.0, 100.0, 1.0, 10.0, 7.0, 70.0, 2.0, 20.0])

    def run(name):
        calls.append(name)
        clock[0] += next(durations)

    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    seconds = timing.interleaved({"a": lambda: run("a"), "b": lambda: run("b")}, rounds=3, warm_up=2)
    assert calls == [*"abab", *"ababab"]
    assert seconds == {"a": 2.0, "b": 20.0}
