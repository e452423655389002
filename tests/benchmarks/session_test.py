"""Tests for benchmarks/session.py, networks.py and progress.py, with networks that cost nothing."""

import json
import os
import signal
import sys
import types

import pytest

from benchmarks import networks, session, timing
from benchmarks.__main__ import _parse, _parser, main
from benchmarks.networks import Setup
from benchmarks.workload import MEASURES
from segnet_jax.models import MODELS

_NETWORKS = ["--models=segnet,segnet_basic", "--settings=lean,leanest", "--rounds=3"]


class FakeNetwork:
    """Counts its runs; the clock goes on by its seconds in each."""

    parameters, model_bytes = 1000, 4000
    nondeterministic = frozenset({"max_unpool"})

    def __init__(self, name, contender, log, clock):
        self.compile_seconds = {}
        self._name, self._contender, self._log, self._clock = name, contender, log, clock

    def prepare(self, measure):
        self._log.append((self._name, self._contender, measure, "compile"))
        self.compile_seconds[measure] = 20.0

    def run(self, measure):
        self._log.append((self._name, self._contender, measure, "run"))
        self._clock[0] += 2.0 if self._contender == "lean" else 4.0

    def memory_bytes(self, measure):
        return 8_000_000

    temporary_bytes = peak_memory_bytes = memory_bytes


@pytest.fixture
def log(monkeypatch):
    """Replaces networks, rates and clock; returns the calls of the networks."""
    calls, clock = [], [0.0]
    monkeypatch.setattr(
        Setup, "build", lambda self, name, contender, batch=0: FakeNetwork(name, contender, calls, clock)
    )
    monkeypatch.setattr(timing, "time", types.SimpleNamespace(perf_counter=lambda: clock[0]))
    monkeypatch.setattr(timing, "matmul_rate", lambda device, dtype: 1e9)
    monkeypatch.setattr(session, "model_flops", lambda name, size: {"forward": 6e8, "gradient": 18e8})
    monkeypatch.setattr(session, "describe", lambda device: {"processor": "P", "cores": 2} | _DEVICE)
    monkeypatch.setattr(os, "getloadavg", lambda: (0.1, 0.1, 0.1))
    return calls


_DEVICE = {"device": "cpu", "platform": "cpu", "python": "3.12", "jax": "0.11"}


def read(folder):
    return json.loads((folder / "benchmark.json").read_text())


def test_run_says_what_it_measures_and_adds_results_as_they_come(log, tmp_path, capsys):
    main([*_NETWORKS, "--measures=forward,train_step", f"--output={tmp_path}"])
    out, err = capsys.readouterr()
    lines = err.splitlines()
    # Inference: 1 s a call by the rate; a step of four images: 12 s; each four times, with a setting more in training.
    # 3 s and 28 s of compilation of each.
    assert lines[0].startswith("About 5 min in all")
    assert pytest.approx(318) == 2 * (4 * 1 + 2 * 4 * 12 + 3 + 2 * 28)
    assert "[1/4] segnet, inference: lean compiled in 20.0 s" in err
    assert "[2/4] segnet, training step, round 2 of 3: lean 2 s, leanest 4 s; about " in err
    assert "[4/4] segnet_basic, training step, round 3 of 3: lean 2 s, leanest 4 s; about 1 s left" in err
    rows = out[: out.index("# Benchmark")].splitlines()
    assert rows[2:5] == [
        "| segnet | inference | lean | 2000 |",
        "| segnet | training step | lean | 2000 |",
        "| segnet | training step | leanest | 4000 |",
    ]
    results = read(tmp_path)
    assert results["unfinished"] is False
    assert results["models"]["segnet_basic"]["seconds"]["train_step"] == {"lean": 2.0, "leanest": 4.0}
    assert results["models"]["segnet"]["spread"]["train_step"]["lean"] == [2.0, 2.0]
    assert (tmp_path / "benchmark.md").read_text() in f"{out}\n"


