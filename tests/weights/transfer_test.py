"""Tests for segnet_jax/weights/transfer.py, and for runs that start from another one."""

import jax
import numpy as np
import optax
import pytest

from segnet_jax.errors import InputError
from segnet_jax.inference.pretrained import save_network
from segnet_jax.inference.trained_model import load_trained
from segnet_jax.models import create_model
from segnet_jax.training import optimizers
from segnet_jax.training.loop import train_and_evaluate
from segnet_jax.weights import transfer
from tests.helpers.tiny_config import make_flat_config

PARAMS = {
    "conv1": {"kernel": np.full((2, 2), 1.0, np.float32)},
    "conv1_bn": {"scale": np.full(2, 2.0, np.float32), "bias": np.full(2, 3.0, np.float32)},
    "conv10": {"kernel": np.full((2, 2), 4.0, np.float32)},
    "head": {"kernel": np.full((2, 3), 5.0, np.float32)},
}


def chosen(trained=".*", frozen=""):
    tree = transfer.is_trained(PARAMS, trained, frozen)
    return {f"{layer}/{leaf}" for layer, leaves in tree.items() for leaf, is_chosen in leaves.items() if is_chosen}


def test_is_trained_takes_expressions_for_whole_names():
    everything = {"conv1/kernel", "conv1_bn/scale", "conv1_bn/bias", "conv10/kernel", "head/kernel"}
    assert chosen() == everything
    assert chosen(trained="conv1/.*") == {"conv1/kernel"}
    assert chosen(trained="conv1.*") == everything - {"head/kernel"}
    assert chosen(frozen="conv1(_bn)?/.*") == {"conv10/kernel", "head/kernel"}
    assert chosen(trained=".*kernel", frozen="head.*") == {"conv1/kernel", "conv10/kernel"}


@pytest.mark.parametrize(
    ("trained", "frozen", "message"),
    [
        ("conv[", "", r"transfer.trained='conv\[' is no regular expression"),
        ("conv1", "", "transfer.trained='conv1' matches none of the network's parameters; their names are .*head/kern"),
        (".*", "convv.*", "transfer.frozen='convv.*' matches none"),
        ("head.*", ".*", "leave no parameter to train"),
    ],
)
def test_is_trained_refuses_expressions_that_make_no_sense(trained, frozen, message):
    with pytest.raises(InputError, match=message):
        chosen(trained, frozen)


def test_freeze_keeps_parameters_bit_for_bit_in_spite_of_weight_decay_and_clipping():
    inner = optimizers.create_optimizer(
        optax.constant_schedule(0.1), momentum=0.9, weight_decay=0.1, clip_norm=1.0, nesterov=True
    )
    frozen = transfer.freeze(inner, "head/.*|conv1_bn/bias", "")
    grads = jax.tree.map(lambda x: 100.0 * np.ones_like(x), PARAMS)
    part = {"head": PARAMS["head"], "conv1_bn": {"bias": PARAMS["conv1_bn"]["bias"]}}
    part_grads = jax.tree.map(lambda x: 100.0 * np.ones_like(x), part)
    params, state, part_state = PARAMS, frozen.init(PARAMS), inner.init(part)
    for _ in range(3):
        updates, state = frozen.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        # The trained part goes as if there were nothing else: the norm that is clipped is its own.
        part_updates, part_state = inner.update(part_grads, part_state, part)
        part = optax.apply_updates(part, part_updates)
    for name in ("conv1", "conv10"):
        assert np.asarray(params[name]["kernel"]).tobytes() == PARAMS[name]["kernel"].tobytes()
    np.testing.assert_array_equal(params["conv1_bn"]["scale"], PARAMS["conv1_bn"]["scale"])
    np.testing.assert_array_equal(params["head"]["kernel"], part["head"]["kernel"])
    np.testing.assert_array_equal(params["conv1_bn"]["bias"], part["conv1_bn"]["bias"])
    assert (np.asarray(params["head"]["kernel"]) < 4.99).all()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("segnet_flat", {"conv_classifier/kernel": (3,)}),
        ("segnet_basic", {"conv_classifier/kernel": (3,), "conv_classifier/bias": (0,)}),
        ("segnet", {"conv1_1_D/kernel": (3,), "conv1_1_D/bias": (0,)}),
    ],
)
def test_class_axes_finds_the_axes_that_count_classes(name, expected):
    # As many classes as features, so that the lengths alone would not tell them apart.
    model = create_model(name, 4, width_multiplier=1 / 16)
    assert {key: axes for key, axes in transfer.class_axes(model, 3).items() if axes} == expected


