"""Tests for benchmarks/startup.py and benchmarks/spans.py."""

import sys

import pytest

from benchmarks import spans, startup
from benchmarks.spans import Recorder, Span, own_seconds


def test_own_seconds_by_hand():
    outer = Span(0.0, 10.0, "first step", "")
    tracing = Span(1.0, 4.0, "tracing", "f")
    inner = Span(2.0, 3.0, "tracing", "g")
    lowering = Span(4.0, 6.0, "lowering", "f")
    # Ends after the span around it, as events of JAX may, and after the end that counts.
    late = Span(9.0, 10.5, "data", "")
    after = Span(12.0, 13.0, "data", "")
    found = {
        (span.kind, span.detail): seconds
        for span, seconds in own_seconds([tracing, inner, lowering, late, after, outer], 11.0)
    }
    assert found == {
        ("first step", ""): 10 - 3 - 2 - 1,
        ("tracing", "f"): 2.0,
        ("tracing", "g"): 1.0,
        ("lowering", "f"): 2.0,
        ("data", ""): 1.0,
    }
    assert sum(seconds for _, seconds in own_seconds([outer, tracing, inner], 3.5)) == pytest.approx(3.5)


def test_parts_add_up_to_the_time_from_command_to_first_step():
    record = {
        "begin": 100.5,
        "spans": [
            [101.0, 103.0, "import", "jax"],
            [101.5, 102.0, "import", "numpy"],
            [103.0, 107.0, "XLA compilation", "init"],
        ],
    }
    parts = startup.parts_of(record, 100.0, 110.0)
    assert parts["kinds"] == dict.fromkeys(parts["kinds"], 0.0) | {
        "Python": 0.5,
        "import": 2.0,
        "XLA compilation": 4.0,
        "rest": 3.5,
    }
    assert parts["packages"] == {"jax": 1.5, "numpy": 0.5}
    assert parts["functions"] == {"init: XLA compilation": 4.0}


def test_recorder_sees_imports_calls_and_what_jax_does(monkeypatch):
    import jax
    import jax.monitoring

    recorder = Recorder()
    monkeypatch.setattr("builtins.__import__", __import__)
    monkeypatch.setattr(spans, "_SHORTEST_IMPORT", 0.0)
    listeners = []
    monkeypatch.setattr(jax.monitoring, "register_event_duration_secs_listener", listeners.append)
    recorder.watch_imports()
    recorder.watch_jax()
    import xml.dom.minidom  # noqa: F401

    listeners[0]("/jax/core/compile/jaxpr_trace_duration", 0.25, fun_name="step")
    listeners[0]("/jax/compilation_cache/compile_time_saved_sec", 9.0)

    class Network:
        def run(self, x):
            return x + 1

    recorder.watch(Network, "run", "first step")
    assert Network().run(2) == 3
    assert {("import", "xml"), ("tracing", "step"), ("first step", "")} <= {
        (span.kind, span.detail) for span in recorder.spans
    }
    traced = next(span for span in recorder.spans if span.kind == "tracing")
    assert traced.end - traced.start == pytest.approx(0.25, abs=0.01)
    assert not any(span.end - span.start > 5 for span in recorder.spans)


def test_first_step_is_timed_by_its_line_and_missed_if_there_is_none():
    program = "import time; print('1/1 first step took 2 s', flush=True); time.sleep(0.2)"
    begin, end = startup._first_step([sys.executable, "-c", program], {})
    assert end > begin
    with pytest.raises(RuntimeError, match="ended with 3 before its first step"):
        startup._first_step([sys.executable, "-c", "raise SystemExit(3)"], {})


def test_report_of_an_earlier_run_has_no_parts():
    seconds = {"import": 0.04, "import_train": 7.2, "cold": 46.0, "cached": 17.6}
    text = startup.report(seconds)
    assert text.splitlines()[-1] == "| command to first step, compiled programs cached | 17.6 |"
    parts = {"kinds": {"import": 2.0}, "packages": {"jax": 1.0}, "functions": {"init: tracing": 0.5}}
    text = startup.report({**seconds, "parts": {"cold": parts, "cached": parts | {"functions": {}}}})
    assert "| init: tracing | 0.5 | 0.0 |" in text
