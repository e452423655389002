"""Tests for segnet_jax/training/optimizers.py."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segnet_jax.errors import InputError
from segnet_jax.models import MODELS, create_model
from segnet_jax.training.optimizers import SCHEDULES, create_optimizer, create_schedule, is_one_of

_PARAMS = {
    "conv": {"kernel": jnp.array([[1.0, -2.0], [0.5, 4.0]]), "bias": jnp.array([3.0, -1.0])},
    "conv_bn": {"scale": jnp.array([1.5, 0.5]), "bias": jnp.array([0.25, 2.0])},
}


def rates(schedule, steps):
    return [float(schedule(step)) for step in steps]


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("constant", {}, {0: 0.2, 5: 0.2, 9: 0.2}),
        ("poly", {}, {0: 0.2, 5: 0.2 * 0.5**0.9, 9: 0.2 * 0.1**0.9, 10: 0}),
        ("poly", {"poly_power": 2.0}, {0: 0.2, 5: 0.05, 9: 0.002, 10: 0}),
        ("cosine", {}, {0: 0.2, 5: 0.1, 9: 0.1 * (1 + math.cos(0.9 * math.pi)), 10: 0}),
        ("step", {"step_every": 4}, {0: 0.2, 3: 0.2, 4: 0.02, 7: 0.02, 8: 0.002, 9: 0.002}),
        ("step", {"step_every": 3, "step_factor": 0.5}, {2: 0.2, 3: 0.1, 6: 0.05, 9: 0.025}),
        # Four steps of warm-up: quarters of the rate; what follows counts from there, over six steps.
        ("constant", {"warmup_steps": 4}, {0: 0.05, 1: 0.1, 2: 0.15, 3: 0.2, 4: 0.2, 9: 0.2}),
        ("poly", {"warmup_steps": 4, "poly_power": 1.0}, {0: 0.05, 3: 0.2, 4: 0.2, 7: 0.1, 9: 0.2 / 6, 10: 0}),
        ("cosine", {"warmup_steps": 4}, {0: 0.05, 3: 0.2, 4: 0.2, 7: 0.1, 10: 0}),
        ("step", {"warmup_steps": 4, "step_every": 3}, {2: 0.15, 3: 0.2, 4: 0.2, 6: 0.2, 7: 0.02, 9: 0.02}),
        ("poly", {"warmup_steps": 1, "poly_power": 1.0}, {0: 0.2, 1: 0.2, 4: 0.2 * 6 / 9, 10: 0}),
        # Cycles of four steps, the last one cut short.
        ("poly", {"cycles": 3, "poly_power": 1.0}, {0: 0.2, 3: 0.05, 4: 0.2, 7: 0.05, 8: 0.2, 9: 0.15}),
        ("cosine", {"cycles": 2, "warmup_steps": 1}, {0: 0.2, 1: 0.2, 3: 0.1, 5: 0.2, 6: 0.2, 8: 0.1}),
        ("step", {"cycles": 2, "warmup_steps": 2, "step_every": 2}, {0: 0.1, 3: 0.2, 4: 0.02, 5: 0.1, 9: 0.02}),
    ],
)
def test_create_schedule_by_hand(name, options, expected):
    schedule = create_schedule(name, learning_rate=0.2, total_steps=10, **options)
    np.testing.assert_allclose(rates(schedule, expected), list(expected.values()), rtol=1e-5, atol=1e-8)


@settings(deadline=None, max_examples=15)
@given(
    name=st.sampled_from(SCHEDULES),
    total=st.integers(2, 40),
    warmup=st.floats(0, 0.9),
    rate=st.floats(1e-4, 1, allow_subnormal=False),
)
def test_create_schedule_rises_in_the_warm_up_and_never_after(name, total, warmup, rate):
    warmup_steps = int(warmup * total)
    schedule = create_schedule(name, learning_rate=rate, total_steps=total, warmup_steps=warmup_steps, step_every=3)
    values = np.array(rates(schedule, range(total)))
    assert np.isfinite(values).all()
    assert (values > 0).all()
    assert values.max() <= rate * (1 + 1e-5)
    np.testing.assert_allclose(
        values[:warmup_steps], rate * np.arange(1, warmup_steps + 1) / max(1, warmup_steps), rtol=1e-4
    )
    np.testing.assert_allclose(values[warmup_steps], rate, rtol=1e-5)
    assert (np.diff(values[warmup_steps:]) <= 1e-6 * rate).all()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("linear", {}, "optimizer.schedule='linear'.*constant, poly, cosine, step"),
        ("cosine", {"cycles": 0}, "optimizer.cycles=0 .*10 steps"),
        ("cosine", {"cycles": 11}, "optimizer.cycles=11 .*10 steps"),
        ("step", {}, "optimizer.step_every"),
        ("step", {"step_every": 2, "step_factor": 0.0}, "optimizer.step_factor"),
        ("step", {"step_every": 2, "step_factor": 2.0}, "optimizer.step_factor"),
    ],
)
def test_create_schedule_refuses_values_that_make_no_sense(name, options, message):
    with pytest.raises(InputError, match=message):
        create_schedule(name, learning_rate=0.1, total_steps=10, **options)


@pytest.mark.parametrize(
    ("warmup_steps", "cycles", "expected", "message"),
    [
        (39, 1, 39, None),
        (40, 1, 4, "optimizer.warmup is 4 steps in place of 40: the run has 40."),
        (500, 1, 4, "optimizer.warmup is 4 steps in place of 500: the run has 40."),
        (19, 2, 19, None),
        (20, 2, 2, "optimizer.warmup is 2 steps in place of 20: each of the 2 cycles has 20."),
        # A cycle of less than ten steps has none.
        (30, 8, 0, "optimizer.warmup is 0 steps in place of 30: each of the 8 cycles has 5."),
    ],
)
def test_create_schedule_shortens_a_warm_up_that_is_as_long_as_the_run(warmup_steps, cycles, expected, message, caplog):
    caplog.set_level("INFO", logger="segnet_jax")
    schedule = create_schedule("constant", learning_rate=0.2, total_steps=40, warmup_steps=warmup_steps, cycles=cycles)
    ramp = [0.2 * step / expected for step in range(1, expected + 1)]
    np.testing.assert_allclose(rates(schedule, range(expected + 1)), [*ramp, 0.2], rtol=1e-5)
    assert caplog.messages == ([message] if message else [])


def gradients(step):
    """Returns gradients that differ from step to step."""
    return jax.tree.map(lambda leaf: jnp.cos(leaf + step), _PARAMS)


def train(optimizer, steps=4):
    @jax.jit
    def update(params, state, step):
        updates, state = optimizer.update(gradients(step), state, params)
        return optax.apply_updates(params, updates), state

    params, state = _PARAMS, optimizer.init(_PARAMS)
    for step in range(steps):
        params, state = update(params, state, step)
    return params


def train_by_hand(
    schedule,
    steps=4,
    *,
    momentum=0.0,
    nesterov=False,
    weight_decay=0.0,
    clip_norm=0.0,
    decay_scale=False,
    decay_shift=False,
    bias_rate=1.0,
):
    """Clips, decays, adds momentum and steps, in this order and in float64."""
    decayed = {("conv", "kernel"): True, ("conv_bn", "scale"): decay_scale, ("conv_bn", "bias"): decay_shift}
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), _PARAMS)
    velocity = jax.tree.map(np.zeros_like, params)
    for step in range(steps):
        slopes = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), gradients(step))
        norm = math.sqrt(sum((leaf**2).sum() for leaf in jax.tree.leaves(slopes)))
        for layer, leaves in params.items():
            for name in leaves:
                slope = slopes[layer][name]
                if clip_norm and norm > clip_norm:
                    slope = slope * clip_norm / norm
                if decayed.get((layer, name)):
                    slope = slope + weight_decay * leaves[name]
                velocity[layer][name] = momentum * velocity[layer][name] + slope
                direction = slope + momentum * velocity[layer][name] if nesterov else velocity[layer][name]
                rate = schedule[step] * (bias_rate if (layer, name) == ("conv", "bias") else 1)
                leaves[name] = leaves[name] - rate * direction
    return params


@pytest.mark.parametrize(
    "options",
    [
        {"momentum": 0.0},
        {"momentum": 0.9},
        {"momentum": 0.9, "nesterov": True},
        {"momentum": 0.9, "weight_decay": 0.3},
        {"momentum": 0.0, "weight_decay": 0.3},
        {"momentum": 0.5, "clip_norm": 0.7},
        {"momentum": 0.5, "clip_norm": 1e3},
        {"momentum": 0.9, "nesterov": True, "weight_decay": 0.3, "clip_norm": 0.7},
        {"momentum": 0.9, "weight_decay": 0.3, "decay_scale": True},
        {"momentum": 0.9, "weight_decay": 0.3, "decay_shift": True},
        # The authors' SegNet-Basic.
        {"momentum": 0.9, "weight_decay": 0.3, "decay_scale": True, "decay_shift": True, "bias_rate": 2.0},
    ],
)
def test_create_optimizer_equals_a_recursion_by_hand(options):
    schedule = [0.4, 0.3, 0.2, 0.1]
    optimizer = create_optimizer(lambda step: jnp.array(schedule)[step], **options)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5),
        train(optimizer),
        train_by_hand(schedule, **options),
    )


def test_create_optimizer_keeps_no_copy_of_the_parameters_without_momentum():
    def state_size(**options):
        state = create_optimizer(optax.constant_schedule(0.1), **options).init(_PARAMS)
        return sum(leaf.size for leaf in jax.tree.leaves(state))

    # The schedule counts steps.
    assert state_size(momentum=0.0) == 1
    assert state_size(momentum=0.9) == 1 + 10


@pytest.mark.parametrize("name", sorted(MODELS))
def test_is_one_of_finds_kernels_biases_scales_and_shifts(name):
    model = create_model(name, 2)
    params = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))["params"]
    for layer, leaves in params.items():
        # Convolution kernels have four axes, all else has one, and BatchNorm alone has a scale.
        is_batch_norm = "scale" in leaves
        expected = {"scale": "scale", "bias": "shift" if is_batch_norm else "bias", "kernel": "kernel"}
        for kind in ("kernel", "bias", "scale", "shift"):
            found = is_one_of({layer: leaves}, {kind})[layer]
            assert found == {name: expected[name] == kind for name in leaves}, layer
        assert all((leaf.ndim == 4) == (name == "kernel") for name, leaf in leaves.items())
    both = is_one_of(params, {"kernel", "scale"})
    if name in ("segnet", "segnet_basic"):
        assert sum(jax.tree.leaves(both)) == (26 + 25 if name == "segnet" else 9 + 8)
