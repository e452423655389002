"""Counts what a training step reduces over devices, and times it where devices are threads of this machine.

python -m benchmarks.collectives [--devices=1,2,4,8] [--rounds=20] [--width=1.0]

The devices are forced host devices: they share the cores, so the times are the overhead of the collective (its
rendezvous, copies and sums), and say nothing of the speed of a network between machines.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.timing import interleaved
from segnet_jax.data import preprocessing
from segnet_jax.models import create_model
from segnet_jax.runtime.sharding import AXIS
from segnet_jax.training import optimizers
from segnet_jax.training.step import TrainState, create_train_state, train_step

NUM_CLASSES = 11
# BatchNorm's reductions of a step: `segnet` has 25 of these layers, each with one in the forward pass and one in the
# backward.
CHAIN = 50
# A tensor of StableHLO, such as tensor<2x64xf32>.
_TENSOR = re.compile(r"tensor<((?:\d+x)*)f32>")


@dataclasses.dataclass(frozen=True)
class Reduced:
    """The all-reduces of one step.

    Attributes:
      operations: all-reduces, before the compiler puts together those that do not wait for each other.
      size: bytes that each device contributes.
    """

    operations: int
    size: int


def reduced(program: str) -> Reduced:
    """Counts the all-reduces of float32 in a StableHLO program."""
    operations = size = 0
    # The operands' types come after the region that adds two numbers.
    for text in program.split('"stablehlo.all_reduce"')[1:]:
        signature = re.search(r"\}\) : \((.*?)\) ->", text)
        assert signature is not None, text[:200]
        operations += 1
        for shape in _TENSOR.findall(signature.group(1)):
            size += 4 * math.prod(int(side) for side in shape.split("x") if side)
    return Reduced(operations, size)


def step_program(num_devices: int, width: float = 1.0) -> str:
    """Returns the training step of `segnet` before compilation, in StableHLO.

    Args:
      num_devices: over which it is mapped.
      width: multiplier of the numbers of features.
    """
    model = create_model("segnet", NUM_CLASSES, axis_name=AXIS, width_multiplier=width)
    optimizer = optimizers.create_optimizer(
        lambda step: jnp.asarray(1e-3), momentum=0.9, nesterov=False, weight_decay=5e-4, clip_norm=0.0
    )
    state = jax.eval_shape(lambda: create_train_state(model, optimizer, seed=0))
    batch = {
        "image": jax.ShapeDtypeStruct((num_devices, 1, 32, 32, 3), jnp.uint8),
        "label": jax.ShapeDtypeStruct((num_devices, 1, 32, 32), jnp.uint8),
    }

    def step(state: TrainState, batch: dict[str, jax.Array]) -> Any:
        return train_step(
            state,
            batch,
            model=model,
            optimizer=optimizer,
            normalize=preprocessing.imagenet,
            class_weights=jnp.ones(NUM_CLASSES),
        )

    devices = jax.devices()[:num_devices]
    mapped = jax.pmap(step, axis_name=AXIS, in_axes=(None, 0), out_axes=None, devices=devices)
    return mapped.lower(state, batch).as_text()


def gradient_contenders(devices: Sequence[jax.Device], shapes: Sequence[tuple[int, ...]]) -> dict[str, Callable]:
    """Returns functions that sum gradients over the devices, `summed`, and pass over them without it, `copied`.

    Both return when they are done.

    Args:
      devices: each holds all gradients.
      shapes: of the gradients.
    """
    gradients = [jnp.ones((len(devices), *shape), jnp.float32) for shape in shapes]

    def mapped(function: Callable[[Any], Any]) -> Callable[[], object]:
        compiled = jax.pmap(function, axis_name=AXIS, devices=devices)
        arguments = compiled(gradients)
        return lambda: jax.block_until_ready(compiled(arguments))

    return {
        "summed": mapped(lambda tree: jax.lax.psum(tree, AXIS)),
        "copied": mapped(lambda tree: jax.tree.map(lambda x: x + 1.0, tree)),
    }


def statistics_contenders(devices: Sequence[jax.Device], channels: int) -> dict[str, Callable]:
    """Returns functions that compute a chain of `CHAIN` means over the devices, `reduced`, and without them, `local`.

    In the chain each mean waits for the one before. Both return when they are done.

    Args:
      devices: each holds the statistics of a layer.
      channels: of the layer.
    """
    statistics = jnp.ones((len(devices), 2, channels), jnp.float32)

    def mapped(reduce: Callable[[jax.Array], jax.Array]) -> Callable[[], object]:
        def chain(x: jax.Array) -> jax.Array:
            for _ in range(CHAIN):
                x = jnp.tanh(reduce(x))
            return x

        compiled = jax.pmap(chain, axis_name=AXIS, devices=devices)
        argument = compiled(statistics)
        return lambda: jax.block_until_ready(compiled(argument))

    return {"reduced": mapped(lambda x: jax.lax.pmean(x, AXIS)), "local": mapped(lambda x: x)}


def measure(num_devices: int, *, rounds: int, width: float) -> dict[str, float]:
    """Measures the reductions of one step, and the same work without them.

    Args:
      num_devices: forced host devices.
      rounds: of which the median counts.
      width: multiplier of the numbers of features.

    Returns:
      Seconds: `summed`, all gradients summed over the devices; `copied`, the same gradients passed over without a sum;
      `statistics`, the share of one BatchNorm's reduction in its chain.
    """
    devices = jax.devices()[:num_devices]
    model = create_model("segnet", NUM_CLASSES, width_multiplier=width)
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    shapes = [leaf.shape for leaf in jax.tree.leaves(variables["params"])]
    gradients = interleaved(gradient_contenders(devices, shapes), rounds)
    statistics = interleaved(statistics_contenders(devices, max(1, round(512 * width))), rounds)
    return {
        **gradients,
        "statistics": (statistics["reduced"] - statistics["local"]) / CHAIN,
    }


def main() -> None:
    """Prints a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", default="1,2,4,8", help="numbers of forced host devices (default 1,2,4,8)")
    parser.add_argument("--rounds", type=int, default=20, help="of which the median counts (default 20)")
    parser.add_argument("--width", type=float, default=1.0, help="multiplier of the numbers of features (default 1)")
    arguments = parser.parse_args()
    try:
        numbers = [int(number) for number in arguments.devices.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 1 or arguments.rounds < 1 or arguments.width <= 0:
        parser.error("--devices takes numbers such as 1,2,4,8; --rounds and --width must be positive.")
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", max(numbers))

    step = reduced(step_program(max(numbers), arguments.width))
    print(f"Each device hands {step.size:,} bytes to {step.operations} all-reduces in a step of segnet.\n")
    print("| forced host devices | all gradients summed | without a sum | overhead | one BatchNorm's statistics |")
    print("|---|---|---|---|---|")
    for number in numbers:
        seconds = measure(number, rounds=arguments.rounds, width=arguments.width)
        times = [seconds["summed"], seconds["copied"], seconds["summed"] - seconds["copied"]]
        cells = [str(number), *(f"{1e3 * time:.1f} ms" for time in times), f"{1e6 * seconds['statistics']:.0f} us"]
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
