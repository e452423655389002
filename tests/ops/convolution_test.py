"""Tests for segnet_jax/ops/convolution.py."""

import functools

import jax
import jax.numpy as jnp
import pytest
from jax.extend.core import jaxprs_in_params

from segnet_jax.ops import convolution, winograd
from segnet_jax.ops.convolution import conv_general_dilated
from tests.helpers.convolutions import NHWC, XLA, assert_close, output_and_gradients, random, same

# Images [N, H, W, C], kernel side, features, and the rows of a strip: at least 8,000 pixels and 16 channels. Strips
# that divide the height and strips that do not, one that holds the whole image, and few features.
_LARGE = [
    ((1, 96, 84, 16), 3, 17, 12),
    ((2, 101, 83, 17), 3, 16, 27),
    ((1, 45, 180, 18), 7, 16, 20),
    ((1, 8001, 1, 16), 3, 16, 3000),
    ((1, 90, 89, 16), 3, 11, 500),
]


def set_strip_rows(monkeypatch, rows, shape, size):
    """Makes strips of that many rows."""
    monkeypatch.setattr(convolution, "_PATCH_VALUES", rows * size * size * shape[3] * shape[2])


def primitives(function, *args):
    """Returns the names of all primitives of a function, those of its inner functions included."""

    def names(jaxpr):
        for equation in jaxpr.eqns:
            yield equation.primitive.name
            for inner in jaxprs_in_params(equation.params):
                yield from names(inner)

    return list(names(jax.make_jaxpr(function)(*args).jaxpr))


@pytest.mark.parametrize(("shape", "size", "features", "rows"), _LARGE)
def test_weight_gradient_of_strips_changes_only_the_order_of_additions(monkeypatch, shape, size, features, rows):
    set_strip_rows(monkeypatch, rows, shape, size)
    x, kernel = random(*shape), random(size, size, shape[3], features, seed=1)
    gradient = random(*shape[:3], features, seed=2)
    results = output_and_gradients(same(conv_general_dilated), x, kernel, gradient)
    assert_close(results, output_and_gradients(same(XLA), x, kernel, gradient))

    def weight_gradient(x, gradient):
        return convolution.weight_gradient_of_strips(x, gradient, size)

    strips = shape[0] * -(-shape[1] // rows)
    assert primitives(weight_gradient, x, gradient).count("conv_general_dilated") == strips
    # Few features are filled up to sixteen.
    assert f"x{max(16, features)}xf32" in jax.jit(weight_gradient).lower(x, gradient).as_text()


@pytest.mark.parametrize("dilation", [2, 3])
def test_conv_general_dilated_takes_winograd_for_dilated_layers_where_it_gains(monkeypatch, dilation):
    monkeypatch.setattr(winograd, "_FEWEST_TILES", 1)
    args = random(2, 13, 16, 128), random(3, 3, 128, 128, seed=1), random(2, 13, 16, 128, seed=2)
    calls = []
    convolve = winograd.convolve
    monkeypatch.setattr(winograd, "convolve", lambda x, kernel: calls.append(x.shape) or convolve(x, kernel))
    results, expected = (
        output_and_gradients(same(conv, rhs_dilation=(dilation, dilation)), *args)
        for conv in (conv_general_dilated, XLA)
    )
    assert_close(results, expected, tolerance=3e-5)
    assert set(calls) == {(2 * dilation**2, -(-13 // dilation), -(-16 // dilation), 128)}


def test_conv_general_dilated_in_half_precision(monkeypatch):
    set_strip_rows(monkeypatch, 30, (1, 80, 100, 16), 3)
    args = random(1, 80, 100, 16), random(3, 3, 16, 16, seed=1), random(1, 80, 100, 16, seed=2)
    half = [arg.astype(jnp.bfloat16) for arg in args]
    expected = output_and_gradients(same(XLA), *(arg.astype(jnp.float32) for arg in half))
    results = output_and_gradients(same(conv_general_dilated), *half)
    assert_close(results, [value.astype(jnp.bfloat16) for value in expected], tolerance=2e-2)


@pytest.mark.parametrize(
    ("shape", "kernel", "options"),
    [
        ((1, 79, 100, 16), (3, 3, 16, 16), {}),
        ((1, 360, 480, 3), (3, 3, 3, 64), {}),
        ((1, 80, 100, 16), (3, 5, 16, 16), {}),
        ((1, 80, 100, 16), (2, 2, 16, 16), {}),
        ((1, 80, 100, 16), (3, 3, 16, 16), {"padding": "VALID"}),
        ((1, 80, 100, 16), (3, 3, 16, 16), {"padding": [(1, 1), (1, 1)]}),
        ((1, 80, 100, 16), (3, 3, 16, 16), {"window_strides": (1, 2)}),
        ((1, 80, 100, 16), (3, 3, 16, 16), {"lhs_dilation": (2, 2), "padding": [(1, 1), (1, 1)]}),
        ((1, 80, 100, 16), (3, 3, 16, 16), {"rhs_dilation": (2, 1)}),
        ((1, 80, 100, 32), (3, 3, 16, 32), {"feature_group_count": 2}),
    ],
)
def test_conv_general_dilated_is_plain_for_everything_else(shape, kernel, options):
    options = {"window_strides": (1, 1), "padding": "SAME", "dimension_numbers": NHWC} | options
    found = primitives(functools.partial(conv_general_dilated, **options), jnp.zeros(shape), jnp.zeros(kernel))
    assert found == ["conv_general_dilated"]


def test_conv_general_dilated_of_1x1_is_a_matrix_product_on_cpus():
    args = random(2, 5, 6, 7), random(1, 1, 7, 3, seed=1), random(2, 5, 6, 3, seed=2)
    ours = functools.partial(output_and_gradients, same(conv_general_dilated))
    assert_close(ours(*args), output_and_gradients(same(XLA), *args))
    traced = jax.jit(ours).trace(*args)
    on_cpu, elsewhere = (traced.lower(lowering_platforms=(name,)).as_text() for name in ("cpu", "tpu"))
    assert (on_cpu.count("stablehlo.dot_general"), on_cpu.count("stablehlo.convolution")) == (3, 0)
    assert (elsewhere.count("stablehlo.dot_general"), elsewhere.count("stablehlo.convolution")) == (0, 3)


@pytest.mark.parametrize("transform", [jax.vmap, jax.pmap])
def test_conv_general_dilated_mapped(monkeypatch, transform):
    set_strip_rows(monkeypatch, 30, (1, 80, 100, 16), 3)
    args = random(2, 1, 80, 100, 16), random(3, 3, 16, 16, seed=1), random(2, 1, 80, 100, 16, seed=2)

    def mapped(transform, conv):
        return transform(functools.partial(output_and_gradients, same(conv)), in_axes=(0, None, 0))(*args)

    assert_close(mapped(transform, conv_general_dilated), mapped(jax.vmap, XLA))
