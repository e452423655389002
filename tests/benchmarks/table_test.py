"""Tests for benchmarks/table.py."""

import copy
import json

import pytest

from benchmarks.__main__ import _baseline_ratios
from benchmarks.comparison import comparisons
from benchmarks.table import markdown
from tests.helpers.benchmark import RESULTS


def test_comparisons_take_the_best_of_theirs():
    found = {comparison.key: comparison for comparison in comparisons(RESULTS)}
    assert {key: comparison.ratio for key, comparison in found.items()} == pytest.approx(
        {
            "segnet/inference": 0.5,
            "segnet/gradient/fast": 0.625,
            "segnet/gradient/leanest": 0.75,
            "segnet/training step/fast": 0.5,
            "segnet/training step/leanest": 0.625,
            "segnet/inference memory": 0.6,
            "segnet/training memory/fast": 0.45,
            "segnet/training memory/leanest": 0.25,
            "pooling and unpooling": 0.25,
            "pooling indices": 0.125,
        }
    )
    assert found["segnet/inference"].variant == "torch channels_last"
    assert found["segnet/training step/fast"].variant == "torch"


def test_markdown_holds_the_numbers():
    text = markdown(RESULTS)
    # Backward is 0.5 s - 0.2 s.
    assert "| segnet | 100 | 300 | 2000 | 90 | 30 | 10 | 2.50 M | 2 | 21 |" in text
    # 2 GFLOP in 0.1 s are 20 % of 100 GFLOP/s, 4 images of 6 GFLOP in 2 s 12 %, and in PyTorch's 4 s 6 %.
    assert "| segnet | inference | fast | 1 | 10 | 20% | 30 |" in text
    assert "| segnet | training step | fast | 4 | 2 | 12% | 90 |" in text
    assert "| segnet | training step | torch | 4 | 1 | 6% | 200 |" in text
    assert "| segnet | leanest | 2500 | 50 | 30 |" in text
    assert "| segnet/training memory/leanest | MB | 50 | 200 (torch) | 0.25 |" in text
    assert "| pooling and unpooling | ms | 10 | 40 (torch channels_last) | 0.25 |" in text
    assert "before" not in text


def test_comparisons_without_pytorch_are_none():
    results = copy.deepcopy(RESULTS)
    del results["models"]["segnet"]["torch_memory_bytes"], results["pooling"]
    for times in results["models"]["segnet"]["seconds"].values():
        del times["torch"], times["torch channels_last"]
    assert list(comparisons(results)) == []
    assert "Against" not in markdown(results)


def test_markdown_puts_the_ratios_of_an_earlier_run_beside(tmp_path):
    earlier = copy.deepcopy(RESULTS)
    earlier["models"]["segnet"]["seconds"]["forward"]["fast"] = 0.16
    path = tmp_path / "benchmark.json"
    path.write_text(json.dumps(earlier))
    text = markdown(RESULTS | {"baseline_ratios": _baseline_ratios(str(path))})
    assert "| segnet/inference | ms | 100 | 200 (torch channels_last) | 0.5 | 0.8 |" in text


def test_markdown_compares_the_input_with_what_the_networks_consume():
    # A step of 4 images takes 2 s at best: 2 images/s.
    rates = {"PNG files": {0: 3.0, 1: 2.0, 4: 8.0}, "records": {0: 30.0, 1: 10.0, 4: 30.0}}
    results = RESULTS | {"input_images_per_second": rates, "feed_images_per_second": 6287.0}
    text = markdown(results)
    assert "Training consumes 2 images/s (`segnet`)." in text
    assert "| worker processes | from PNG files | from records |" in text
    assert "| 0 (threads) | 3 | 30 |" in text
    assert "| 4 | 8 | 30 |" in text
    assert "| twice what this device consumes | 4 | 4 | 0 (threads) |" in text
    # 16 images/s at 2 images/s and process; 6287 at 2 and at 7.5.
    assert "| what 8 devices of this kind consume | 16 | ~8 | 0 (threads) |" in text
    assert "| --feed=6287 | 6,287 | ~3144 | ~839 |" in text
    assert "--feed" not in markdown(results | {"feed_images_per_second": 0.0})


def test_markdown_of_the_input_alone_says_what_the_pipeline_delivers():
    results = RESULTS | {"models": {"segnet": {"flops": {}}}, "input_images_per_second": {"records": {0: 30.0}}}
    text = markdown({key: value for key, value in results.items() if key != "pooling"})
    assert "| 0 (threads) | 30 |" in text
    assert "consume" not in text


def test_markdown_of_a_part_of_the_measures_leaves_the_others_empty():
    results = copy.deepcopy(RESULTS)
    del results["pooling"]
    network = results["models"]["segnet"]
    network["seconds"] = {"forward": {"fast": 0.0123, "torch": 0.02}}
    network["spread"] = {"forward": {"fast": [0.0117, 0.0129], "torch": [0.01, 0.02]}}
    network["ours"] = {"fast": {key: {"forward": 30_000_000} for key in network["ours"]["fast"]}}
    network["torch_memory_bytes"] = {}
    text = markdown(results)
    assert "| segnet | 12.3 ±5% |  |  |  | 30 | 10 | 2.50 M | 2 |  |" in text
    assert "| segnet/inference | ms | 12.3 | 20 (torch) | 0.615 |" in text
    assert "## Settings" not in text
