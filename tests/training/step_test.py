"""Tests for segnet_jax/training/step.py."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from segnet_jax.data import preprocessing
from segnet_jax.data.masking import Masking
from segnet_jax.models import create_model
from segnet_jax.runtime.sharding import replicate, to_devices
from segnet_jax.training import optimizers
from segnet_jax.training.objective import Objective
from segnet_jax.training.step import create_train_state, create_train_step, with_averages
from tests.helpers.networks import logits_of

K = 4
WEIGHTS = np.asarray([0.5, 1.0, 2.0, 3.0], np.float32)
RATE, DECAY = 0.1, 1e-3


def batches(count, size=8, height=12, width=10):
    rng = np.random.default_rng(0)
    for _ in range(count):
        labels = rng.integers(0, K + 1, (size, height, width), np.uint8)
        labels[labels == K] = 255
        # Devices get different numbers of labelled pixels, which only the global normaliser gets right.
        labels[0, : height // 2] = 255
        yield {"image": rng.integers(0, 256, (size, height, width, 3), np.uint8), "label": labels}


@functools.cache
def model_of(name, **fields):
    return create_model(name, K, width_multiplier=1 / 16, axis_name="batch", **fields)


def optimizer_of():
    return optimizers.create_optimizer(optax.constant_schedule(RATE), weight_decay=DECAY, momentum=0.9)


@functools.cache
def initial_state(model):
    return jax.device_get(create_train_state(model, optimizer_of(), seed=1))


@functools.cache
def step_of(model, num_devices, parts, objective=(), **options):
    return create_train_step(
        devices=jax.devices()[:num_devices],
        model=model,
        optimizer=optimizer_of(),
        normalize=preprocessing.imagenet,
        objective=Objective(jnp.asarray(WEIGHTS), **dict(objective)),
        accumulation_steps=parts,
        seed=3,
        **options,
    )


def run(num_devices, steps=3, *, parts=1, source=None, model=None, **options):
    """Returns the state after some steps, and the metrics of each."""
    devices = jax.devices()[:num_devices]
    model = model or model_of("segnet_basic")
    step = step_of(model, num_devices, parts, **options)
    state, metrics = replicate(initial_state(model), devices), []
    for batch in to_devices(iter(source or batches(steps)), devices):
        state, step_metrics = step(state, batch)
        metrics.append({name: float(value) for name, value in step_metrics.compute().items()})
    return jax.device_get(state), metrics


def assert_close(first, second, rtol=2e-4):
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * max(1e-3, np.abs(b).max()), err_msg=str(path))


def test_train_step_gives_the_numbers_of_one_device_on_two():
    one, one_metrics = run(1)
    two, two_metrics = run(2)
    assert int(one.step) == int(two.step) == 3
    for a, b in zip(one_metrics, two_metrics, strict=True):
        assert a == pytest.approx(b, rel=1e-4)
    assert_close(one.variables, two.variables)


@pytest.mark.parametrize("normalization", ["pixels", "weights"])
def test_train_step_has_the_loss_of_its_formula(normalization):
    model = model_of("segnet_flat", pairs=2)
    _, (metrics,) = run(2, 1, model=model, objective=(("normalization", normalization),))
    batch = next(batches(1))
    logits = logits_of(model, {"params": initial_state(model).params}, preprocessing.imagenet(batch["image"]))
    logits, labels = np.asarray(logits, np.float64).reshape(-1, K), batch["label"].ravel()
    logits, labels = logits[labels < K], labels[labels < K]
    nll = np.log(np.exp(logits).sum(-1)) - logits[np.arange(len(labels)), labels]
    total = len(labels) if normalization == "pixels" else WEIGHTS[labels].sum()
    assert metrics["loss"] == pytest.approx((WEIGHTS[labels] * nll).sum() / total, rel=1e-4)
    assert metrics["pixel_accuracy"] == pytest.approx((logits.argmax(-1) == labels).mean())


def test_train_step_over_equal_microbatches_is_one_step_on_one_of_them():
    # BatchNorm sees each part by itself, so only equal parts make the same step.
    part = next(batches(1, size=2))
    whole = {key: np.concatenate([value, value, value]) for key, value in part.items()}
    once, once_metrics = run(1, source=[part])
    parts, parts_metrics = run(1, source=[whole], parts=3)
    assert once_metrics[0] == pytest.approx(parts_metrics[0], rel=1e-5)
    assert_close(once.params, parts.params)
    # The running averages take each part's statistics: 1 - 0.9 ** 3 of them after three parts, 1 - 0.9 after one.
    mean_once, mean_parts = (state.batch_stats["conv1_bn"]["mean"] for state in (once, parts))
    np.testing.assert_allclose(mean_parts, mean_once * (1 - 0.9**3) / (1 - 0.9), rtol=1e-4, atol=1e-6)


def test_train_step_without_batch_norm_is_the_same_on_devices_and_microbatches():
    model = model_of("segnet_flat", pairs=2)
    one, one_metrics = run(1, model=model)
    other, metrics = run(2, model=model, parts=2)
    assert other.variables["batch_stats"] == {}
    assert_close(one.params, other.params)
    assert [values["loss"] for values in metrics] == pytest.approx([values["loss"] for values in one_metrics], rel=1e-4)
    assert metrics[-1]["loss"] < metrics[0]["loss"]


def test_train_step_keeps_averages_of_all_variables():
    model, devices = model_of("segnet_basic"), jax.devices()[:2]
    step = step_of(model, 2, 1, average_decay=0.25)
    state = replicate(jax.device_get(with_averages(initial_state(model))), devices)
    expected = initial_state(model).variables
    # (1 + n) / (10 + n) of the first three steps is 2 / 11, 3 / 12 and 4 / 13.
    for decay, batch in zip((2 / 11, 0.25, 0.25), to_devices(batches(3), devices), strict=True):
        state, _ = step(state, batch)
        now = jax.device_get(state)
        expected = jax.tree.map(lambda a, b, d=decay: d * a + (1 - d) * b, expected, now.variables)
        assert_close(now.averages, expected, rtol=1e-5)
    assert_close(now.variables, run(2)[0].variables)
    assert now.eval_variables is now.averages


def test_train_step_without_a_labelled_pixel_gives_zero_loss_and_finite_parameters():
    blank = next(batches(1))
    blank["label"][:] = 255
    state, metrics = run(2, source=[blank])
    assert metrics[0]["loss"] == 0.0
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))


def test_train_step_draws_dropout_by_seed_and_device():
    model = model_of("segnet_basic", dropout_rate=0.5)
    first, first_metrics = run(2, model=model)
    _, again_metrics = run(2, model=model)
    assert first_metrics == again_metrics
    # Devices that drew the same would give the same whichever of them sees which images.
    batch = next(batches(1))
    swapped = {key: np.concatenate([value[4:], value[:4]]) for key, value in batch.items()}
    one, other = (run(2, model=model, source=[source])[0].params for source in (batch, swapped))
    assert max(jax.tree.leaves(jax.tree.map(lambda a, b: np.abs(a - b).max(), one, other))) > 1e-4


def is_classifier(params):
    return {name: jax.tree.map(lambda _, name=name: name == "conv_classifier", leaf) for name, leaf in params.items()}


def test_train_step_gives_parameters_that_are_not_trained_no_gradient():
    model = model_of("segnet_basic")
    everything, (everything_metrics,) = run(1, 1)
    _, (metrics,) = run(1, 1, is_trained=is_classifier)
    before, after = (params["conv_classifier"] for params in (initial_state(model).params, everything.params))
    slopes = {name: (before[name] - after[name]) / RATE for name in before}
    slopes["kernel"] -= DECAY * before["kernel"]
    assert metrics["gradient_norm"] == pytest.approx(float(optax.tree.norm(slopes)), rel=1e-3)
    assert metrics["gradient_norm"] < everything_metrics["gradient_norm"]
    assert metrics["loss"] == pytest.approx(everything_metrics["loss"], rel=1e-5)


def test_train_step_masks_its_input_and_repeats_by_seed():
    model, masking = model_of("segnet_flat", pairs=2), Masking(pixels=(0.5, 0.5))
    _, metrics = run(1, model=model, masking=masking)
    assert run(1, model=model, masking=masking)[1] == metrics
    assert metrics[0]["loss"] != pytest.approx(run(1, model=model)[1][0]["loss"], rel=1e-4)


def test_train_step_has_every_loss_the_same_on_devices_and_microbatches():
    # Each image counts once in dice and lovasz, wherever it is computed; one has no label at all.
    model = model_of("segnet_flat", pairs=2)
    terms = (("cross_entropy", 1.0), ("focal", 0.5), ("dice", 1.0), ("lovasz", 2.0))
    objective = (("terms", terms), ("label_smoothing", 0.1))
    source = list(batches(2))
    for batch in source:
        batch["label"][3] = 255
    one, one_metrics = run(1, source=source, model=model, objective=objective)
    for devices, parts in ((8, 1), (2, 4)):
        other, metrics = run(devices, source=source, model=model, parts=parts, objective=objective)
        assert_close(one.params, other.params)
        assert [values["loss"] for values in metrics] == pytest.approx(
            [values["loss"] for values in one_metrics], rel=1e-4
        )
