"""Tests for benchmarks/best_batch.py, with networks that cost nothing."""

import jax
import pytest

from benchmarks import best_batch
from benchmarks.estimate import Estimate
from benchmarks.networks import Setup
from benchmarks.progress import Progress
from segnet_jax.runtime.preemption import GracefulShutdown

_RATE, _FLOPS = 1e9, {"gradient": 1e9}


class FakeNetwork:
    """Runs in no time until its memory is exhausted."""

    def __init__(self, contender, batch, largest):
        self._message = ""
        if batch > largest[contender]:
            is_torch = contender == "torch"
            self._message = "CUDA out of memory. Tried ..." if is_torch else "RESOURCE_EXHAUSTED: Out of memory"
        self._bytes = 1000 * batch

    def run(self, what):
        assert what == "train_step"
        if self._message:
            raise RuntimeError(self._message)

    def memory_bytes(self, what):
        return self._bytes

    def peak_memory_bytes(self, what):
        return 2 * self._bytes


@pytest.fixture
def measure(monkeypatch):
    """Returns a function that measures batches with the given times and largest batches, and what it has told."""

    def run(seconds, largest, batches, result):
        built, saved = [], []

        def build(self, name, contender, batch=0):
            built.append((contender, batch))
            return FakeNetwork(contender, batch, largest)

        def timed(self, network, measure, contenders, rounds):
            batch = int(measure.rpartition(" ")[2])
            return {name: [seconds[name](batch)] * rounds for name in contenders}

        monkeypatch.setattr(best_batch, "_release", lambda: None)
        monkeypatch.setattr(Setup, "build", build)
        monkeypatch.setattr(Progress, "measure", timed)
        setup = Setup((8, 8), 1, "bfloat16", ["fast"], ["torch"], 2, jax.devices()[0])
        left = [batch for batch in batches if str(batch) not in result.get("rounds", {})]
        estimate = Estimate(best_batch.programs("segnet", setup, left, _FLOPS), _RATE, {})
        progress = Progress(estimate, GracefulShutdown())
        best_batch.measure_batches("segnet", setup, batches, result, progress, lambda: saved.append(1))
        assert estimate.seconds_left() == 0
        return built, len(saved)

    return run


def test_measure_batches_ends_where_neither_framework_gains(measure):
    result = {}
    # Ours gains up to 4 images, PyTorch's up to 8.
    seconds = {"fast": lambda batch: max(1.0, batch / 4), "torch": lambda batch: max(2.0, batch / 4)}
    _, saved = measure(seconds, {"fast": 99, "torch": 99}, [1, 2, 4, 8, 16, 32, 64], result)
    assert list(result["seconds"]) == ["1", "2", "4", "8", "16"]
    assert saved == 5
    assert result["seconds"]["16"] == {"fast": 4.0, "torch": 4.0}
    assert result["memory_bytes"]["4"] == {"fast": 4000, "torch": 8000}


def test_measure_batches_goes_on_without_those_whose_memory_is_exhausted(measure, capsys):
    result = {}
    seconds = dict.fromkeys(("fast", "torch"), lambda batch: 1.0)
    built, _ = measure(seconds, {"fast": 4, "torch": 2}, [1, 2, 4, 8, 16], result)
    assert result["exhausted"] == {"1": [], "2": [], "4": ["torch"], "8": ["fast"]}
    assert result["seconds"]["4"] == {"fast": 1.0}
    assert built[-3:] == [("fast", 4), ("torch", 4), ("fast", 8)]
    assert "training step of 4: torch does not fit into memory" in capsys.readouterr().err
    # What is known is not measured again.
    assert measure(seconds, {"fast": 4, "torch": 2}, [1, 2, 4, 8, 16], result) == ([], 0)


def test_measure_batches_hides_no_other_error(measure, monkeypatch):
    monkeypatch.setattr(FakeNetwork, "run", lambda self, what: (_ for _ in ()).throw(RuntimeError("no algorithm")))
    with pytest.raises(RuntimeError, match="no algorithm"):
        measure({}, {"fast": 1, "torch": 1}, [1], {})
