"""Tests for segnet_jax/weights/safetensors.py."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors.numpy import load_file

from segnet_jax.errors import InputError
from segnet_jax.weights.safetensors import load_variables, quantize, save_variables
from tests.helpers.networks import shapes, small_model


def test_save_variables_names_them_by_their_path_and_load_variables_reads_them(tmp_path):
    model, variables = small_model("segnet_basic")
    path = tmp_path / "model.safetensors"
    save_variables(path, variables)
    stored = load_file(path)
    np.testing.assert_array_equal(stored["params/conv1/kernel"], variables["params"]["conv1"]["kernel"])
    np.testing.assert_array_equal(stored["batch_stats/conv1_bn/mean"], variables["batch_stats"]["conv1_bn"]["mean"])
    assert len(stored) == len(jax.tree.leaves(variables))
    loaded = load_variables(path, shapes(model))
    assert jax.tree.structure(loaded) == jax.tree.structure(jax.device_get(variables))
    jax.tree.map(np.testing.assert_array_equal, loaded, variables)


def test_save_variables_in_eight_bits_rounds_kernels_alone(tmp_path):
    model, variables = small_model("segnet_basic_single_channel_decoder")
    path = tmp_path / "model.safetensors"
    save_variables(path, variables, eight_bits=True)
    stored = load_file(path)
    assert stored["params/conv1/kernel"].dtype == np.int8
    assert stored["params/conv1/kernel:scale"].shape == stored["params/conv1/kernel"].shape[-1:]
    loaded = load_variables(path, shapes(model))

    def check(where, before, after):
        before = np.asarray(before)
        if where[-1].key == "kernel":
            bound = np.abs(before).max(axis=(0, 1, 2)) / 127 / 2
            assert (np.abs(after - before) <= bound * 1.001).all()
            assert not np.array_equal(after, before)
        else:
            np.testing.assert_array_equal(after, before)

    jax.tree_util.tree_map_with_path(check, variables, loaded)


@settings(max_examples=50, deadline=None)
@given(
    arrays.arrays(
        np.float32, (3, 3, 2, 4), elements=st.floats(-1e3, 1e3, width=32) | st.sampled_from([0.0, 1e-45, -3e-39])
    )
)
def test_quantize_is_within_half_a_step_and_keeps_zero(kernel):
    values, scale = quantize(kernel)
    assert (values[kernel == 0] == 0).all()
    assert np.all(np.abs(values * scale - kernel) <= scale * 0.5001)
    of_channels = np.abs(kernel).max(axis=(0, 1, 2)) > 1e-30
    assert (np.abs(values.astype(int)).max(axis=(0, 1, 2))[of_channels] == 127).all()


def test_load_variables_refuses_a_damaged_file_and_another_network(tmp_path):
    path = tmp_path / "model.safetensors"
    model, variables = small_model("segnet_basic")
    save_variables(path, variables)
    other, _ = small_model("fcn_basic")
    with pytest.raises(InputError, match=r"does not fit the network .* such as .* copy file and config.json together"):
        load_variables(path, shapes(other))
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match="model.safetensors is not a readable .safetensors file"):
        load_variables(path, shapes(model))
    with pytest.raises(InputError, match="absent.safetensors is not a readable"):
        load_variables(tmp_path / "absent.safetensors", shapes(model))
