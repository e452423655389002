"""Tests for segnet_jax/ops/convolution.py."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax
from jax.extend.core import jaxprs_in_params

from segnet_jax.ops import convolution, winograd
from segnet_jax.ops.convolution import conv_general_dilated

_NHWC = ("NHWC", "HWIO", "NHWC")

# Images [N, H, W, C], kernel side, features, and the rows of a strip: at least 8,000 pixels and 16 channels. Strips
# that divide the height and strips that do not, and one that holds the whole image.
_LARGE = [
    ((1, 96, 84, 16), 3, 17, 12),
    ((2, 101, 83, 17), 3, 16, 27),
    ((1, 45, 180, 18), 7, 16, 20),
    ((1, 90, 90, 16), 1, 16, 13),
    ((1, 8001, 1, 16), 3, 16, 3000),
    ((1, 8, 1000, 16), 3, 16, 1),
    ((1, 90, 89, 16), 3, 16, 500),
]


def random(*shape, seed=0, dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def set_strip_rows(monkeypatch, rows, shape, size):
    """Makes strips of that many rows."""
    monkeypatch.setattr(convolution, "_PATCH_VALUES", rows * size * size * shape[3] * shape[2])


def same(conv, x, kernel):
    return conv(x, kernel, (1, 1), "SAME", dimension_numbers=_NHWC)


def output_and_gradients(conv, x, kernel, gradient):
    """Returns the convolution, the gradient of its input, and that of its kernel."""
    output, vjp = jax.vjp(functools.partial(same, conv), x, kernel)
    return output, *vjp(gradient)


def assert_close(actual, expected, tolerance=1e-5):
    """Asserts equality within a share of the greatest magnitude: sums of thousands of terms, in another order."""
    for got, want in zip(actual, expected, strict=True):
        assert got.dtype == want.dtype
        want = np.asarray(want, np.float32)
        np.testing.assert_allclose(np.asarray(got, np.float32), want, rtol=0, atol=tolerance * np.abs(want).max())


def primitives(function, *args):
    """Returns the names of all primitives of a function, those of its inner functions included."""

    def names(jaxpr):
        for equation in jaxpr.eqns:
            yield equation.primitive.name
            for inner in jaxprs_in_params(equation.params):
                yield from names(inner)

    return list(names(jax.make_jaxpr(function)(*args).jaxpr))


@pytest.mark.parametrize(("shape", "size", "features", "rows"), _LARGE)
def test_strip_wise_weight_gradient_changes_only_the_order_of_additions(monkeypatch, shape, size, features, rows):
    set_strip_rows(monkeypatch, rows, shape, size)
    x, kernel = random(*shape), random(size, size, shape[3], features, seed=1)
    gradient = random(*shape[:3], features, seed=2)
    results = jax.jit(output_and_gradients, static_argnums=0)(conv_general_dilated, x, kernel, gradient)
    expected = jax.jit(output_and_gradients, static_argnums=0)(lax.conv_general_dilated, x, kernel, gradient)
    assert_close(results, expected)

    def weight_gradient(x, gradient):
        return convolution._strip_wise_weight_gradient(x, gradient, size)

    strips = shape[0] * -(-shape[1] // rows)
    assert primitives(weight_gradient, x, gradient).count("conv_general_dilated") == strips


def test_strip_wise_weight_gradient_by_hand():
    # Of an image of ones, each kernel position's gradient counts the pixels that it covers.
    x, gradient = jnp.ones((1, 80, 100, 1)), jnp.ones((1, 80, 100, 1))
    counts = convolution._strip_wise_weight_gradient(x, gradient, 3)[..., 0, 0]
    np.testing.assert_array_equal(counts, np.outer([79, 80, 79], [99, 100, 99]))


@pytest.mark.parametrize("dilation", [2, 3])
def test_conv_general_dilated_takes_winograd_for_dilated_layers_where_it_gains(monkeypatch, dilation):
    monkeypatch.setattr(winograd, "_FEWEST_TILES", 1)
    x, kernel, gradient = random(2, 13, 16, 128), random(3, 3, 128, 128, seed=1), random(2, 13, 16, 128, seed=2)

    def outcome(conv):
        return jax.jit(
            lambda x, kernel, gradient: output_and_gradients(
                functools.partial(conv, rhs_dilation=(dilation, dilation)), x, kernel, gradient
            )
        )(x, kernel, gradient)

    calls = []
    convolve = winograd.convolve
    monkeypatch.setattr(winograd, "convolve", lambda x, kernel: calls.append(x.shape) or convolve(x, kernel))
    assert_close(outcome(conv_general_dilated), outcome(lax.conv_general_dilated), tolerance=3e-5)
    phases = (2 * dilation**2, -(-13 // dilation), -(-16 // dilation), 128)
    assert set(calls) == {phases}


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_conv_general_dilated_in_half_precision(monkeypatch, dtype):
    set_strip_rows(monkeypatch, 30, (1, 80, 100, 16), 3)
    args = (
        random(1, 80, 100, 16, dtype=dtype),
        random(3, 3, 16, 16, seed=1, dtype=dtype),
        random(1, 80, 100, 16, seed=2, dtype=dtype),
    )
    results = jax.jit(output_and_gradients, static_argnums=0)(conv_general_dilated, *args)
    assert [result.dtype for result in results] == [dtype] * 3
    exact = output_and_gradients(lax.conv_general_dilated, *(arg.astype(jnp.float32) for arg in args))
    assert_close(results, [value.astype(dtype) for value in exact], tolerance=2e-2)


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
    options = {"window_strides": (1, 1), "padding": "SAME", "dimension_numbers": _NHWC} | options
    found = primitives(functools.partial(conv_general_dilated, **options), jnp.zeros(shape), jnp.zeros(kernel))
    assert found == ["conv_general_dilated"]
    x, weights = random(1, 6, 7, kernel[2] * options.get("feature_group_count", 1)), random(*kernel, seed=1)
    np.testing.assert_array_equal(
        conv_general_dilated(x, weights, **options), lax.conv_general_dilated(x, weights, **options)
    )


def test_strip_wise_weight_gradient_fills_up_few_features(monkeypatch):
    set_strip_rows(monkeypatch, 30, (1, 80, 100, 16), 3)
    args = random(1, 80, 100, 16), random(3, 3, 16, 11, seed=1), random(1, 80, 100, 11, seed=2)
    assert_close(
        output_and_gradients(conv_general_dilated, *args), output_and_gradients(lax.conv_general_dilated, *args)
    )
    traced = jax.jit(functools.partial(output_and_gradients, conv_general_dilated)).trace(*args)
    assert "1x30x100x16xf32" in traced.lower(lowering_platforms=("cpu",)).as_text()


def test_conv_general_dilated_of_1x1_is_a_matrix_product_on_cpus():
    args = random(2, 5, 6, 7), random(1, 1, 7, 3, seed=1), random(2, 5, 6, 3, seed=2)
    assert_close(
        output_and_gradients(conv_general_dilated, *args), output_and_gradients(lax.conv_general_dilated, *args)
    )
    traced = jax.jit(functools.partial(output_and_gradients, conv_general_dilated)).trace(*args)
    on_cpu, elsewhere = (traced.lower(lowering_platforms=(name,)).as_text() for name in ("cpu", "tpu"))
    assert (on_cpu.count("stablehlo.dot_general"), on_cpu.count("stablehlo.convolution")) == (3, 0)
    assert (elsewhere.count("stablehlo.dot_general"), elsewhere.count("stablehlo.convolution")) == (0, 3)


@pytest.mark.parametrize("size", [3, 7])
def test_conv_general_dilated_of_a_large_layer_takes_the_strips(size):
    layer = nn.Conv(16, (size, size), use_bias=False, conv_general_dilated=conv_general_dilated)

    def strips(*shape):
        x, kernel = jnp.zeros(shape), jnp.zeros((size, size, 16, 16))
        found = primitives(lambda x, kernel: layer.apply({"params": {"kernel": kernel}}, x), x, kernel)
        return any("custom_vjp" in name for name in found)

    assert strips(1, 80, 100, 16)
    assert not strips(1, 80, 99, 16)


def _batch(images=4):
    return random(images, 1, 80, 100, 16), random(3, 3, 16, 16, seed=1), random(images, 1, 80, 100, 16, seed=2)


def _mapped(transform, conv, images):
    """Returns the output and gradients of each of several batches, the kernel being shared."""
    x, kernel, gradient = _batch(images)
    return transform(functools.partial(output_and_gradients, conv), in_axes=(0, None, 0))(x, kernel, gradient)


@pytest.mark.parametrize("transform", [jax.vmap, jax.pmap])
def test_conv_general_dilated_mapped(monkeypatch, transform):
    set_strip_rows(monkeypatch, 30, (1, 80, 100, 16), 3)
    assert_close(_mapped(transform, conv_general_dilated, 2), _mapped(jax.vmap, lax.conv_general_dilated, 2))


def test_conv_general_dilated_rematerialised(monkeypatch):
    set_strip_rows(monkeypatch, 30, (1, 80, 100, 16), 3)
    x, kernel, _ = _batch(1)

    def loss(conv, x, kernel):
        return jnp.sum(jnp.sin(same(conv, jnp.sin(same(conv, x[0], kernel)), kernel)))

    gradients = jax.jit(jax.grad(jax.checkpoint(functools.partial(loss, conv_general_dilated)), argnums=(0, 1)))
    expected = jax.jit(jax.grad(functools.partial(loss, lax.conv_general_dilated), argnums=(0, 1)))
    assert_close(gradients(x, kernel), expected(x, kernel), tolerance=1e-4)


def test_conv_general_dilated_has_second_derivatives(monkeypatch):
    set_strip_rows(monkeypatch, 30, (1, 80, 100, 16), 3)
    x, kernel, direction = _batch(1)

    def slope(conv, x, kernel):
        gradient = jax.grad(lambda kernel: jnp.sum(same(conv, x[0], kernel) ** 2))(kernel)
        return jnp.sum(gradient * direction[0, 0, :3, :3, :, None])

    second = jax.jit(jax.grad(functools.partial(slope, conv_general_dilated), argnums=(0, 1)))(x, kernel)
    expected = jax.jit(jax.grad(functools.partial(slope, lax.conv_general_dilated), argnums=(0, 1)))(x, kernel)
    assert_close(second, expected)
