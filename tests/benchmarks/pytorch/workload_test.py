"""Tests for benchmarks/pytorch/workload.py."""

import types

import pytest

torch = pytest.importorskip("torch", reason="PyTorch comes with requirements-bench.txt")

from benchmarks.pytorch.workload import TorchWorkload  # noqa: E402


@pytest.fixture(scope="module")
def workload():
    return TorchWorkload("segnet_basic_single_channel_decoder", image_size=(8, 8), train_batch=2, dtype="float32")


def test_deterministic_step_runs_and_names_what_has_no_deterministic_form(workload):
    before = {name: value.clone() for name, value in workload.module.state_dict().items()}
    workload.run("deterministic_step")
    assert any("max_unpool" in name for name in workload.nondeterministic)
    assert not torch.are_deterministic_algorithms_enabled()
    weights = [name for name in before if name.endswith("weight")]
    assert any(not torch.equal(before[name], workload.module.state_dict()[name]) for name in weights)


def test_only_what_a_measure_takes_counts_as_held(workload):
    workload.run("train_step")
    parameters = sum(parameter.numel() for parameter in workload.module.parameters())
    # PyTorch counts the batches that each BatchNorm has seen, in 8 bytes.
    statistics = sum(buffer.numel() * buffer.element_size() for buffer in workload.module.buffers())
    image, label = 3 * 8 * 8 * 4, 8 * 8 * 8
    held = {what: workload._held_bytes(what) - statistics for what in ("forward", "gradient", "train_step")}
    assert held == {
        "forward": 4 * parameters + image,
        "gradient": 4 * parameters + image + label,
        "train_step": 2 * 4 * parameters + 2 * (image + label),
    }


def test_peak_memory_on_a_gpu_leaves_out_what_other_networks_hold(workload, monkeypatch):
    workload.run("train_step")
    device = workload.device
    calls = []
    held = workload._held_bytes("train_step")
    others = 5_000_000
    monkeypatch.setattr(workload, "device", types.SimpleNamespace(type="cuda"))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: calls.append("synchronize"))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda: held + others)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: calls.append("reset"))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: held + others + 300_000)
    assert workload.peak_memory_bytes("train_step") == held + 300_000
    # Before the peak is reset, and after the step, so that it is done when its peak is read.
    assert calls == ["synchronize", "reset", "synchronize"]
    assert device.type == "cpu"
