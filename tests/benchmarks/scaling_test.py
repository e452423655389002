"""Tests for benchmarks/scaling.py and benchmarks/collectives.py: the model of docs/scaling.md, and what it rests on."""

import math
import re

import jax
import pytest

from benchmarks import collectives, scaling
from segnet_jax.models import create_model
from tests.helpers.paths import ROOT

H200, _, V5E = scaling.MACHINES


def test_all_reduce_seconds_by_hand():
    # Four devices, 400 bytes: three times 100 bytes to scatter the sum, three times to gather it.
    inside = scaling.Level(4, 10.0)
    assert scaling.all_reduce_seconds(400, [inside]) == pytest.approx(60.0)
    # Outside 100 bytes between two, of which each sends a half twice.
    assert scaling.all_reduce_seconds(400, [inside, scaling.Level(2, 1.0)]) == pytest.approx(60.0 + 100.0)
    assert scaling.all_reduce_seconds(400, [scaling.Level(1, 10.0)]) == 0


@pytest.mark.parametrize("machine", scaling.MACHINES, ids=lambda machine: machine.name)
def test_machine_levels_hold_all_devices(machine):
    for devices in scaling.DEVICES:
        assert math.prod(level.members for level in machine.levels(devices)) == devices


def test_predict_by_hand():
    # 64 H200: 8 in a node, 8 nodes.
    latency = 6.8e-6 + 2 * (7 * 0.6e-6 * 1.8 + 3 * 5e-6)
    step = scaling.predict(H200, 64, images=4, utilization=0.5)
    assert step.compute == pytest.approx(4 * 630.07e9 / 247.25e12)
    size = 117_829_164
    sent = 2 * 7 / 8 * size / 450e9 + 2 * 7 / 8 * size / 8 / 50e9
    assert step.gradients == pytest.approx(sent + latency)
    assert step.statistics == pytest.approx(50 * latency, rel=0.01)
    assert step.statistics > 50 * latency
    total = step.compute + step.gradients + step.statistics
    assert step.without_overlap == pytest.approx(step.compute / total)
    # Two thirds of the step are enough to hide a millisecond.
    assert step.with_overlap == pytest.approx(step.compute / (step.compute + step.statistics))


def test_prediction_counts_what_the_backward_pass_cannot_hide():
    step = scaling.Prediction(compute=3.0, gradients=2.5, statistics=1.0)
    assert step.with_overlap == pytest.approx(3.0 / (3.0 + 1.0 + 0.5))
    assert step.without_overlap == pytest.approx(3.0 / 6.5)


def test_machine_levels_between_pods_are_slower():
    levels = V5E.levels(512)
    assert [(level.members, level.bandwidth) for level in levels] == [(256, 200e9), (2, 3.125e9)]
    # 16x16 within a pod.
    assert V5E.latency(512) - V5E.latency(256) == pytest.approx(50e-6)
    assert V5E.latency(256) == pytest.approx(32e-6)
    assert V5E.latency(8) == pytest.approx(6e-6)


def test_constants_are_those_of_the_network():
    variables = jax.eval_shape(create_model("segnet", 11).init, jax.random.key(0), jax.numpy.zeros((1, 32, 32, 3)))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == scaling.PARAMETERS
    statistics = jax.tree.leaves(variables["batch_stats"])
    assert len(statistics) == 2 * scaling.BATCH_NORMS
    assert sum(leaf.size for leaf in statistics) == 2 * scaling.BATCH_NORM_CHANNELS


def test_step_program_reduces_what_the_prediction_says():
    """In the program of the step itself; four numbers are the loss, its normaliser and two counts of pixels."""
    program = collectives.step_program(8)
    _, size = collectives.reduced(program)
    assert size == scaling.GRADIENT_BYTES + scaling.AVERAGES_BYTES + scaling.STATISTICS_BYTES + 4 * 4
    pairs = len(re.findall(r"\}\) : \(tensor<2x\d+xf32>\) -> tensor<2x\d+xf32>", program))
    assert pairs == scaling.STATISTICS_REDUCTIONS


def test_reduced_counts_operations_and_bytes():
    program = """
    %1 = "stablehlo.all_reduce"(%0) <{channel_handle = #stablehlo.channel_handle<handle = 1, type = 1>}> ({
    ^bb0(%arg0: tensor<f32>, %arg1: tensor<f32>):
      stablehlo.return %2 : tensor<f32>
    }) : (tensor<2x64xf32>) -> tensor<2x64xf32>
    %3 = "stablehlo.all_reduce"(%1) ({
    }) : (tensor<f32>, tensor<3x3xf32>) -> (tensor<f32>, tensor<3x3xf32>)
    """
    assert collectives.reduced(program) == (2, 4 * (128 + 1 + 9))


def test_table_is_on_the_page():
    page = (ROOT / "docs" / "scaling.md").read_text()
    assert scaling.table() in page
    assert f"{scaling.GRADIENT_BYTES:,}" in page
    step = scaling.predict(H200, 512, images=16)
    fewer = scaling.predict(H200, 512)
    assert f"from {fewer.without_overlap:.0%} to {step.without_overlap:.0%}".replace("%", " %") in page


def test_contenders_reduce_or_do_the_same_work_without(monkeypatch):
    monkeypatch.setattr(collectives, "CHAIN", 3)
    found = collectives.contenders(jax.devices()[:2], [(3, 3, 3, 4), (4,)], channels=8)
    # Of ones, which the first call has summed over two devices or raised by one.
    assert found["summed"]()[1].tolist() == [[4.0] * 4] * 2
    assert found["copied"]()[1].tolist() == [[3.0] * 4] * 2
    assert found["reduced"]().shape == found["local"]().shape == (2, 2, 8)


@pytest.mark.parametrize(("main", "argument"), [(collectives.main, "--devices=two"), (scaling.main, "--utilization=2")])
def test_main_names_a_mistake_in_a_line(monkeypatch, capsys, main, argument):
    monkeypatch.setattr("sys.argv", ["benchmark", argument])
    with pytest.raises(SystemExit):
        main()
    assert "error: --" in capsys.readouterr().err.splitlines()[-1]