def initialize(classes, source_classes, source=None, **options):
    k, n = len(classes), len(source_classes)
    variables = {
        "params": {"conv": {"kernel": -np.ones((2, 2))}, "head": {"kernel": -np.ones((2, k)), "bias": -np.ones(k)}},
        "batch_stats": {"conv_bn": {"mean": -np.ones(2)}},
    }
    source = source or {
        "params": {
            "conv": {"kernel": np.arange(4.0).reshape(2, 2)},
            "head": {"kernel": np.arange(2.0 * n).reshape(2, n), "bias": 10 + np.arange(1.0 * n)},
            "other": {"kernel": np.zeros(1)},
        },
        "batch_stats": {"conv_bn": {"mean": np.asarray([7.0, 8.0])}},
    }
    axes = {"head/kernel": (1,), "head/bias": (0,), "conv/kernel": (), "conv_bn/mean": ()}
    return transfer.initialize(variables, source, axes=axes, classes=classes, source_classes=source_classes, **options)


def test_initialize_takes_everything_for_the_same_classes():
    result = initialize(["a", "b", "c"], ["a", "b", "c"])
    np.testing.assert_array_equal(result["params"]["conv"]["kernel"], [[0, 1], [2, 3]])
    np.testing.assert_array_equal(result["params"]["head"]["kernel"], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(result["batch_stats"]["conv_bn"]["mean"], [7, 8])
    assert result["params"].keys() == {"conv", "head"}, "what only the source has is left out"


def test_initialize_takes_classes_by_name_and_starts_new_ones_anew(caplog):
    caplog.set_level("INFO", logger="segnet_jax")
    result = initialize(["c", "new", "walk", "a"], ["a", "b", "c"], same_classes={"walk": "b"})
    np.testing.assert_array_equal(result["params"]["head"]["kernel"], [[2, -1, 1, 0], [5, -1, 4, 3]])
    np.testing.assert_array_equal(result["params"]["head"]["bias"], [12, -1, 11, 10])
    assert "new are not in transfer.source" in caplog.text


def test_initialize_takes_an_array_from_classes_to_classes_along_both_axes():
    variables = {"params": {"head": {"kernel": -np.ones((2, 2))}}}
    source = {"params": {"head": {"kernel": np.arange(9.0).reshape(3, 3)}}}
    options = {"axes": {"head/kernel": (0, 1)}, "classes": ["c", "new"], "source_classes": ["a", "b", "c"]}
    result = transfer.initialize(variables, source, **options)
    np.testing.assert_array_equal(result["params"]["head"]["kernel"], [[8, -1], [-1, -1]])


def test_initialize_leaves_out_what_starts_anew():
    result = initialize(["a", "b"], ["a", "b"], fresh="head/.*")
    np.testing.assert_array_equal(result["params"]["head"]["kernel"], -np.ones((2, 2)))
    np.testing.assert_array_equal(result["params"]["conv"]["kernel"], [[0, 1], [2, 3]])


def test_initialize_refuses_a_source_that_does_not_fit_with_what_differs():
    source = {"params": {"conv": {"kernel": np.zeros((3, 2))}, "head": {"kernel": np.zeros((2, 2))}}, "batch_stats": {}}
    with pytest.raises(InputError) as caught:
        initialize(["a", "b", "c"], ["a", "b"], source)
    message = str(caught.value)
    assert "does not fit the model in 3 of its arrays" in message
    assert "conv/kernel: expected [2, 2], found [3, 2]" in message
    assert "conv_bn/mean: expected [2], found none" in message
    assert "head/bias: expected [2], found none" in message
    assert "head/kernel" not in message, "another number of classes fits"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fresh": "nothing"}, "transfer.fresh='nothing' matches none"),
        ({"same_classes": {"x": "a"}}, "transfer.same_classes names 'x'; the classes are a, b"),
        ({"same_classes": {"a": "x"}}, "transfer.same_classes names 'x'; the classes are d, e"),
    ],
)
def test_initialize_refuses_names_that_do_not_exist(options, message):
    with pytest.raises(InputError, match=message):
        initialize(["a", "b"], ["d", "e"], **options)