def test_run_keeps_every_measurement_at_once(log, tmp_path, monkeypatch):
    seen = []
    original = networks.record

    def record(result, key, seconds):
        path = tmp_path / "benchmark.json"
        found = read(tmp_path)["models"] if path.exists() else {}
        seen.append([(name, measure) for name in found for measure in found[name].get("seconds", {})])
        original(result, key, seconds)

    monkeypatch.setattr(networks, "record", record)
    main([*_NETWORKS, "--measures=forward,gradient", f"--output={tmp_path}"])
    assert seen == [
        [],
        [("segnet", "forward")],
        [("segnet", "forward"), ("segnet", "gradient")],
        [("segnet", "forward"), ("segnet", "gradient"), ("segnet_basic", "forward")],
    ]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_run_that_is_stopped_leaves_what_it_has_and_goes_on(log, tmp_path, monkeypatch, capsys, number):
    # In the second round of the training step of segnet: warm-up of two, first round of two, and one.
    arguments = [*_NETWORKS, "--measures=forward,train_step", f"--output={tmp_path}"]
    original = FakeNetwork.run

    def run(self, measure):
        original(self, measure)
        if log.count(("segnet", "lean", "train_step", "run")) == 3:
            os.kill(os.getpid(), number)

    with monkeypatch.context() as patch:
        patch.setattr(FakeNetwork, "run", run)
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
    assert stopped.value.code == 128 + number
    out, err = capsys.readouterr()
    assert "the same command with --resume goes on" in err
    assert "It was stopped before all was measured." in out
    results = read(tmp_path)
    assert results["unfinished"] is True
    assert results["models"]["segnet"]["rounds"] == {"forward": 3, "train_step": 1}
    assert results["models"]["segnet"]["seconds"]["train_step"] == {"lean": 2.0, "leanest": 4.0}
    assert "seconds" not in results["models"]["segnet_basic"]

    log.clear()
    main([*arguments, "--resume"])
    assert {call[:3] for call in log if call[0] == "segnet"} == {
        ("segnet", "lean", "train_step"),
        ("segnet", "leanest", "train_step"),
    }
    assert [call for call in log if call[3] == "run" and call[0] == "segnet_basic" and call[2] == "forward"] == [
        ("segnet_basic", "lean", "forward", "run")
    ] * 4
    assert read(tmp_path)["models"]["segnet"]["rounds"] == {"forward": 3, "train_step": 3}
    assert read(tmp_path)["unfinished"] is False
    log.clear()
    main([*arguments, "--resume"])
    assert log == []


def test_run_that_is_stopped_in_its_last_measurement_is_unfinished(log, tmp_path, monkeypatch):
    original = FakeNetwork.run

    def run(self, measure):
        original(self, measure)
        if len(log) == 1 + 1 + 2:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(FakeNetwork, "run", run)
    with pytest.raises(SystemExit):
        main(["--models=segnet", "--measures=forward", f"--output={tmp_path}"])
    results = read(tmp_path)
    assert (results["unfinished"], results["models"]["segnet"]["rounds"]) == (True, {"forward": 2})


def test_run_resumes_no_run_of_other_settings(log, tmp_path, capsys):
    arguments = ["--models=segnet", "--measures=forward", f"--output={tmp_path}"]
    main([*arguments, "--rounds=2", "--settings=lean"])
    with pytest.raises(SystemExit):
        main([*arguments, "--rounds=3", "--settings=fast", "--resume"])
    message = capsys.readouterr().err.splitlines()[-1]
    assert "differ in rounds (2 and 3), settings (['lean'] and ['fast']); make them alike" in message
    with pytest.raises(SystemExit):
        main([*arguments, f"--output={tmp_path / 'none'}", "--resume"])
    assert "benchmark.json of an earlier run" in capsys.readouterr().err.splitlines()[-1]


def test_run_warns_of_a_machine_that_is_not_idle(log, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(os, "getloadavg", lambda: (7.84, 0.0, 0.0))
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1})
    main(["--models=segnet", "--measures=forward", f"--output={tmp_path}"])
    out, err = capsys.readouterr()
    assert "The load of this machine is 7.8 on 2 cores" in err
    assert "The load was 7.8 at the start." in out


