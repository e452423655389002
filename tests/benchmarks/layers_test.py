"""Tests for benchmarks/layers.py."""

import functools

import jax
import numpy as np
import pytest

from benchmarks import layers
from benchmarks.layers import FORWARD, OF_INPUT, OF_KERNEL, Layer, chosen, line, parse, passes, program
from segnet_jax.ops.convolution import conv_general_dilated


def convolve(x, kernel):
    """Convolves in float64, product by product: [N, H, W, C] and [k, k, C, K] to [N, H, W, K]."""
    size = len(kernel)
    padded = np.pad(np.float64(x), ((0, 0), (size // 2, size // 2), (size // 2, size // 2), (0, 0)))
    height, width = x.shape[1:3]
    return sum(
        padded[:, i : i + height, j : j + width] @ np.float64(kernel[i, j]) for i in range(size) for j in range(size)
    )


def kernel_gradient(x, gradient, size):
    """Computes the gradient of `convolve` for its kernel in float64: [size, size, C, K]."""
    padded = np.pad(np.float64(x), ((0, 0), (size // 2, size // 2), (size // 2, size // 2), (0, 0)))
    height, width = x.shape[1:3]
    parts = [
        [np.einsum("nhwc,nhwk->ck", padded[:, i : i + height, j : j + width], gradient) for j in range(size)]
        for i in range(size)
    ]
    return np.array(parts)


@pytest.mark.parametrize("size", [3, 7])
def test_every_form_of_a_pass_computes_it(size):
    layer = Layer(size, 4, 1, 14, 18)
    rng = np.random.default_rng(0)
    x, gradient = rng.normal(size=(2, *layer.shapes[0].shape)).astype(np.float32)
    kernel = rng.normal(size=layer.shapes[1].shape).astype(np.float32)
    thrice = x
    for _ in range(3):
        thrice = np.maximum(convolve(thrice, kernel), 0)
    expected = {
        FORWARD: ((x, kernel), thrice),
        OF_INPUT: ((gradient, kernel), convolve(gradient, kernel[::-1, ::-1].swapaxes(2, 3))),
        OF_KERNEL: ((x, gradient), kernel_gradient(x, gradient, size)),
    }
    for what, forms in passes(layer).items():
        arrays, want = expected[what]
        for name, (form, options) in forms.items():
            found = program(what, form, options)(*arrays)
            np.testing.assert_allclose(found, want, rtol=0, atol=2e-3 * np.abs(want).max(), err_msg=f"{what}, {name}")


@pytest.mark.parametrize(
    ("layer", "forms"),
    [
        (Layer(3, 64, 1, 360, 480), ["Winograd", "Winograd", "Winograd"]),
        (Layer(3, 512, 1, 45, 60), ["Winograd", "Winograd", "Winograd"]),
        (Layer(7, 32, 1, 90, 120), ["XLA", "forward, flipped", "strips"]),
        (Layer(3, 512, 1, 11, 15), ["XLA", "XLA", "XLA"]),
    ],
)
def test_chosen_is_what_the_networks_compute(layer, forms):
    assert [chosen(layer, what) for what in (FORWARD, OF_INPUT, OF_KERNEL)] == forms
    # The transforms of Winograd's algorithm are loops or products of many matrices, of which XLA's own have none.
    x, kernel = layer.shapes
    forward = functools.partial(
        conv_general_dilated, window_strides=(1, 1), padding="SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    text = jax.jit(forward).lower(x, kernel).as_text()
    assert ("dot_general" in text) == (forms[0] == "Winograd")


def test_parse_makes_layers_of_fractions_of_the_size():
    assert parse("3x64/1,7x32/8", "90x121", 2) == [Layer(3, 64, 2, 90, 121), Layer(7, 32, 2, 12, 16)]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("5x64/1", "360x480", 1), "--layers has '5x64/1'; a layer is 3 or 7"),
        (("3x64/0", "360x480", 1), "--layers has '3x64/0'"),
        (("3x64/1", "360", 1), "--size=360 is not HEIGHTxWIDTH"),
    ],
)
def test_parse_names_what_it_cannot_read(given, message):
    with pytest.raises(ValueError, match=message):
        parse(*given)


def test_line_has_the_chosen_form_in_bold():
    seconds = {"XLA": 0.1234, "XLA, YNNPACK": 0.2, "Winograd": 0.05}
    found = line(Layer(3, 128, 1, 180, 240), FORWARD, seconds)
    assert found == "| 3x3, 128, 180x240 | forward | 123 | 200 |  |  |  | **50** |  |"


def test_main_measures_a_row_for_each_pass(capsys):
    layers.main(["--size=8x8", "--layers=3x2/1", "--rounds=1"])
    printed = capsys.readouterr().out.splitlines()
    assert [text.split(" | ")[1] for text in printed[2:]] == [FORWARD, OF_INPUT, OF_KERNEL]
    for text in printed[2:]:
        assert sum(cell.strip("* ").isdigit() for cell in text.split("|")) >= 3, "milliseconds of each form"