def test_require_finite_names_the_variable_and_its_run():
    layers = {"params": {"conv1": {"kernel": np.ones(3), "bias": np.asarray([0.0, np.inf])}}}
    with pytest.raises(
        InputError, match="^conv1/bias of step 6 of runs/a is not finite, so nothing can start or learn from it"
    ):
        transfer.require_finite(layers, "step 6 of runs/a")
    layers["params"]["conv1"]["bias"][1] = 0
    transfer.require_finite(layers, "step 6 of runs/a")


# Table 3 of the 2015 paper; its network has four pairs, this one two.
@pytest.mark.parametrize(
    ("hidden", "fresh", "trained", "changed"),
    [
        (5, "conv_classifier.*", "conv_classifier.*", {"conv_classifier", "conv_classifier_hidden"}),
        (0, "", "conv2/.*|conv_decode2/.*", {"conv2", "conv_decode2"}),
    ],
    ids=["SM", "L4"],
)
def test_train_and_evaluate_trains_what_a_row_of_table_3_says(
    trained_flat_run, tmp_path, hidden, fresh, trained, changed
):
    config = make_flat_config()
    config.model.hidden_features = hidden
    config.transfer.source = str(trained_flat_run)
    config.transfer.fresh = fresh
    config.transfer.trained = trained
    state = train_and_evaluate(config, tmp_path)
    params = load_trained(trained_flat_run).variables["params"]
    assert state.params.keys() == params.keys() | changed
    for name, layer in params.items():
        before, after = layer["kernel"], state.params[name]["kernel"]
        if name not in changed:
            assert after.tobytes() == before.tobytes(), name
        elif not fresh:
            assert after.tobytes() != before.tobytes(), name
            # Two steps from the source's parameters, not from others.
            assert np.corrcoef(after.ravel(), before.ravel())[0, 1] > 0.9, name
    again = load_trained(tmp_path, {"eval.checkpoint": "latest"}).variables["params"]
    jax.tree.map(np.testing.assert_array_equal, again, state.params)


@pytest.mark.parametrize("name", ["", "model.safetensors"])
def test_train_and_evaluate_starts_from_a_saved_network(trained_flat_run, tmp_path, name):
    source = load_trained(trained_flat_run)
    save_network(source, tmp_path / "saved")
    config = make_flat_config()
    config.transfer.source = str(tmp_path / "saved" / name)
    config.transfer.trained = "conv_classifier.*"
    state = train_and_evaluate(config, tmp_path / "run")
    for layer in ("conv1", "conv2", "conv_decode1", "conv_decode2"):
        kernel = source.variables["params"][layer]["kernel"]
        assert state.params[layer]["kernel"].tobytes() == kernel.tobytes(), layer


def test_train_and_evaluate_refuses_the_checkpoint_of_another_network(trained_flat_run, tmp_path):
    config = make_flat_config()
    config.transfer.source = str(trained_flat_run)
    config.model.pairs = 3
    with pytest.raises(InputError, match=r"in 2 of its arrays \(conv3/kernel: expected \[7, 7, 4, 4\], found none"):
        train_and_evaluate(config, tmp_path / "a")
    config.transfer.source = str(tmp_path / "nowhere")
    with pytest.raises(InputError, match="nowhere holds no checkpoint"):
        train_and_evaluate(config, tmp_path / "b")
