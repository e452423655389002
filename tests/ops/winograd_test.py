"""Tests for segnet_jax/ops/winograd.py."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segnet_jax.ops import winograd
from segnet_jax.ops.convolution import conv_general_dilated
from segnet_jax.runtime.compilation import Compiled
from tests.helpers.convolutions import XLA, assert_close, output_and_gradients, random, same

# Of the largest value, by the size of the kernel.
_TOLERANCE = {3: 3e-5, 7: 2e-4}


@pytest.fixture
def limits(monkeypatch):
    """Sets limits of parts, and has the functions traced anew, as they are read then."""

    def forget():
        winograd.convolve.clear_cache()
        winograd.weight_gradient.clear_cache()

    def change(**values):
        forget()
        for name, value in values.items():
            monkeypatch.setattr(winograd, name, value)

    yield change
    forget()


# Whole tiles, and heights and widths that leave 1, 2 and 3 pixels over; images in one part, in several, and in strips,
# of which the last is shorter.
@pytest.mark.parametrize("shape", [(1, 4, 8, 5), (3, 9, 14, 5), (4, 11, 4, 7), (2, 1, 3, 2), (2, 21, 8, 3)])
@pytest.mark.parametrize("tiles", [1, 8, 10**6])
@pytest.mark.parametrize("size", [3, 7])
@pytest.mark.parametrize("small", [0, 10**9], ids=["one product", "blocks"])
def test_convolve_and_weight_gradient_equal_xlas(limits, shape, tiles, size, small):
    limits(_PART_TILES=tiles, _SMALL_PRODUCT=small)
    x, kernel = random(*shape, seed=0), random(size, size, shape[3], 6, seed=1)
    gradient = random(*shape[:3], 6, seed=2)
    results = jax.jit(
        lambda x, kernel, gradient: (winograd.convolve(x, kernel), winograd.weight_gradient(x, gradient, size))
    )(x, kernel, gradient)
    output, _, weights = output_and_gradients(same(XLA), x, kernel, gradient)
    assert_close(results, (output, weights), _TOLERANCE[size])


# The last images are two parts, of which each has all features at once.
@pytest.mark.parametrize(("shape", "groups"), [((1, 9, 14, 5), 3), ((3, 9, 14, 5), 3), ((2, 80, 120, 5), 1)])
@pytest.mark.parametrize("size", [3, 7])
def test_a_large_kernel_is_computed_by_groups_of_features(limits, shape, groups, size):
    limits(_LARGE_KERNEL=5 * 6 * 36 - 1, _GROUP_FEATURES=2, _SMALL_PRODUCT=0)
    x, kernel = random(*shape, seed=0), random(size, size, 5, 6, seed=1)
    convolve = jax.jit(lambda x, kernel: winograd.convolve(x, kernel))
    products = [line for line in convolve.lower(x, kernel).as_text().splitlines() if "dot_general" in line]
    assert len(products) == 1
    assert f"x5x{6 // groups}xf32>" in products[0]
    assert_close([convolve(x, kernel)], [same(XLA)(x, kernel)], _TOLERANCE[size])


@pytest.mark.parametrize(
    ("shape", "kernel", "parts", "groups"),
    [
        ((1, 45, 60, 512), (3, 3, 512, 512), 1, 4),
        ((1, 45, 60, 512), (3, 3, 512, 256), 1, 2),
        ((1, 45, 60, 256), (3, 3, 256, 256), 1, 1),
        # A large kernel, but 600 features are no multiple of 128.
        ((1, 45, 60, 600), (7, 7, 600, 600), 1, 1),
        ((4, 45, 60, 512), (3, 3, 512, 512), 4, 1),
        # 120 tiles a row: strips of 2 rows of them; of 3 where a row has 60 tiles.
        ((1, 360, 480, 128), (3, 3, 128, 128), 45, 1),
        ((1, 180, 240, 64), (7, 7, 64, 64), 15, 1),
    ],
)
def test_parts_are_strips_images_or_groups_of_features(shape, kernel, parts, groups):
    plan = winograd._plan(shape)
    assert plan.parts == parts
    assert winograd._feature_groups(plan, (kernel[0] + 3) ** 2 * kernel[2], kernel[3]) == groups


# XLA's executor gives operations to another core when more than eight are left that are ready.
@pytest.mark.parametrize(("size", "count", "points"), [(3, 12, 3), (7, 10, 10)])
def test_small_products_are_ten_or_more_when_compiled(size, count, points):
    x, kernel, gradient = jnp.zeros((1, 16, 16, 64)), jnp.zeros((size, size, 64, 128)), jnp.zeros((1, 16, 16, 128))
    for convolve, arrays, shape in (
        (winograd.convolve, (x, kernel), "16,128"),
        (functools.partial(winograd.weight_gradient, size=size), (x, gradient), "64,128"),
    ):
        text = Compiled(jax.jit(convolve), "cpu").executable(*arrays).as_text()
        products = [line for line in text.splitlines() if " dot(" in line]
        assert len(products) == count
        assert all(f" = f32[{points},{shape}]" in line for line in products)


@pytest.mark.parametrize(
    ("shape", "kernel", "blocks"),
    [
        # 180 and 200 tiles a part.
        ((1, 180, 240, 64), (3, 3, 64, 128), (6, 2)),
        ((1, 40, 80, 64), (7, 7, 64, 64), (10, 1)),
        ((1, 180, 240, 128), (3, 3, 128, 128), (1, 1)),
        # 11 images, of which no number but 1 and 11 makes equal parts: 20 tiles each.
        ((11, 20, 16, 128), (3, 3, 128, 128), (6, 2)),
    ],
)
def test_points_are_divided_where_products_are_small(shape, kernel, blocks):
    scheme = winograd._SCHEMES[kernel[0]]
    division = winograd._division(scheme, winograd._plan(shape), kernel[2] * kernel[3])
    assert (len(division.rows), len(division.columns)) == blocks
    every = np.arange(scheme.points**2)
    covered = division.blocks(lambda *block: every.reshape(scheme.points, scheme.points)[block].ravel())
    np.testing.assert_array_equal(np.sort(np.concatenate(sum(covered, []))), every)


@pytest.mark.parametrize(("size", "tolerance"), [(3, 1.5e-5), (7, 8e-5)])
def test_convolve_has_errors_as_small_as_the_documentation_says(size, tolerance):
    x, kernel = random(1, 24, 24, 64, seed=0), random(size, size, 64, 16, seed=1)
    assert_close([jax.jit(winograd.convolve)(x, kernel)], [same(XLA)(x, kernel)], tolerance)


def test_plan_has_parts_of_whole_images_or_strips_of_one(limits):
    limits(_PART_TILES=24)

    def plan(*shape):
        found = winograd._plan(shape)
        return found.images, found.rows, found.columns, found.strips, found.parts

    # Images of 2 rows and 3 columns of tiles: room for 4 in a part, of which 3 divide 6 and 1 divides 7.
    assert plan(6, 8, 9, 10) == (3, 2, 3, 1, 2)
    assert plan(7, 8, 9, 10) == (1, 2, 3, 1, 7)
    assert plan(2, 8, 9, 10) == (2, 2, 3, 1, 1)
    # 15 rows and 6 columns: strips of 4 rows at most.
    assert plan(2, 57, 24, 10) == (1, 4, 6, 4, 8)
    # 9 rows, in strips of the same height as far as possible.
    assert plan(1, 36, 24, 10) == (1, 3, 6, 3, 3)
    assert plan(2, 40, 900, 10) == (1, 1, 225, 10, 20)


@pytest.mark.parametrize(
    ("x", "kernel", "expected"),
    [
        ((1, 60, 40, 128), (3, 3, 128, 128), True),
        ((1, 60, 36, 128), (3, 3, 128, 128), False),
        ((2, 60, 36, 128), (3, 3, 128, 128), True),
        ((1, 45, 60, 512), (3, 3, 512, 512), True),
        ((1, 90, 120, 128), (3, 3, 128, 256), True),
        ((1, 90, 120, 64), (3, 3, 64, 128), True),
        ((1, 90, 120, 64), (3, 3, 64, 64), True),
        ((1, 90, 120, 63), (3, 3, 63, 128), False),
        ((1, 45, 60, 64), (7, 7, 64, 64), True),
        ((1, 45, 60, 64), (7, 7, 64, 11), False),
        ((1, 45, 60, 512), (5, 5, 512, 512), False),
        ((1, 45, 60, 512), (1, 1, 512, 512), False),
        ((1, 45, 60, 512), (3, 7, 512, 512), False),
    ],
)
def test_gains_where_it_is_faster(x, kernel, expected):
    x, kernel = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in (x, kernel))
    assert winograd.gains(x, kernel) == expected
    # Rounding errors of bfloat16 would be magnified to a tenth of the largest value.
    x, kernel = (jax.ShapeDtypeStruct(array.shape, jnp.bfloat16) for array in (x, kernel))
    assert not winograd.gains(x, kernel)


def test_conv_general_dilated_takes_winograd_on_cpus_only():
    x, kernel = jnp.zeros((10, 16, 16, 128)), jnp.zeros((3, 3, 128, 128))
    traced = jax.jit(functools.partial(output_and_gradients, same(conv_general_dilated))).trace(x, kernel, x)
    on_cpu = traced.lower(lowering_platforms=("cpu",)).as_text()
    elsewhere = traced.lower(lowering_platforms=("tpu",)).as_text()
    # Output, input gradient and weight gradient.
    assert on_cpu.count("stablehlo.dot_general") == 3
    assert "stablehlo.convolution" not in on_cpu
    assert elsewhere.count("stablehlo.convolution") == 3
    assert "stablehlo.dot_general" not in elsewhere


@pytest.mark.parametrize(("size", "depth"), [(3, 128), (3, 64), (7, 64)])
def test_conv_general_dilated_has_gradients_through_winograd(size, depth):
    features = depth + 2
    x, kernel = random(2, 38, 33, depth, seed=0), random(size, size, depth, features, seed=1)
    gradient = random(2, 38, 33, features, seed=2)

    results, expected = (output_and_gradients(same(conv), x, kernel, gradient) for conv in (conv_general_dilated, XLA))
    assert_close(results, expected, _TOLERANCE[size])
