"""Times layers of convolution on a CPU, in each form that could compute them.

python -m benchmarks.layers [--size=360x480] [--images=1] [--layers=3x64/1,7x64/4] [--rounds=3]

A layer is KERNELxCHANNELS/FRACTION: as many channels come in as go out, of images at that fraction of `--size`. By
default those of SegNet and SegNet-Basic. Prints Markdown, a row as soon as it is measured; what the networks use is in
bold. The forward pass is of three layers in a row, each with a ReLU, so that it has its input in the cache or not as in
a network; its time is that of one of them.
"""

from __future__ import annotations

import argparse
import functools
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from tqdm import tqdm

from benchmarks.cells import row
from benchmarks.timing import interleaved
from segnet_jax.ops import winograd
from segnet_jax.ops.convolution import strips_gain, weight_gradient_of_strips
from segnet_jax.runtime.compilation import Compiled

LAYERS = "3x64/1,3x128/2,3x256/4,3x512/8,3x512/16,7x64/1,7x64/2,7x64/4,7x64/8"

_IN_A_ROW = 3
# XLA's own default, for a program: the library YNNPACK computes convolutions and matrix products too.
_YNNPACK = {
    "xla_cpu_experimental_ynn_fusion_type": ",".join(
        f"LIBRARY_FUSION_TYPE_{name}" for name in ("INDIVIDUAL_CONVOLUTION", "INDIVIDUAL_DOT", "REDUCE")
    )
}

FORWARD, OF_INPUT, OF_KERNEL = "forward", "gradient of the input", "gradient of the kernel"

FORMS = ("XLA", "XLA, YNNPACK", "forward, flipped", "strips", "strips, YNNPACK", "Winograd", "Winograd, YNNPACK")
"""The columns of the table."""

_Form = Callable[..., jax.Array]


class Layer(NamedTuple):
    """A square convolution of stride 1 at the same size, with as many channels going out as come in."""

    kernel: int
    channels: int
    images: int
    height: int
    width: int

    @property
    def shapes(self) -> tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]:
        """The images, float32 [N, H, W, C], and the kernel, float32 [k, k, C, C]."""
        images = (self.images, self.height, self.width, self.channels)
        kernel = (self.kernel, self.kernel, self.channels, self.channels)
        return jax.ShapeDtypeStruct(images, jnp.float32), jax.ShapeDtypeStruct(kernel, jnp.float32)

    @property
    def flops(self) -> int:
        """The operations of the definition: one addition and one multiplication for each product."""
        return 2 * self.images * self.height * self.width * (self.kernel * self.channels) ** 2


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints Markdown."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.layers", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", default="360x480", help="HEIGHTxWIDTH of the images at full resolution, in pixels")
    parser.add_argument("--images", type=int, default=1, help="images in a batch")
    parser.add_argument("--layers", default=LAYERS, help="KERNELxCHANNELS/FRACTION, separated by commas")
    parser.add_argument("--rounds", type=int, default=3, help="measured calls of each form")
    options = parser.parse_args(arguments)
    try:
        layers = parse(options.layers, options.size, options.images)
    except ValueError as error:
        parser.error(str(error))
    work = sum(layer.flops for layer in layers)
    print(
        f"ms a layer, float32, median of {options.rounds} calls in turns after one to warm up; some 15 seconds "
        "for each layer of one image at 360x480.",
        file=sys.stderr,
    )
    print(row(["layer", "pass", *FORMS]))
    print(f"|{'---|' * (2 + len(FORMS))}")
    with tqdm(total=work, unit="op", unit_scale=True, disable=not sys.stderr.isatty()) as bar:
        for layer in layers:
            for what, forms in passes(layer).items():
                print(line(layer, what, measure(layer, what, forms, options.rounds)), flush=True)
            bar.update(layer.flops)


