"""Counts what a training step reduces over devices, and times it where devices are threads of this machine.

python -m benchmarks.collectives [--devices=1,2,4,8] [--rounds=20]

The devices are forced host devices: they share the cores, so the times are the overhead of the collective (its
rendezvous, copies and sums), and say nothing of the speed of a network between machines.
"""

from __future__ import annotations

import argparse
import functools
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
from segnet_jax.training.objective import Objective
from segnet_jax.training.step import TrainState, checkpoint_template, train_step

NUM_CLASSES = 11
# BatchNorm's reductions of a step: `segnet` has 25 of these layers, each with one in the forward pass and one in the
# backward.
CHAIN = 50
# A tensor of StableHLO, such as tensor<2x64xf32>.
_TENSOR = re.compile(r"tensor<((?:\d+x)*)f32>")


def reduced(program: str) -> tuple[int, int]:
    """Counts the all-reduces of float32 in a StableHLO program, and the bytes that each device contributes."""
    operations = size = 0
    # The operands' types come after the region that adds two numbers.
    for text in program.split('"stablehlo.all_reduce"')[1:]:
        signature = re.search(r"\}\) : \((.*?)\) ->", text)
        assert signature is not None, text[:200]
        operations += 1
        for shape in _TENSOR.findall(signature.group(1)):
            size += 4 * math.prod(int(side) for side in shape.split("x") if side)
    return operations, size


def step_program(num_devices: int) -> str:
    """Returns the training step of `segnet`, mapped over devices, before compilation, in StableHLO."""
    model = create_model("segnet", NUM_CLASSES, axis_name=AXIS)
    optimizer = optimizers.create_optimizer(
        lambda step: jnp.asarray(1e-3), momentum=0.9, nesterov=False, weight_decay=5e-4, clip_norm=0.0
    )
    state = checkpoint_template(model, optimizer)["train_state"]
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
            objective=Objective(jnp.ones(NUM_CLASSES)),
        )

    devices = jax.devices()[:num_devices]
    mapped = jax.pmap(step, axis_name=AXIS, in_axes=(None, 0), out_axes=None, devices=devices)
    return mapped.lower(state, batch).as_text()


def contenders(
    devices: Sequence[jax.Device], shapes: Sequence[tuple[int, ...]], channels: int
) -> dict[str, Callable[[], Any]]:
    """Returns functions that reduce over the devices, and that do the same work without it; they return when done.

    Args:
      devices: each holds all gradients, and the statistics of one layer.
      shapes: of the gradients, which `summed` sums and `copied` passes over.
      channels: of the layer, of whose statistics `reduced` computes a chain of `CHAIN` means over the devices, each of
        which waits for the one before; `local` is the chain without means.
    """
    gradients = [jnp.ones((len(devices), *shape), jnp.float32) for shape in shapes]
    statistics = jnp.ones((len(devices), 2, channels), jnp.float32)

    def mapped(function: Callable[[Any], Any], argument: Any) -> Callable[[], Any]:
        compiled = jax.pmap(function, axis_name=AXIS, devices=devices)
        argument = compiled(argument)
        return lambda: jax.block_until_ready(compiled(argument))

    def chain(reduce: Callable[[jax.Array], jax.Array], x: jax.Array) -> jax.Array:
        for _ in range(CHAIN):
            x = jnp.tanh(reduce(x))
        return x

    return {
        "summed": mapped(lambda tree: jax.lax.psum(tree, AXIS), gradients),
        "copied": mapped(lambda tree: jax.tree.map(lambda x: x + 1.0, tree), gradients),
        "reduced": mapped(functools.partial(chain, lambda x: jax.lax.pmean(x, AXIS)), statistics),
        "local": mapped(functools.partial(chain, lambda x: x), statistics),
    }


def main() -> None:
    """Prints a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", default="1,2,4,8", help="numbers of forced host devices (default 1,2,4,8)")
    parser.add_argument("--rounds", type=int, default=20, help="of which the median counts (default 20)")
    arguments = parser.parse_args()
    try:
        numbers = [int(number) for number in arguments.devices.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 1 or arguments.rounds < 1:
        parser.error("--devices takes numbers such as 1,2,4,8; --rounds must be positive.")
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", max(numbers))

    operations, size = reduced(step_program(max(numbers)))
    print(f"Each device hands {size:,} bytes to {operations} all-reduces in a step of segnet.\n")
    print("| forced host devices | all gradients summed | without a sum | overhead | one BatchNorm's statistics |")
    print("|---|---|---|---|---|")
    model = create_model("segnet", NUM_CLASSES)
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    shapes = [leaf.shape for leaf in jax.tree.leaves(variables["params"])]
    for number in numbers:
        seconds = interleaved(contenders(jax.devices()[:number], shapes, channels=512), arguments.rounds)
        times = [seconds["summed"], seconds["copied"], seconds["summed"] - seconds["copied"]]
        statistics = (seconds["reduced"] - seconds["local"]) / CHAIN
        cells = [str(number), *(f"{1e3 * time:.1f} ms" for time in times), f"{1e6 * statistics:.0f} us"]
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
