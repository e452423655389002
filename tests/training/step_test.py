"""Tests for segnet_jax/training/step.py."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from segnet_jax.data import preprocessing
from segnet_jax.data.masking import Masking
from segnet_jax.models import create_model
from segnet_jax.runtime.sharding import replicate, to_devices
from segnet_jax.training import losses, optimizers
from segnet_jax.training.step import create_train_state, create_train_step

K = 4
WEIGHTS = jnp.asarray([0.5, 1.0, 2.0, 3.0])


def batches(count, size=8, height=12, width=10):
    rng = np.random.default_rng(0)
    for _ in range(count):
        labels = rng.integers(0, K + 1, (size, height, width), np.uint8)
        labels[labels == K] = 255
        # Devices get different numbers of labelled pixels, which only the global normaliser gets right.
        labels[0, : height // 2] = 255
        yield {"image": rng.integers(0, 256, (size, height, width, 3), np.uint8), "label": labels}


def run(
    num_devices, steps=3, parts=1, source=None, normalization="pixels", name="segnet_basic", step_options=None, **fields
):
    devices = jax.devices()[:num_devices]
    model = create_model(name, K, width_multiplier=1 / 16, axis_name="batch", **fields)
    optimizer = optimizers.create_optimizer(optax.constant_schedule(0.1), weight_decay=1e-3, momentum=0.9)
    step = create_train_step(
        devices=devices,
        model=model,
        optimizer=optimizer,
        normalize=preprocessing.imagenet,
        class_weights=WEIGHTS,
        loss_normalization=normalization,
        accumulation_steps=parts,
        seed=3,
        **(step_options or {}),
    )
    state = replicate(create_train_state(model, optimizer, seed=1), devices)
    metrics = []
    for batch in to_devices(iter(source or batches(steps)), devices):
        state, step_metrics = step(state, batch)
        metrics.append({name: float(value) for name, value in step_metrics.compute().items()})
    return jax.device_get(state), metrics


def assert_close(first, second, rtol=2e-4):
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * max(1e-3, np.abs(b).max()), err_msg=str(path))


@pytest.mark.parametrize("normalization", ["pixels", "weights"])
def test_train_step_gives_the_numbers_of_one_device_on_eight(normalization):
    one, one_metrics = run(1, normalization=normalization)
    eight, eight_metrics = run(8, normalization=normalization)
    assert int(one.step) == int(eight.step) == 3
    for a, b in zip(one_metrics, eight_metrics, strict=True):
        assert a == pytest.approx(b, rel=1e-4)
    assert_close(one.variables, eight.variables)


def test_train_step_has_the_loss_of_its_formula():
    _, metrics = run(2, steps=1)
    model = create_model("segnet_basic", K, width_multiplier=1 / 16)
    variables = model.init(jax.random.key(1), jnp.zeros((1, 32, 32, 3)))
    batch = next(batches(1))
    logits, _ = model.apply(variables, preprocessing.imagenet(batch["image"]), train=True, mutable=["batch_stats"])
    logits, labels = np.asarray(logits, np.float64).reshape(-1, K), batch["label"].ravel()
    logits, labels = logits[labels < K], labels[labels < K]
    nll = np.log(np.exp(logits).sum(-1)) - logits[np.arange(len(labels)), labels]
    assert metrics[0]["loss"] == pytest.approx((np.asarray(WEIGHTS)[labels] * nll).sum() / len(labels), rel=1e-4)
    assert metrics[0]["pixel_accuracy"] == pytest.approx((logits.argmax(-1) == labels).mean())


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


def test_train_step_without_a_labelled_pixel_gives_zero_loss_and_finite_parameters():
    blank = next(batches(1))
    blank["label"][:] = 255
    state, metrics = run(2, source=[blank])
    assert metrics[0]["loss"] == 0.0
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))


def test_train_step_draws_dropout_by_seed_step_and_device():
    first, first_metrics = run(2, dropout_rate=0.5)
    again, again_metrics = run(2, dropout_rate=0.5)
    assert first_metrics == again_metrics
    same = {key: np.concatenate([value[:1]] * 4) for key, value in next(batches(1)).items()}
    one, _ = run(1, steps=1, source=[same], dropout_rate=0.5)
    two, _ = run(2, steps=1, source=[same], dropout_rate=0.5)
    difference = jax.tree.map(lambda a, b: np.abs(a - b).max(), one.params, two.params)
    assert max(jax.tree.leaves(difference)) > 1e-6


@pytest.mark.parametrize("parts", [1, 2])
def test_train_step_moves_every_parameter_of_a_network_without_batch_norm(parts):
    state, metrics = run(2, steps=2, parts=parts, name="deeplab_largefov", batch_norm=False, dropout_rate=0.0)
    assert state.batch_stats == {}
    assert state.variables == {"params": state.params, "batch_stats": {}}
    model = create_model("deeplab_largefov", K, width_multiplier=1 / 16, batch_norm=False)
    start = create_train_state(model, optax.sgd(0.1), seed=1)
    for path, leaf in jax.tree_util.tree_leaves_with_path(start.params):
        moved = state.params[path[0].key][path[1].key] - leaf
        assert np.isfinite(moved).all()
        assert np.abs(moved).max() > 0, path
    assert np.isfinite(metrics[-1]["loss"])


def test_train_step_trains_segnet_flat_alike_on_one_device_and_two():
    state, metrics = run(2, name="segnet_flat", pairs=2)
    assert state.batch_stats == {}
    assert state.variables["batch_stats"] == {}
    one, one_metrics = run(1, name="segnet_flat", pairs=2)
    assert_close(one.params, state.params)
    assert [values["loss"] for values in metrics] == pytest.approx([values["loss"] for values in one_metrics], rel=1e-4)
    assert metrics[-1]["loss"] < metrics[0]["loss"]


def test_train_step_gives_parameters_that_are_not_trained_no_gradient():
    def is_trained(params):
        return {
            name: jax.tree.map(lambda _, name=name: name == "conv_classifier", leaf) for name, leaf in params.items()
        }

    _, everything = run(1, steps=1)
    _, classifier = run(1, steps=1, step_options={"is_trained": is_trained})
    model = create_model("segnet_basic", K, width_multiplier=1 / 16)
    variables = model.init(jax.random.key(1), jnp.zeros((1, 32, 32, 3)))
    batch = next(batches(1))

    def loss(classifier):
        params = {**variables["params"], "conv_classifier": classifier}
        logits, _ = model.apply(
            {**variables, "params": params}, preprocessing.imagenet(batch["image"]), train=True, mutable=["batch_stats"]
        )
        return losses.cross_entropy(logits, batch["label"], WEIGHTS) / (batch["label"] < K).sum()

    gradient = jax.grad(loss)(variables["params"]["conv_classifier"])
    assert classifier[0]["gradient_norm"] == pytest.approx(float(optax.tree.norm(gradient)), rel=1e-3)
    assert classifier[0]["gradient_norm"] < everything[0]["gradient_norm"]
    assert classifier[0]["loss"] == pytest.approx(everything[0]["loss"], rel=1e-5)


def test_train_step_masks_its_input_and_repeats_by_seed():
    same = next(batches(1))
    options = {"source": [same, same], "step_options": {"masking": Masking(pixels=(0.5, 0.5))}, "name": "segnet_flat"}
    _, metrics = run(2, pairs=1, **options)
    _, again_metrics = run(2, pairs=1, **options)
    assert metrics == again_metrics
    _, plain_metrics = run(2, pairs=1, source=[same, same], name="segnet_flat")
    assert metrics[0]["loss"] != pytest.approx(plain_metrics[0]["loss"], rel=1e-4)
