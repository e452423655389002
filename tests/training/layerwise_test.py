"""Tests for segnet_jax/training/layerwise.py: stages, mini-batches, and whole runs."""

import functools
import json
import os
import shutil
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segnet_jax.checkpoint.manager import Checkpoints
from segnet_jax.data import preprocessing
from segnet_jax.data.datasets.synthetic import SyntheticScenes
from segnet_jax.data.masking import Masking
from segnet_jax.errors import InputError
from segnet_jax.evaluation.eval_only import evaluate_checkpoint
from segnet_jax.inference.trained_model import load_trained
from segnet_jax.models.segnet_flat import SegNetFlat
from segnet_jax.runtime.sharding import replicate, to_devices
from segnet_jax.training import layerwise
from segnet_jax.training.layerwise import Stage, stages_of
from segnet_jax.training.loop import train_and_evaluate
from segnet_jax.training.step import TrainState
from tests.helpers.networks import logits_of, random_variables
from tests.helpers.runs import assert_identical, stop_at
from tests.helpers.tiny_config import make_tiny_config

K = 3
MODEL = SegNetFlat(num_classes=K, width_multiplier=1 / 16, pairs=3)
WEIGHTS = jnp.asarray([0.5, 1.0, 2.0])

P, C, PC = (True, False), (False, True), (True, True)


@pytest.mark.parametrize(
    ("pairs", "classifier", "first_pair", "expected"),
    [
        (4, "joint", 1, [(1, *PC), (2, *P), (3, *P), (4, *P)]),
        (3, "first", 1, [(1, *C), (1, *P), (2, *P), (3, *P)]),
        (3, "every", 1, [(1, *PC), (2, *PC), (3, *PC)]),
        (2, "last", 1, [(1, *P), (2, *P), (2, *C)]),
        (2, "never", 1, [(1, *P), (2, *P)]),
        # From another run's network: its deepest pair alone, with the classifier as it is; or the classifier alone.
        (4, "never", 4, [(4, *P)]),
        (4, "joint", 3, [(3, *PC), (4, *P)]),
        (4, "first", 4, [(3, *C), (4, *P)]),
        (4, "last", 5, [(4, *C)]),
    ],
)
def test_stages_of_gives_the_stages_in_order(pairs, classifier, first_pair, expected):
    assert stages_of(pairs, classifier, first_pair) == tuple(Stage(*fields) for fields in expected)


def test_stage_names_its_layers():
    assert Stage(2, *P).layers("head") == {"conv2", "conv_decode2"}
    assert Stage(2, *C).layers("head") == {"head", "head_hidden"}
    assert str(Stage(2, *PC)) == "pair 2 and the classifier"


def test_stages_of_refuses_a_first_pair_beyond_the_last():
    with pytest.raises(InputError, match="layerwise.first_pair=5 is beyond the 4 pairs"):
        stages_of(4, "joint", 5)


