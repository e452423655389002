"""Tests for benchmarks/table.py."""

import argparse
import copy
import json

import pytest

from benchmarks.__main__ import _baseline_ratios
from benchmarks.table import comparisons, markdown

_RESULTS = {
    "machine": {"device": "cpu", "platform": "cpu", "processor": "P", "cores": 2, "python": "3.12", "jax": "0.11"},
    "image_size": [36, 48],
    "train_batch": 4,
    "dtype": "float32",
    "rounds": 3,
    "matmul_flops_per_second": 1e11,
    "models": {
        "segnet": {
            "parameters": 2_500_000,
            "model_bytes": 10_000_000,
            "flops": {"forward": 2e9, "gradient": 6e9},
            "ours": {
                "fast": {
                    "compile_seconds": {"train_step": 21.4},
                    "memory_bytes": {"forward": 30_000_000, "train_step": 90_000_000},
                    "temporary_bytes": {"forward": 20_000_000, "train_step": 70_000_000},
                },
                "leanest": {
                    "compile_seconds": {"train_step": 30.0},
                    "memory_bytes": {"train_forward": 40_000_000, "train_step": 50_000_000},
                    "temporary_bytes": {"train_forward": 30_000_000, "train_step": 30_000_000},
                },
            },
            "seconds": {
                "forward": {"fast": 0.1, "torch": 0.25, "torch channels_last": 0.2},
                "train_forward": {"fast": 0.2, "leanest": 0.2, "torch": 0.3, "torch channels_last": 0.3},
                "gradient": {"fast": 0.5, "leanest": 0.6, "torch": 0.8, "torch channels_last": 1.0},
                "train_step": {"fast": 2.0, "leanest": 2.5, "torch": 4.0, "torch channels_last": 5.0},
            },
            "torch_memory_bytes": {
                "torch": {"forward": 60_000_000, "train_step": 200_000_000},
                "torch channels_last": {"forward": 50_000_000, "train_step": 300_000_000},
            },
        }
    },
    "pooling": {
        "channels": 64,
        "seconds": {"ours": 0.01, "torch": 0.05, "torch channels_last": 0.04},
        "index_bytes": {"ours": 1_000_000, "torch": 8_000_000},
    },
}


def test_comparisons_take_the_best_of_theirs():
    found = {comparison.key: comparison for comparison in comparisons(_RESULTS)}
    assert {key: comparison.ratio for key, comparison in found.items()} == pytest.approx(
        {
            "segnet/inference/fast": 0.5,
            "segnet/gradient/fast": 0.625,
            "segnet/gradient/leanest": 0.75,
            "segnet/training step/fast": 0.5,
            "segnet/training step/leanest": 0.625,
            "segnet/inference memory/fast": 0.6,
            "segnet/training memory/fast": 0.45,
            "segnet/training memory/leanest": 0.25,
            "pooling and unpooling": 0.25,
            "pooling indices": 0.125,
        }
    )
    assert found["segnet/inference/fast"].variant == "torch channels_last"
    assert found["segnet/training step/fast"].variant == "torch"


def test_markdown_holds_the_numbers():
    text = markdown(_RESULTS)
    # Backward is 0.5 s - 0.2 s; 4 images of 6 GFLOP in 2 s are 12 % of 100 GFLOP/s.
    assert "| segnet | 100 | 300 | 2000 | 90 | 30 | 10 | 2.50 M | 2 | 12% | 21 |" in text
    assert "| segnet | leanest | 2500 | 50 | 30 |" in text
    assert "| segnet/training memory/leanest | MB | 50 | 200 (torch) | 0.25 |" in text
    assert "| pooling and unpooling | ms | 10.0 | 40.0 (torch channels_last) | 0.25 |" in text
    assert "before" not in text


def test_comparisons_without_pytorch_are_none():
    results = copy.deepcopy(_RESULTS)
    del results["models"]["segnet"]["torch_memory_bytes"], results["pooling"]
    assert list(comparisons(results)) == []
    assert "PyTorch" not in markdown(results)


def test_markdown_puts_the_ratios_of_an_earlier_run_beside(tmp_path):
    earlier = copy.deepcopy(_RESULTS)
    earlier["models"]["segnet"]["seconds"]["forward"]["fast"] = 0.16
    path = tmp_path / "benchmark.json"
    path.write_text(json.dumps(earlier))
    text = markdown(_RESULTS | {"baseline_ratios": _baseline_ratios(str(path))})
    assert "| segnet/inference/fast | ms | 100 | 200 (torch channels_last) | 0.5 | 0.8 |" in text


@pytest.mark.parametrize("content", ["{", "[]", '{"models": {"segnet": {"torch_memory_bytes": {}}}}'])
def test_baseline_ratios_refuse_what_is_not_an_earlier_run(tmp_path, content):
    path = tmp_path / "benchmark.json"
    path.write_text(content)
    with pytest.raises(argparse.ArgumentTypeError, match="is not the benchmark.json of an earlier run"):
        _baseline_ratios(str(path))


def test_markdown_compares_the_input_with_what_the_networks_consume():
    # A step of 4 images takes 2 s at best: 2 images/s.
    rates = {"PNG files": {0: 3.0, 1: 2.0, 4: 8.0}, "records": {0: 30.0, 1: 10.0, 4: 30.0}}
    results = _RESULTS | {"input_images_per_second": rates, "feed_images_per_second": 6287.0}
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