def test_run_with_pytorch_measures_deterministic_steps_and_batches(log, tmp_path, monkeypatch, capsys):
    pytest.importorskip("torch", reason="PyTorch comes with requirements-bench.txt")
    monkeypatch.setattr(session, "measure_pooling", lambda size, rounds: _POOLING)
    arguments = ["--models=segnet", "--against=torch", "--settings=lean", "--rounds=1", "--batches=1,2"]
    main([*arguments, "--measures=train_step,deterministic_step", "--torch_compile", f"--output={tmp_path}"])
    results = read(tmp_path)
    variants = {"torch", "torch channels_last", "torch channels_last compile"}
    assert set(results["models"]["segnet"]["seconds"]["deterministic_step"]) == {"lean", *variants}
    assert results["models"]["segnet"]["torch_nondeterministic"]["torch"] == ["max_unpool"]
    assert set(results["batches"]["segnet"]["seconds"]["2"]) == {"lean", *variants}
    assert results["against"] == "torch and torch.compile"
    report = capsys.readouterr().out
    assert report.startswith("| network | measured | contender | ms | over PyTorch's best |")
    assert "| segnet | training step of 2 | lean | 2000 | 0.5 |" in report
    assert "| segnet/deterministic step/lean | ms | 2000 | 4000 (torch) | 0.5 |" in report
    # 2 images of 1.8 GFLOP in 2 s at 1 GFLOP/s.
    assert "| segnet | training step, best batch | lean | 2 | 1 | 180% | 8 |" in report
    assert "it says that max_unpool have no deterministic form" in report


_POOLING = {"channels": 64, "seconds": {"ours": 1.0, "torch": 1.0}, "index_bytes": {"ours": 1, "torch": 8}}


def test_defaults_are_those_of_the_platform():
    on_cpu, on_gpu = (_parse(_parser(), ["--against=torch"]) for _ in range(2))
    session.choose_defaults(on_cpu, "cpu")
    assert (on_cpu.settings, on_cpu.rounds, on_cpu.batches) == (["lean", "leanest"], 3, [])
    assert (on_cpu.measures, on_cpu.torch_compile) == (list(MEASURES[:4]), False)
    session.choose_defaults(on_gpu, "gpu")
    assert (on_gpu.settings, on_gpu.rounds, on_gpu.batches) == (
        ["fast", "lean"],
        20,
        [1, 2, 4, 8, 16, 32, 64, 128, 256],
    )
    assert (on_gpu.measures, on_gpu.torch_compile) == (list(MEASURES), True)
    assert on_cpu.models == on_gpu.models == ["segnet", "segnet_basic"]
    chosen = _parse(_parser(), ["--no-torch_compile", "--rounds=2", "--batches=8,4", "--models=all"])
    session.choose_defaults(chosen, "gpu")
    assert (chosen.torch_compile, chosen.rounds, chosen.batches) == (False, 2, [4, 8])
    assert chosen.models == list(MODELS)


def test_quick_changes_what_is_not_given():
    options = _parse(_parser(), ["--quick", "--rounds=7"])
    session.choose_defaults(options, "gpu")
    assert (options.size, options.rounds, options.batches) == ((180, 240), 7, [])
    assert options.measures == ["forward", "train_step"]


def test_quick_says_so_in_the_report(log, tmp_path, capsys):
    main(["--quick", "--models=segnet", f"--output={tmp_path}"])
    assert "This is a quick look" in capsys.readouterr().out


def test_progress_on_a_terminal_says_what_runs_now(log, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    main(["--models=segnet", "--measures=forward", "--rounds=2", f"--output={tmp_path}"])
    err = capsys.readouterr().err
    assert "[1/1] segnet, inference, round 2 of 2: lean; about " in err
    assert "round 2 of 2: lean 2 s" not in err, "no line for each round"