def batch_of(size=4, height=10, width=13, channels=3, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, K + 1, (size, height, width), np.uint8)
    labels[labels == K] = 255
    # Devices get different numbers of labelled pixels, which only the global normaliser gets right.
    labels[0, : height // 2] = 255
    return {"image": rng.integers(0, 256, (size, height, width, channels), np.uint8), "label": labels}


@functools.cache
def initial_state(model=MODEL, channels=3):
    params = random_variables(model, channels)["params"]
    return TrainState(step=jnp.zeros((), jnp.int32), params=params, batch_stats={}, opt_state=())


@functools.cache
def step_of(stage, num_devices, model, *, labels=True, iterations=4, **options):
    return layerwise.create_minibatch_step(
        devices=jax.devices()[:num_devices],
        model=model,
        stage=stage,
        normalize=preprocessing.imagenet if labels else preprocessing.lcn,
        class_weights=WEIGHTS if labels else None,
        iterations=iterations,
        **options,
    )


def run(stage, steps=1, num_devices=1, model=MODEL, batch=None, **options):
    """Returns the state after some steps on one mini-batch, and the metrics of each."""
    devices, batch = jax.devices()[:num_devices], batch or batch_of()
    step = step_of(stage, num_devices, model, **options)
    (sent,) = to_devices(iter([batch]), devices)
    state, metrics = replicate(initial_state(model, batch["image"].shape[-1]), devices), []
    for _ in range(steps):
        state, step_metrics = step(state, sent)
        metrics.append({name: float(value) for name, value in step_metrics.compute().items()})
    return jax.device_get(state), metrics


@pytest.mark.parametrize(
    ("stage", "trained"),
    [
        (Stage(1, *PC), ("conv1", "conv_classifier", "conv_decode1")),
        (Stage(2, *P), ("conv2", "conv_decode2")),
        (Stage(3, *C), ("conv_classifier",)),
    ],
    ids=str,
)
def test_minibatch_step_trains_the_layers_of_its_stage_and_never_raises_the_loss(stage, trained):
    state, metrics = run(stage, steps=5, loss_normalization="pixels")
    start = initial_state().params
    assert int(state.step) == 5
    assert state.params.keys() == start.keys()
    changed = {
        name for name, layer in state.params.items() if layer["kernel"].tobytes() != start[name]["kernel"].tobytes()
    }
    assert changed == set(trained)
    # The mini-batch is the same each time, so every step begins where the one before ended.
    for before, after in zip(metrics[:-1], metrics[1:], strict=True):
        assert after["initial_loss"] == pytest.approx(before["loss"], rel=1e-5)
    for values in metrics:
        assert values["loss"] <= values["initial_loss"]
        assert 0 <= values["iterations"] <= 4
    assert metrics[-1]["loss"] < metrics[0]["initial_loss"] - 5e-3


def cross_entropies_of(batch, params, pairs, known=None):
    """Returns each labelled pixel's cross-entropy in float64, with its class weight, and these weights."""
    images = preprocessing.imagenet(batch["image"], known)
    logits = np.asarray(logits_of(MODEL.clone(pairs=pairs), {"params": params}, images), np.float64)
    labelled = batch["label"] < K
    labels, logits = batch["label"][labelled], logits[labelled]
    weights = np.asarray(WEIGHTS, np.float64)[labels]
    return weights * (np.log(np.exp(logits).sum(-1)) - logits[np.arange(len(labels)), labels]), weights


@pytest.mark.parametrize("normalization", ["pixels", "weights"])
def test_minibatch_step_has_the_loss_of_its_formula_at_the_depth_of_the_stage(normalization):
    state, (metrics,) = run(Stage(2, *P), loss_normalization=normalization)
    for params, key in ((initial_state().params, "initial_loss"), (state.params, "loss")):
        losses, weights = cross_entropies_of(batch_of(), params, pairs=2)
        total = len(losses) if normalization == "pixels" else weights.sum()
        assert metrics[key] == pytest.approx(losses.sum() / total, rel=1e-4)


def test_minibatch_step_on_several_devices_and_microbatches_differs_by_roundings_alone():
    whole, (whole_metrics,) = run(Stage(2, *P), loss_normalization="weights")
    other, (other_metrics,) = run(Stage(2, *P), num_devices=2, accumulation_steps=2, loss_normalization="weights")
    assert other_metrics == pytest.approx(whole_metrics, rel=2e-3)
    for a, b in zip(jax.tree.leaves(whole.params), jax.tree.leaves(other.params), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-3)


def test_minibatch_step_without_a_labelled_pixel_changes_nothing():
    blank = batch_of()
    blank["label"][:] = 255
    state, (metrics,) = run(Stage(1, *PC), batch=blank, loss_normalization="pixels")
    assert (metrics["initial_loss"], metrics["loss"]) == (0.0, 0.0)
    assert_identical(state.params, jax.device_get(initial_state().params))


def test_minibatch_step_without_labels_lowers_the_mean_squared_error_of_the_input():
    model = SegNetFlat(num_classes=4, width_multiplier=1 / 16, pairs=2, head=layerwise.RECONSTRUCTION_HEAD)
    batch = batch_of(channels=4)
    state, metrics = run(Stage(1, *PC), 3, model=model, batch=batch, labels=False, iterations=10)
    inputs = np.asarray(preprocessing.lcn(batch["image"]))
    errors = []
    for params in (initial_state(model, 4).params, state.params):
        outputs = logits_of(model.clone(pairs=1), {"params": params}, inputs)
        errors.append(np.square(np.asarray(outputs) - inputs).mean())
    assert metrics[0]["initial_loss"] == pytest.approx(errors[0], rel=1e-4)
    # The line search likes to end where a maximum is about to change places, and roundings decide which side it is.
    assert metrics[-1]["loss"] == pytest.approx(errors[1], rel=0.1)
    # Zero everywhere would have the mean square of the input as its error.
    assert errors[1] < 0.8 * np.square(inputs).mean()


def test_minibatch_step_draws_one_mask_for_all_its_iterations_and_another_in_the_next_step():
    masking = Masking(pixels=(0.5, 0.5))
    _, metrics = run(Stage(1, *PC), 3, masking=masking, seed=4)
    _, again = run(Stage(1, *PC), 3, masking=masking, seed=4)
    assert metrics == again
    assert all(values["loss"] < values["initial_loss"] for values in metrics)
    assert abs(metrics[1]["initial_loss"] / metrics[0]["loss"] - 1) > 1e-3
    # What the first step sees is what `Masking` draws with the step's key.
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(4), 0), 0)
    batch = batch_of()
    losses, _ = cross_entropies_of(batch, initial_state().params, pairs=1, known=masking(key, batch["image"]))
    assert metrics[0]["initial_loss"] == pytest.approx(losses.mean(), rel=1e-4)


