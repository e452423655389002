"""Tests of whole runs of two processes with two devices each: compared with one process, stopped, killed, resumed."""

import contextlib
import json
import os
import re
import shutil
import signal

import jax
import numpy as np
import pytest

from segnet_jax.checkpoint.manager import Checkpoints
from segnet_jax.config import from_dict
from segnet_jax.errors import InputError
from segnet_jax.evaluation.eval_only import evaluate_checkpoint
from segnet_jax.evaluation.feature_ablation import study_features
from segnet_jax.models.from_config import build_model
from segnet_jax.runtime.files import locked
from segnet_jax.training.from_config import build_optimizer
from segnet_jax.training.loop import train_and_evaluate
from segnet_jax.training.step import checkpoint_template
from tests.helpers.launching import assert_lost, environment, errors, flags, free_port, started, wait, wait_for
from tests.helpers.runs import assert_identical, stop_at

pytestmark = pytest.mark.ci

TINY = [
    "--config.data.scene_size=(16, 24)",
    "--config.data.train_scenes=20",
    "--config.data.eval_scenes=11",
    "--config.data.num_threads=1",
    "--config.augment.brightness=0.3",
    "--config.model.name=segnet_basic",
    "--config.model.width_multiplier=0.0625",
    "--config.loss.class_weights=none",
    "--config.optimizer.learning_rate=0.05",
    "--config.train.batch_size=8",
    "--config.train.duration=6 steps",
    "--config.train.log_every=1 steps",
    "--config.train.eval_every=3 steps",
    "--config.train.checkpoint_every=2 steps",
    "--config.eval.batch_size=3",
    "--config.eval.pictures=3",
]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache of compiled programs for all processes of this module."""
    return str(tmp_path_factory.mktemp("cache"))


@contextlib.contextmanager
def launched(workdir, cache, *arguments, count=2, devices=2, second=()):
    """Starts `python -m segnet_jax.main` in each process; `second` are arguments of process 1 alone."""
    port = free_port()
    own = [[], list(second)]
    commands = [
        ["-m", "segnet_jax.main", f"--workdir={workdir}", *flags(count, index, port), *arguments, *own[index]]
        for index in range(count)
    ]
    env = environment(devices, XDG_CACHE_HOME=cache)
    logs = workdir.with_name(f"{workdir.name}-logs")
    logs.mkdir(exist_ok=True)
    with started(commands, [env] * count, logs) as processes:
        yield processes


def run_two(workdir, cache, *arguments):
    """Runs two processes to their end and returns the output of process 0."""
    with launched(workdir, cache, *arguments) as processes:
        assert wait(processes) == [0, 0], errors(processes)
        assert errors(processes) == ["", ""]
        # Process 0 alone writes, but for JAX's collectives.
        lines = processes[1].out.read_text().splitlines()
        assert [line for line in lines if re.search(r"[a-z]", line) and "[Gloo]" not in line] == []
        return processes[0].out.read_text()


@contextlib.contextmanager
def local_devices(count):
    """Restricts this process to so many devices."""
    with pytest.MonkeyPatch.context() as patch:
        devices = jax.local_devices()[:count]
        patch.setattr(jax, "local_devices", lambda *arguments: devices)
        yield


def run_here(workdir, config, devices):
    with local_devices(devices):
        return train_and_evaluate(config, workdir)


def config_of(workdir):
    return from_dict(json.loads((workdir / "config.json").read_text()))


def losses_of(workdir):
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line["train/loss"] for line in lines if "train/loss" in line}


def report_of(workdir, name="val-6"):
    return json.loads((workdir / "eval" / f"{name}.json").read_text())


def state_of(workdir, step="latest"):
    config = config_of(workdir)
    template = checkpoint_template(build_model(config, 10), build_optimizer(config, lambda step: 0.0))
    with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
        found, saved, _ = checkpoints.restore(template, step)
    return found, saved["train_state"]


def assert_close(first, second):
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4, err_msg=str(path))


def assert_same_scores(first, second):
    """Asserts equal counts, and scores that may differ by a pixel or two, for the last bit of a float."""
    for key in ("images", "pixels", "void_pixels", "split", "step"):
        assert first[key] == second[key]
    assert [entry["pixels"] for entry in first["classes"]] == [entry["pixels"] for entry in second["classes"]]
    for key in ("global_accuracy", "class_accuracy", "mean_iou", "boundary_f1"):
        assert first[key] == pytest.approx(second[key], abs=2e-3), key


@pytest.fixture(scope="module")
def two(tmp_path_factory, cache):
    """The work directory of a run of two processes with two devices each."""
    workdir = tmp_path_factory.mktemp("processes") / "two"
    said = run_two(workdir, cache, *TINY)
    assert said.count("step 6/6") == 1
    return workdir


@pytest.mark.parametrize("devices", [4, 1])
def test_train_in_two_processes_learns_and_scores_as_in_one(two, tmp_path, devices):
    state = run_here(tmp_path / "one", config_of(two), devices)
    assert list(losses_of(two)) == [1, 2, 3, 4, 5, 6]
    assert losses_of(two) == pytest.approx(losses_of(tmp_path / "one"), rel=1e-4)
    step, found = state_of(two)
    assert step == 6
    assert_close(found, state)
    assert_same_scores(report_of(two), report_of(tmp_path / "one"))
    names = [
        sorted(path.relative_to(root).as_posix().split(".tfevents")[0] for path in [*root.glob("*"), *root.glob("*/*")])
        for root in (two, tmp_path / "one")
    ]
    assert names[0] == names[1], "the same files, each once"


def test_train_saves_on_a_signal_to_one_process_and_resumes_in_another_number(two, tmp_path, cache):
    workdir = tmp_path / "stopped"
    with launched(workdir, cache, *TINY) as processes:
        wait_for(processes[0], " million parameters")
        with pytest.raises(InputError, match="taken"), locked(workdir / ".lock", "taken"):
            pass
        processes[1].send_signal(signal.SIGTERM)
        assert wait(processes) == [128 + signal.SIGTERM] * 2, errors(processes)
        assert errors(processes) == ["", ""]
        step, _ = state_of(workdir)
        assert 1 <= step < 6
        assert f"Stopped by a signal; step {step} is saved." in processes[0].out.read_text()
    state = run_here(workdir, config_of(workdir), 1)
    assert_close(state_of(two)[1], state)
    assert_same_scores(report_of(two), report_of(workdir))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("second", "message"),
    [
        (
            "--config.train.batch_size=16",
            "process 1 has 16 as train.batch_size, process 0 has 8; start all processes with the same command, data "
            "and software.",
        ),
        (
            "--workdir={}",
            "process 1: --workdir={} is not the directory of process 0; choose one that all hosts share.",
        ),
    ],
)
def test_train_refuses_processes_with_different_commands(tmp_path, cache, second, message):
    with launched(tmp_path / "run", cache, *TINY, second=[second.format(tmp_path / "other")]) as processes:
        assert wait(processes) == [1, 1]
    assert errors(processes) == [f"error: {message.format(tmp_path / 'other')}\n", ""]


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_train_ends_when_a_process_is_killed_and_resumes(two, tmp_path, cache, killed):
    workdir = tmp_path / "killed"
    long = [*TINY, "--config.train.duration=2000 steps", "--config.train.eval_every=0 steps"]
    with launched(workdir, cache, *long) as processes:
        wait_for(processes[0], "step    5/2000")
        processes[killed].kill()
        wait(processes)
        assert_lost(processes[1 - killed], 1 - killed)
    before, _ = state_of(workdir)
    with launched(workdir, cache, *long) as processes:
        wait_for(processes[0], f"step {before + 3:4}/2000")
        assert f"Resuming at step {before} of 2000." in processes[0].out.read_text()
        processes[0].send_signal(signal.SIGTERM)
        assert wait(processes) == [128 + signal.SIGTERM] * 2
    assert state_of(workdir)[0] > before


@pytest.mark.slow
def test_train_resumes_bit_identical_in_the_same_layout_and_close_in_another(two, tmp_path, cache):
    with launched(tmp_path / "stopped", cache, *TINY) as processes:
        wait_for(processes[0], " million parameters")
        processes[0].send_signal(signal.SIGTERM)
        assert wait(processes) == [128 + signal.SIGTERM] * 2
    assert "Resuming at step" in run_two(tmp_path / "stopped", cache, *TINY)
    assert_identical(state_of(two), state_of(tmp_path / "stopped"))
    assert report_of(two) == report_of(tmp_path / "stopped")

    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit):
        stop_at(patch, 3, lambda: os.kill(os.getpid(), signal.SIGTERM))
        run_here(tmp_path / "one", config_of(two), 1)
    assert state_of(tmp_path / "one")[0] == 3
    assert "Resuming at step 3 of 6." in run_two(tmp_path / "one", cache, *TINY)
    assert_close(state_of(two), state_of(tmp_path / "one"))


@pytest.mark.slow
def test_train_stops_all_processes_on_a_loss_that_is_not_finite(tmp_path, cache):
    wild = ["--config.optimizer.learning_rate=1e30", "--config.train.duration=40 steps"]
    with launched(tmp_path / "run", cache, *TINY, *wild, "--config.optimizer.weight_decay=1") as processes:
        assert wait(processes) == [1, 1]
        first, second = errors(processes)
    assert first.startswith("error: The ")
    assert " is kept. " in first or "there is no checkpoint yet" in first
    assert (first.count("\n"), second) == (1, "")


@pytest.mark.slow
def test_train_passes_over_a_damaged_checkpoint_in_all_processes(two, tmp_path, cache):
    workdir = tmp_path / "damaged"
    shutil.copytree(two, workdir)
    for path in (workdir / "checkpoints" / "6" / "state").rglob("*"):
        if path.is_file() and path.stat().st_size > 1000:
            path.write_bytes(path.read_bytes()[:-500])
    (workdir / "eval" / "val-6.json").unlink()
    said = run_two(workdir, cache, *TINY)
    assert said.count("the checkpoint of step 6 is damaged") == 1
    assert "Resuming at step 4 of 6." in said
    assert_identical(state_of(two)[1], state_of(workdir)[1])


@pytest.mark.slow
def test_evaluation_in_two_processes_scores_as_in_one(two, tmp_path, cache):
    """With exact statistics of BatchNorm, the CRF, worker processes, and with missing input."""
    overrides = {"eval.checkpoint": "latest", "eval.batch_norm": "exact", "crf.enabled": True, "crf.iterations": 2}
    arguments = [f"--config.{key}={value}" for key, value in overrides.items()]
    said = run_two(two, cache, "--mode=eval", "--config.data.num_workers=1", *arguments)
    assert "Step 6 on synthetic (val):" in said
    found = report_of(two, "val-6-crf-exact")
    with local_devices(1):
        expected = evaluate_checkpoint(two, overrides)
    assert found["crf"] == expected["crf"]
    assert found["global_accuracy"] == pytest.approx(expected["global_accuracy"], abs=2e-3)
    assert found["boundary_f1"] == pytest.approx(expected["boundary_f1"], abs=2e-3)
    assert found["pixels"] == expected["pixels"]

    missing = ["--config.eval.missing_pixels=(0.0, 0.5)", "--config.eval.checkpoint=latest"]
    said = run_two(two, cache, "--mode=missing", *missing)
    assert said.count("50 % missing") == 1
    rows = json.loads((two / "eval" / "val-6-missing.json").read_text())["evaluations"]
    assert [row["missing_pixels"] for row in rows] == [0.0, 0.5]
    assert (two / "eval" / "val-6-missing.png").stat().st_size > 1000


@pytest.mark.slow
def test_layerwise_training_ablation_and_bayesian_samples_in_two_processes_agree_with_one(tmp_path, cache):
    flat = [
        *TINY,
        "--config.model.name=segnet_flat",
        "--config.model.pairs=2",
        "--config.train.procedure=layerwise",
        "--config.layerwise.duration=2 steps",
        "--config.layerwise.iterations=3",
        "--config.train.eval_every=0 steps",
    ]
    said = run_two(tmp_path / "flat", cache, *flat)
    assert "pair 2" in said
    run_here(tmp_path / "one", config_of(tmp_path / "flat"), 1)
    # A line search may take another turn for a float's last bit, so the second mini-batch is as far as this goes.
    first, second = losses_of(tmp_path / "flat"), losses_of(tmp_path / "one")
    assert first[2] == pytest.approx(second[2], rel=1e-2)
    assert run_two(tmp_path / "flat", cache, "--mode=ablation", "--config.eval.checkpoint=latest")
    (path,) = (tmp_path / "flat" / "ablation").glob("*.json")
    found = json.loads(path.read_text())
    with local_devices(1):
        assert found == study_features(tmp_path / "flat", {"eval.checkpoint": "latest"})

    dropout = [*TINY, "--config.model.dropout_rate=0.3", "--config.eval.samples=2"]
    run_two(tmp_path / "bayesian", cache, *dropout)
    run_here(tmp_path / "four", config_of(tmp_path / "bayesian"), 4)
    # The same places on the same number of devices, so the same activations are dropped.
    assert losses_of(tmp_path / "bayesian") == pytest.approx(losses_of(tmp_path / "four"), rel=1e-4)
    assert_same_scores(*(report_of(tmp_path / name, "val-6-samples2") for name in ("bayesian", "four")))
