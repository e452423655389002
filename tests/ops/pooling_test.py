"""Tests for segnet_jax/ops/pooling.py."""

import itertools
import math
import re

import hypothesis.extra.numpy as hnp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from segnet_jax.ops.pooling import max_pool_argmax, max_unpool

_DTYPES = [jnp.float32, jnp.bfloat16, jnp.float16]


def pool_by_loop(x, window):
    """Pools with the first position of each maximum, one window at a time."""
    *batch, height, width, channels = x.shape
    shape = (*batch, math.ceil(height / window), math.ceil(width / window), channels)
    pooled, indices = np.zeros(shape, x.dtype), np.zeros(shape, np.uint8)
    for *image, row, column, channel in np.ndindex(shape):
        best = None
        for i, j in itertools.product(range(window), repeat=2):
            y, z = row * window + i, column * window + j
            if y >= height or z >= width or (best is not None and np.isnan(best)):
                continue
            value = x[(*image, y, z, channel)]
            if best is None or np.isnan(value) or value > best:
                best = value
                pooled[(*image, row, column, channel)] = value
                indices[(*image, row, column, channel)] = i * window + j
    return pooled, indices


def pixel_of(place, index, window):
    """Returns the position in the image, leading axes and channel included, of a window's index."""
    *image, row, column, channel = place
    return (*image, row * window + int(index) // window, column * window + int(index) % window, channel)


def unpool_by_loop(pooled, indices, size, window):
    """Returns zeros, and each value at its index."""
    out = np.zeros((*pooled.shape[:-3], *size, pooled.shape[-1]), pooled.dtype)
    for place in np.ndindex(pooled.shape):
        out[pixel_of(place, indices[place], window)] = pooled[place]
    return out


def read_by_loop(x, indices, window):
    """Returns the value of `x` at each index."""
    out = np.zeros(indices.shape, x.dtype)
    for place in np.ndindex(indices.shape):
        out[place] = x[pixel_of(place, indices[place], window)]
    return out


def random_indices(rng, shape, size, window):
    """Draws indices of pixels inside an image of `size`, for pooled values of `shape`."""
    indices = np.zeros(shape, np.uint8)
    for place in np.ndindex(shape):
        row, column = place[-3:-1]
        i = rng.integers(min(window, size[0] - row * window))
        j = rng.integers(min(window, size[1] - column * window))
        indices[place] = i * window + j
    return indices


def assert_same(actual, expected):
    """Asserts the same type and values, NaN being equal to itself, which NumPy does not grant to bfloat16."""
    assert actual.dtype == expected.dtype
    np.testing.assert_array_equal(np.asarray(actual, np.float32), np.asarray(expected, np.float32))


def distinct(shape, step=0.1):
    """Draws values in random order, no two of them nearer than `step`."""
    values = np.random.default_rng(0).permutation(math.prod(shape)) - math.prod(shape) / 2
    return jnp.asarray(step * values.reshape(shape), jnp.float32)


_pool = jax.jit(max_pool_argmax, static_argnums=1)
_unpool = jax.jit(max_unpool, static_argnums=(2, 3))

# Few distinct values, so that windows hold ties; half precision, so that every type has them all.
_values = st.sampled_from([-np.inf, -2.0, -1.0, 0.0, 0.5, 1.0, np.inf, np.nan]) | st.floats(
    -8, 8, width=16, allow_subnormal=False
)
_shapes = st.tuples(
    st.sampled_from([(), (1,), (2,), (2, 1)]), st.integers(1, 9), st.integers(1, 9), st.integers(1, 2)
).map(lambda shape: (*shape[0], *shape[1:]))


@st.composite
def images(draw):
    return draw(hnp.arrays(np.float32, draw(_shapes), elements=_values)).astype(draw(st.sampled_from(_DTYPES)))


@settings(deadline=None, max_examples=30)
@given(x=images(), window=st.integers(1, 5))
# Where a fill of zero or of the lowest finite number would win, and a NaN behind an infinity.
@example(x=np.full((1, 3, 3, 1), -np.inf, np.float32), window=2)
@example(x=np.array([[[np.inf], [1]], [[2], [np.nan]]], np.float32), window=2)
@example(x=np.full((3, 1, 2), np.nan, jnp.bfloat16), window=2)
@example(x=np.zeros((5, 5, 1), np.float16), window=3)
def test_max_pool_argmax_and_max_unpool_equal_loops(x, window):
    pooled, indices = _pool(x, window)
    expected_pooled, expected_indices = pool_by_loop(x, window)
    assert_same(pooled, expected_pooled)
    assert_same(indices, expected_indices)
    size = x.shape[-3:-1]
    assert_same(_unpool(pooled, indices, size, window), unpool_by_loop(expected_pooled, expected_indices, size, window))


@settings(deadline=None, max_examples=15)
@given(shape=_shapes, window=st.integers(1, 4), seed=st.integers(0, 99))
def test_max_unpool_places_any_index_and_max_pool_argmax_inverts_it(shape, window, seed):
    rng = np.random.default_rng(seed)
    *batch, height, width, channels = shape
    small = (*batch, math.ceil(height / window), math.ceil(width / window), channels)
    # Positive values win against the zeros around them.
    values = rng.uniform(1, 2, small).astype(np.float32)
    indices = random_indices(rng, small, (height, width), window)
    unpooled = _unpool(values, indices, (height, width), window)
    np.testing.assert_array_equal(unpooled, unpool_by_loop(values, indices, (height, width), window))
    again = _pool(unpooled, window)
    np.testing.assert_array_equal(again[0], values)
    np.testing.assert_array_equal(again[1], indices)


def test_max_pool_argmax_fits_the_last_index_of_the_largest_window_into_a_byte():
    x = jnp.zeros((16, 16, 1)).at[15, 15].set(1.0)
    pooled, indices = max_pool_argmax(x, 16)
    assert indices.item() == 255
    np.testing.assert_array_equal(max_unpool(pooled, indices, (16, 16), 16), x)


@pytest.mark.parametrize("dtype", _DTYPES)
@pytest.mark.parametrize("window", [2, 3])
def test_max_pool_argmax_gradient_is_the_unpooled_cotangent(window, dtype):
    # Ties, a NaN and -inf: the gradient still goes to one pixel a window, the one that the index names.
    rng = np.random.default_rng(1)
    x = rng.integers(0, 3, (2, 7, 5, 2)).astype(dtype)
    x[0, 0, 1, 0], x[0, 4:, 4:, 1] = np.nan, -np.inf
    (_, indices), vjp = jax.vjp(lambda x: max_pool_argmax(x, window), x)
    cotangent = rng.integers(1, 9, indices.shape).astype(dtype)
    (gradient,) = vjp((jnp.asarray(cotangent), np.zeros(indices.shape, jax.dtypes.float0)))
    _, expected_indices = pool_by_loop(x, window)
    assert_same(gradient, unpool_by_loop(cotangent, expected_indices, (7, 5), window))


@pytest.mark.parametrize("window", [2, 3])
def test_max_unpool_gradient_reads_at_the_indices(window):
    rng = np.random.default_rng(2)
    small = (2, math.ceil(7 / window), math.ceil(5 / window), 3)
    indices = random_indices(rng, small, (7, 5), window)
    _, vjp = jax.vjp(lambda values: max_unpool(values, indices, (7, 5), window), np.ones(small, np.float32))
    cotangent = rng.normal(size=(2, 7, 5, 3)).astype(np.float32)
    (gradient,) = vjp(jnp.asarray(cotangent))
    np.testing.assert_array_equal(gradient, read_by_loop(cotangent, indices, window))


@pytest.mark.parametrize("window", [2, 3])
def test_max_pool_argmax_and_max_unpool_gradients_equal_finite_differences(window):
    x = distinct((1, 5, 4, 2))

    def pool(x):
        pooled, _ = max_pool_argmax(x, window)
        return jnp.sin(pooled)

    def pool_and_unpool(x):
        pooled, indices = max_pool_argmax(x, window)
        return jnp.sin(max_unpool(jnp.sin(pooled), indices, x.shape[-3:-1], window) + x)

    # The differences stay well below the distance of the values, so that no other pixel wins.
    for function in (pool, pool_and_unpool):
        check_grads(jax.jit(function), (x,), order=2, modes=["rev"], eps=1e-2, rtol=1e-2, atol=1e-2)


def test_max_pool_argmax_and_max_unpool_vjps_keep_only_the_indices():
    x = distinct((2, 7, 5, 3))
    (pooled, indices), pool_vjp = jax.vjp(max_pool_argmax, x)
    _, unpool_vjp = jax.vjp(lambda pooled: max_unpool(pooled, indices, (7, 5)), pooled)
    for vjp in (pool_vjp, unpool_vjp):
        assert [(leaf.dtype, leaf.shape) for leaf in jax.tree.leaves(vjp)] == [(jnp.uint8, (2, 4, 3, 3))]
    # What the assertion would find if a value were kept.
    _, sine_vjp = jax.vjp(jnp.sin, x)
    assert [(leaf.dtype, leaf.shape) for leaf in jax.tree.leaves(sine_vjp)] == [(jnp.float32, x.shape)]


def _loss(x):
    pooled, indices = max_pool_argmax(x)
    return jnp.sum(max_unpool(jnp.sin(pooled), indices, x.shape[-3:-1]) * jnp.cos(x))


def test_max_pool_argmax_and_max_unpool_compose_with_transformations():
    x = distinct((4, 5, 3, 2), step=0.05)
    value_and_grad = jax.jit(jax.value_and_grad(_loss))
    expected = tuple(map(np.stack, zip(*map(value_and_grad, x), strict=True)))
    for mapped in (
        jax.vmap(value_and_grad)(x),
        jax.vmap(value_and_grad, in_axes=2)(jnp.moveaxis(x, 0, 2)),
        jax.pmap(value_and_grad, devices=jax.local_devices()[:4])(x),
    ):
        for actual, want in zip(mapped, expected, strict=True):
            np.testing.assert_allclose(actual, want, rtol=1e-5, atol=1e-6)


def indexed_operations(function, *args):
    """Returns the operations of a function, before and after XLA's passes, that address by index or window."""
    lowered = jax.jit(function).lower(*args)
    text = f"{lowered.as_text()}\n{lowered.compile().as_text()}"
    # ` gather(` in HLO, `"stablehlo.gather"(` in StableHLO; never the names of functions in the metadata.
    names = re.findall(r"""(?:stablehlo\.|\s)(scatter|gather|select.and.scatter|reduce.window)"?\(""", text)
    return {name.replace("_", "-") for name in names}


@pytest.mark.parametrize("size", [(8, 8), (7, 5)])
def test_max_pool_argmax_and_max_unpool_neither_scatter_nor_gather(size):
    x = distinct((2, *size, 3))
    assert not indexed_operations(max_pool_argmax, x)
    pooled, indices = max_pool_argmax(x)
    assert not indexed_operations(lambda pooled, indices: max_unpool(pooled, indices, size), pooled, indices)
    assert not indexed_operations(jax.value_and_grad(_loss), x)


def test_indexed_operations_are_found_where_they_are():
    x, places = distinct((2, 8, 8, 3)), jnp.array([1, 0])
    assert indexed_operations(lambda x, places: x.at[places].add(x[places]), x, places) >= {"gather", "scatter"}


def test_max_pool_argmax_refuses_what_it_cannot_pool():
    with pytest.raises(ValueError, match=r"\(0, 4, 1\)"):
        max_pool_argmax(jnp.zeros((0, 4, 1)))
    with pytest.raises(ValueError, match=r"\(2, 4, 0, 1\)"):
        max_pool_argmax(jnp.zeros((2, 4, 0, 1)))
    with pytest.raises(ValueError, match=r"\(4, 4\)"):
        max_pool_argmax(jnp.zeros((4, 4)))
    for dtype in (jnp.int32, jnp.uint8, bool):
        with pytest.raises(TypeError, match=f"not {jnp.dtype(dtype)}"):
            max_pool_argmax(jnp.zeros((4, 4, 1), dtype))
    for window in (-1, 0, 17):
        with pytest.raises(ValueError, match=f"not {window}"):
            max_pool_argmax(jnp.zeros((4, 4, 1)), window)


def test_max_unpool_refuses_what_does_not_belong_together():
    pooled, indices = max_pool_argmax(jnp.zeros((1, 5, 6, 2)))
    for size in [(4, 6), (7, 6), (5, 4), (5, 7), (3, 3), (10, 12)]:
        with pytest.raises(ValueError, match=f"{size[0]}x{size[1]} from 3x3 with a window of 2"):
            max_unpool(pooled, indices, size)
    with pytest.raises(ValueError, match="height, width, channels"):
        max_unpool(jnp.zeros((2, 3)), jnp.zeros((2, 3), jnp.uint8), (4, 6))
    with pytest.raises(ValueError, match="one shape"):
        max_unpool(pooled, indices[..., :1], (5, 6))
    for window in (0, 17):
        with pytest.raises(ValueError, match=f"not {window}"):
            max_unpool(pooled, indices, (5, 6), window)