def tiny_run_config():
    config = make_tiny_config()
    config.data.train_scenes = 12
    config.data.eval_scenes = 3
    config.preprocessing = "lcn"
    config.model.name = "segnet_flat"
    config.model.pairs = 2
    config.loss.class_weights = "inverse_frequency"
    config.train.procedure = "layerwise"
    config.train.with_replacement = True
    config.train.log_every = "1 steps"
    config.train.eval_every = "0 steps"
    config.train.checkpoint_every = "1 steps"
    config.layerwise.duration = "3 steps"
    config.layerwise.classifier = "joint"
    config.layerwise.iterations = 3
    config.eval.pictures = 1
    return config


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Returns the work directory and the last state of a finished run, to be read only."""
    workdir = tmp_path_factory.mktemp("whole")
    return workdir, train_and_evaluate(tiny_run_config(), workdir)


def test_layerwise_run_evaluates_after_each_depth(whole):
    workdir, state = whole
    assert int(state.step) == 6
    for step in (3, 6):
        report = json.loads((workdir / "eval" / f"val-{step}.json").read_text())
        assert (report["step"], report["images"]) == (step, 3)
        assert (workdir / "eval" / f"val-{step}.png").stat().st_size > 500
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "val/mean_iou" in line] == [3, 6]
    losses = [line for line in lines if "train/initial_loss" in line]
    assert all(line["train/loss"] < line["train/initial_loss"] for line in losses)
    assert not any("train/learning_rate" in line for line in lines)
    with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
        assert checkpoints.read_metadata(6)["model"] == {"pairs": 2}


def test_layerwise_run_keeps_the_network_of_each_depth(whole, tmp_path, caplog):
    workdir, state = shutil.copytree(whole[0], tmp_path / "run"), whole[1]
    with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
        assert checkpoints.steps() == [3, 5, 6]
        # The best one is of the last depth, whatever the score of the first.
        assert checkpoints.best_step() == 6
    before = json.loads((workdir / "eval" / "val-3.json").read_text())
    with caplog.at_level("INFO", "segnet_jax"):
        report = evaluate_checkpoint(workdir, {"eval.checkpoint": "3"})
    assert f"Step 3 of {workdir} has trained 1 of 2 pairs." in caplog.messages
    assert report["mean_iou"] == pytest.approx(before["mean_iou"])
    params = load_trained(workdir, {"eval.checkpoint": "3"}).variables["params"]
    assert params.keys() == {"conv1", "conv_decode1", "conv_classifier"}
    # What the second stage does not train stays as the first has left it.
    for name, layer in params.items():
        assert layer["kernel"].tobytes() == state.params[name]["kernel"].tobytes()


def test_layerwise_run_refuses_a_source_with_untrained_pairs(whole, tmp_path):
    config = tiny_run_config()
    config.layerwise.classifier = "last"
    config.layerwise.first_pair = 3
    config.transfer.source = str(whole[0])
    config.transfer.checkpoint = "3"
    with pytest.raises(InputError, match=r"conv2/kernel: expected .*, found none; conv_decode2/kernel"):
        train_and_evaluate(config, tmp_path)


@pytest.mark.parametrize("step", [2, pytest.param(4, marks=pytest.mark.ci)])
def test_layerwise_run_resumes_to_identical_parameters(whole, tmp_path, monkeypatch, step):
    with monkeypatch.context() as patch:
        # In the middle of the first stage, and in the first step of the second.
        stop_at(patch, step, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(SystemExit):
            train_and_evaluate(tiny_run_config(), tmp_path)
    with Checkpoints(tmp_path / "checkpoints", read_only=True) as checkpoints:
        assert checkpoints.latest_step() == step
        assert checkpoints.read_metadata(step)["model"] == {"pairs": 1 if step <= 3 else 2}
    if step == 2:
        # A checkpoint in the middle of a stage gives a network that labels, of the depth so far.
        trained = load_trained(tmp_path, {"eval.checkpoint": "latest"})
        assert trained.model.pairs == 1
        report = evaluate_checkpoint(tmp_path, {"eval.checkpoint": "latest"})
        assert report["pixels"] > 0
    assert_identical(whole[1], train_and_evaluate(tiny_run_config(), tmp_path))
    reports = [json.loads((workdir / "eval" / "val-6.json").read_text()) for workdir in (whole[0], tmp_path)]
    assert reports[0] == reports[1]


@pytest.mark.ci
def test_layerwise_run_learns_reconstruction_then_labels(tmp_path, caplog):
    config = tiny_run_config()
    config.layerwise.target = "input"
    config.layerwise.iterations = 8
    train_and_evaluate(config, tmp_path / "unsupervised")
    reports = [json.loads((tmp_path / "unsupervised" / "eval" / f"val-{step}.json").read_text()) for step in (3, 6)]
    assert reports[0]["explained_variance"] > 0.2
    assert reports[1]["explained_variance"] != reports[0]["explained_variance"], "each depth has a score of its own"
    with pytest.raises(InputError, match="reconstructs its input and knows no classes"):
        evaluate_checkpoint(tmp_path / "unsupervised")
    caplog.set_level("INFO", logger="segnet_jax")
    train_and_evaluate(config, tmp_path / "unsupervised")
    assert any("explained variance" in message for message in caplog.messages), "a finished run prints its report"

    supervised = tiny_run_config()
    supervised.layerwise.classifier = "last"
    supervised.layerwise.first_pair = 3
    supervised.transfer.source = str(tmp_path / "unsupervised")
    with pytest.raises(InputError, match="conv_classifier/kernel: expected .*, found none"):
        train_and_evaluate(supervised, tmp_path / "labels")
    supervised.transfer.fresh = "conv_classifier/kernel"
    state = train_and_evaluate(supervised, tmp_path / "labels")
    pretrained = load_trained(tmp_path / "unsupervised", {"eval.checkpoint": "latest"}).variables["params"]
    assert state.params["conv2"]["kernel"].tobytes() == pretrained["conv2"]["kernel"].tobytes()
    assert json.loads((tmp_path / "labels" / "eval" / "val-3.json").read_text())["mean_iou"] > 0


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model.name", "segnet_basic", "train.procedure=layerwise trains model.name=segnet_flat, not segnet_basic"),
        ("transfer.frozen", "conv1.*", "layerwise.first_pair and layerwise.classifier"),
        ("layerwise.first_pair", 2, "takes the pairs before it from transfer.source"),
        ("layerwise.classifier", "sometimes", "layerwise.classifier='sometimes' is not known"),
        ("layerwise.duration", "0 steps", "layerwise.duration must be at least one step"),
    ],
)
def test_layerwise_run_refuses_a_configuration_that_makes_no_sense(tmp_path, key, value, message):
    config = tiny_run_config()
    config.update_from_flattened_dict({key: value})
    if key == "model.name":
        config.model.pairs = 4
    with pytest.raises(InputError, match=message):
        train_and_evaluate(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.ci
def test_minibatch_step_overfits_two_scenes():
    examples = [SyntheticScenes("train", (16, 24), 2)[i] for i in range(2)]
    batch = {key: np.stack([example[key] for example in examples]) for key in ("image", "label")}
    model = SegNetFlat(num_classes=10, width_multiplier=1 / 8, pairs=2)
    devices, options = jax.devices()[:1], {"normalize": preprocessing.lcn, "class_weights": jnp.ones(10)}
    state = replicate(initial_state(model), devices)
    (sent,) = to_devices(iter([batch]), devices)
    for stage in stages_of(2, "joint"):
        step = layerwise.create_minibatch_step(devices=devices, model=model, stage=stage, iterations=30, **options)
        state, _ = step(state, sent)
        params = jax.device_get(state.params)
        logits = logits_of(model.clone(pairs=stage.pairs), {"params": params}, preprocessing.lcn(batch["image"]))
        assert (np.asarray(logits).argmax(-1) == batch["label"]).mean() > 0.97
