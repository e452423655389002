"""Tests for benchmarks/__main__.py and benchmarks/networks.py, and for the costs of the networks."""

import functools
import json
from pathlib import Path

import jax
import pytest

from benchmarks.__main__ import _parser, main
from benchmarks.networks import SETTINGS
from benchmarks.workload import MEASURES, Workload, model_flops

_BASELINE = Path(__file__).parent / "baseline.json"


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--models=segnet,unet", "--models: 'unet' is not known; choose from segnet, segnet_basic"),
        ("--size=360", "--size: 360 must be HEIGHTxWIDTH in pixels, such as 360x480"),
        ("--size=0x480", "--size: 0x480 must be HEIGHTxWIDTH"),
        ("--settings=fat", "--settings: 'fat' is not known; choose from fast, lean, leanest"),
        ("--rounds=0", "--rounds: 0 must be a whole number, at least 1"),
        ("--input_workers=1,x", "--input_workers: 1,x must be whole numbers, such as 0,1,4,16"),
        ("--baseline=no.json", "--baseline: no.json is not the benchmark.json of an earlier run"),
    ],
)
def test_main_answers_a_bad_option_in_a_sentence(capsys, argument, message):
    with pytest.raises(SystemExit):
        main([argument])
    assert f"error: argument {message}" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.slow
def test_main_leaves_its_numbers_and_a_table(tmp_path, capsys):
    arguments = ["--models=segnet_basic", "--size=16x24", "--train_batch=2", "--rounds=1", "--settings=fast"]
    main([*arguments, f"--output={tmp_path / 'out'}"])
    results = json.loads((tmp_path / "out" / "benchmark.json").read_text())
    model = results["models"]["segnet_basic"]
    # Kernels of 7x7 to 64 features in eight layers, of 1x1 to 11 classes, and two numbers for each BatchNorm channel.
    assert model["parameters"] == 49 * 64 * (3 + 7 * 64) + 64 * 11 + 11 + 8 * 2 * 64
    assert set(model["seconds"]) == set(MEASURES[:4])
    assert all(times["fast"] > 0 for times in model["seconds"].values())
    assert "| segnet_basic |" in (tmp_path / "out" / "benchmark.md").read_text()
    assert "| segnet_basic |" in capsys.readouterr().out


@pytest.mark.parametrize(("cores", "expected"), [(1, [0, 1]), (2, [0, 1, 2]), (6, [0, 1, 2, 4, 6])])
def test_parser_has_workers_up_to_the_cores_and_settings_in_their_order(monkeypatch, cores, expected):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(cores)))
    options = _parser().parse_args(["--settings=leanest,fast"])
    assert (options.input_workers, options.settings) == (expected, ["fast", "leanest"])


@pytest.mark.ci
def test_main_leaves_the_numbers_of_pytorch_too(tmp_path, capsys):
    pytest.importorskip("torch", reason="PyTorch comes with requirements-bench.txt")
    arguments = ["--models=bilinear_interpolation", "--against=torch", "--size=24x40", "--train_batch=2", "--rounds=1"]
    main([*arguments, "--settings=fast", "--measures=forward,train_step", f"--output={tmp_path}"])
    model = json.loads((tmp_path / "benchmark.json").read_text())["models"]["bilinear_interpolation"]
    variants = {"torch", "torch channels_last"}
    assert all(set(times) == {"fast", *variants} for times in model["seconds"].values())
    assert all(times[variant] > 0 for times in model["seconds"].values() for variant in variants)
    # In training PyTorch holds at least parameters, gradients and momenta.
    assert all(memory["train_step"] > 3 * 4 * model["parameters"] for memory in model["torch_memory_bytes"].values())
    assert "| bilinear_interpolation/training step/fast | ms |" in capsys.readouterr().out


def test_main_without_pytorch_says_how_to_get_it(capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        main(["--models=segnet", "--against=torch"])
    assert "pip install -r requirements-bench.txt" in capsys.readouterr().err


@functools.cache
def costs(name, setting):
    """Returns the costs of a network at 90x120, trained on 2 images, by XLA: none depends on the machine's speed."""
    device = jax.devices("cpu")[0]
    workload = Workload(name, image_size=(90, 120), train_batch=2, device=device, remat=SETTINGS[setting])
    return {
        "forward_flops": workload.flops("forward"),
        "gradient_flops": workload.flops("gradient"),
        "training_temporary_bytes": workload.temporary_bytes("train_step"),
    }


_KEYS = ["segnet/fast", *(f"segnet_basic/{setting}" for setting in SETTINGS)]


@pytest.mark.ci
@pytest.mark.parametrize("key", [pytest.param(_KEYS[0], marks=pytest.mark.slow), *_KEYS[1:]])
def test_workload_costs_are_those_of_the_baseline(key):
    """After a change that is meant to alter them, write the new ones with `python -m tests.benchmarks.main_test`."""
    known = json.loads(_BASELINE.read_text())
    # Releases of XLA differ by some temporaries; one and the same gives the same numbers every time.
    tolerance = 0.0 if known["jax"] == jax.__version__ else 0.15
    for what, value in costs(*key.split("/")).items():
        assert value == pytest.approx(known["costs"][key][what], rel=tolerance), what


@pytest.mark.ci
def test_model_flops_are_those_of_the_network_that_computes_nothing_twice():
    known = json.loads(_BASELINE.read_text())["costs"]["segnet_basic/fast"]
    found = model_flops("segnet_basic", (90, 120))
    assert found == pytest.approx({what: known[f"{what}_flops"] for what in ("forward", "gradient")}, rel=1e-3)


@pytest.mark.ci
def test_workload_of_a_leaner_setting_needs_less_memory_and_more_operations():
    fast, lean, leanest = (costs("segnet_basic", setting) for setting in SETTINGS)
    key = "training_temporary_bytes"
    assert leanest[key] < lean[key] < 0.85 * fast[key]
    assert leanest["gradient_flops"] > 1.2 * fast["gradient_flops"]


if __name__ == "__main__":
    known = {"jax": jax.__version__, "costs": {key: costs(*key.split("/")) for key in _KEYS}}
    _BASELINE.write_text(json.dumps(known, indent=2) + "\n")