def parse(layers: str, size: str, images: int) -> list[Layer]:
    """Returns the layers of the command line.

    Raises:
      ValueError: names the text that is no layer or no size.
    """
    if not (found := re.fullmatch(r"(\d+)x(\d+)", size)):
        raise ValueError(f"--size={size} is not HEIGHTxWIDTH, such as 360x480.")
    height, width = map(int, found.groups())
    parsed = []
    for text in layers.split(","):
        if not (found := re.fullmatch(r"([37])x(\d+)/(\d+)", text)) or int(found[3]) == 0:
            raise ValueError(f"--layers has {text!r}; a layer is 3 or 7, x, channels, /, fraction, such as 3x64/1.")
        kernel, channels, fraction = map(int, found.groups())
        parsed.append(Layer(kernel, channels, images, -(-height // fraction), -(-width // fraction)))
    return parsed


def passes(layer: Layer) -> dict[str, dict[str, tuple[_Form, dict[str, Any]]]]:
    """Returns the forms of each pass of a layer by name: a function of two arrays, and XLA's options for it.

    The arrays are the images and the kernel for the forward pass, the gradient of the output and the kernel for the
    gradient of the input, the images and the gradient of the output for that of the kernel.
    """
    size = layer.kernel

    def of_input(gradient: jax.Array, kernel: jax.Array) -> jax.Array:
        return jax.vjp(lambda x: _plain(x, kernel), gradient)[1](gradient)[0]

    def of_kernel(x: jax.Array, gradient: jax.Array) -> jax.Array:
        return jax.vjp(lambda kernel: _plain(x, kernel), jnp.zeros(layer.shapes[1].shape))[1](gradient)[0]

    strips: _Form = functools.partial(weight_gradient_of_strips, size=size)
    tiles: _Form = functools.partial(winograd.weight_gradient, size=size)
    forms: dict[str, dict[str, _Form]] = {
        FORWARD: {"XLA": _plain, "Winograd": winograd.convolve},
        OF_INPUT: {
            "XLA": of_input,
            "forward, flipped": lambda gradient, kernel: _plain(gradient, _flipped(kernel)),
            "Winograd": lambda gradient, kernel: winograd.convolve(gradient, _flipped(kernel)),
        },
        OF_KERNEL: {"XLA": of_kernel, "strips": strips, "Winograd": tiles},
    }
    return {
        what: {
            name: (form, options)
            for plain, form in found.items()
            for name, options in ((plain, {}), (f"{plain}, YNNPACK", _YNNPACK))
            if name in FORMS
        }
        for what, found in forms.items()
    }


def chosen(layer: Layer, what: str) -> str:
    """Returns the name of the form that networks use for a pass of a layer on CPUs."""
    x, kernel = layer.shapes
    if winograd.gains(x, kernel):
        return "Winograd"
    if not strips_gain(x, kernel):
        return "XLA"
    return {FORWARD: "XLA", OF_INPUT: "forward, flipped", OF_KERNEL: "strips"}[what]


def program(what: str, form: _Form, options: dict[str, Any]) -> Compiled:
    """Returns a form of a pass, compiled at its first call: three layers in a row, each with a ReLU, if forward."""

    def three(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return functools.reduce(lambda x, _: jax.nn.relu(form(x, kernel)), range(_IN_A_ROW), x)

    return Compiled(jax.jit(three if what == FORWARD else form), "cpu").with_options(**options)


def measure(layer: Layer, what: str, forms: dict[str, tuple[_Form, dict[str, Any]]], rounds: int) -> dict[str, float]:
    """Returns the seconds that each form of a pass takes for one layer."""
    x, gradient = (jax.random.normal(jax.random.key(seed), layer.shapes[0].shape) for seed in range(2))
    # As He et al. start, so that three layers neither vanish nor overflow.
    scale = (2 / (layer.channels * layer.kernel**2)) ** 0.5
    kernel = scale * jax.random.normal(jax.random.key(2), layer.shapes[1].shape)
    arrays = {FORWARD: (x, kernel), OF_INPUT: (gradient, kernel), OF_KERNEL: (x, gradient)}[what]
    programs = {name: program(what, form, options) for name, (form, options) in forms.items()}
    calls = {
        name: functools.partial(lambda run: jax.block_until_ready(run(*arrays)), run) for name, run in programs.items()
    }
    count = _IN_A_ROW if what == FORWARD else 1
    return {name: seconds / count for name, seconds in interleaved(calls, rounds).items()}


def line(layer: Layer, what: str, seconds: dict[str, float]) -> str:
    """Returns a row of the table: milliseconds of each form, in bold of the one that networks use."""
    cells = {name: f"{1000 * value:.0f}" for name, value in seconds.items()}
    cells[chosen(layer, what)] = f"**{cells[chosen(layer, what)]}**"
    name = f"{layer.kernel}x{layer.kernel}, {layer.channels}, {layer.height}x{layer.width}"
    return row([name, what, *(cells.get(form, "") for form in FORMS)])


def _plain(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _flipped(kernel: jax.Array) -> jax.Array:
    """Returns the kernel by which the gradient of the output becomes that of the input."""
    return kernel[::-1, ::-1].swapaxes(2, 3)


if __name__ == "__main__":
    main()
