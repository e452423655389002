"""Makes a network ready for measurements: its inference and training, compiled, with their costs."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.timing import seconds_of
from segnet_jax.data import preprocessing
from segnet_jax.models import create_model
from segnet_jax.models.base import SegmentationModel
from segnet_jax.runtime.compilation import Compiled
from segnet_jax.runtime.sharding import AXIS, replicate, to_devices
from segnet_jax.training import losses, optimizers
from segnet_jax.training.objective import Objective
from segnet_jax.training.step import create_train_state, create_train_step

NUM_CLASSES = 11

# What `Workload.run` runs, and what of it is a step on a batch.
MEASURES = ("forward", "train_forward", "gradient", "train_step", "deterministic_step")
STEPS = MEASURES[3:]

# Of XLA, for "deterministic_step". Unlike xla_gpu_deterministic_ops it leaves the search for the fastest algorithm on.
# The compilers of other platforms know it and have nothing to leave out.
_DETERMINISTIC = {"xla_gpu_exclude_nondeterministic_ops": True}


class Workload:
    """A network on one device, at one size, with images and labels of random values.

    Args:
      name: of the network, see `create_model`.
      image_size: (height, width) in pixels.
      train_batch: images of a training step.
      device: to run on.
      **fields: of the network, such as dtype and remat.
    """

    def __init__(
        self, name: str, *, image_size: tuple[int, int], train_batch: int, device: jax.Device, **fields: Any
    ) -> None:
        """Initialises the network; nothing is compiled for measurement yet."""
        model = create_model(name, NUM_CLASSES, axis_name=AXIS, **fields)
        self.compile_seconds: dict[str, float] = {}
        optimizer = optimizers.create_optimizer(
            lambda step: jnp.asarray(1e-3), momentum=0.9, nesterov=False, weight_decay=5e-4, clip_norm=0.0
        )
        state = create_train_state(model, optimizer, seed=0)
        self.parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
        self.model_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(state.variables))
        variables = jax.device_put(jax.device_get(state.variables), device)
        # The training step consumes its state.
        self._state = replicate(jax.device_get(state), [device])
        rng = np.random.default_rng(0)
        image = jax.device_put(rng.normal(size=(1, *image_size, 3)).astype(np.float32), device)
        label = jax.device_put(rng.integers(0, NUM_CLASSES, (1, *image_size)).astype(np.uint8), device)
        batch = {
            "image": rng.integers(0, 256, (train_batch, *image_size, 3)).astype(np.uint8),
            "label": rng.integers(0, NUM_CLASSES, (train_batch, *image_size)).astype(np.uint8),
        }
        self._batch = next(to_devices(iter([batch]), [device]))
        self._plain = _functions(create_model(name, NUM_CLASSES, **fields), variables, image, label)
        self._compiled = {
            what: Compiled(jax.jit(function), device.platform) for what, (function, _) in self._plain.items()
        }
        self._compiled["train_step"] = create_train_step(
            devices=[device],
            model=model,
            optimizer=optimizer,
            normalize=preprocessing.create_normalization("imagenet"),
            objective=Objective(jnp.ones(NUM_CLASSES)),
        )
        self._compiled["deterministic_step"] = self._compiled["train_step"].with_options(**_DETERMINISTIC)

    def run(self, what: str) -> None:
        """Runs one of these, and returns when it is done.

        Args:
          what: "forward", inference on one image: logits from normalised pixels; "train_forward", the loss of one image
            in training mode; "gradient", the same with the gradient for every parameter; "train_step", a whole training
            step on a batch: normalisation, loss, gradient, optimizer, metrics; "deterministic_step", the same by
            algorithms alone that give the same result every time.
        """
        results = self._compiled[what](*self._arguments(what))
        jax.block_until_ready(results)
        if what in STEPS:
            self._state, _ = results

    def prepare(self, *what: str) -> None:
        """Compiles what `run` needs, timed in `compile_seconds`."""
        for name in what:
            self.compile_seconds[name] = seconds_of(functools.partial(self._executable, name))

    def memory_bytes(self, what: str) -> int:
        """Returns the memory that `run(what)` needs, by XLA's account: arguments, results and temporaries."""
        analysis = self._executable(what).memory_analysis()
        return (
            analysis.argument_size_in_bytes
            + analysis.output_size_in_bytes
            - analysis.alias_size_in_bytes
            + analysis.temp_size_in_bytes
        )

    def temporary_bytes(self, what: str) -> int:
        """Returns the part of `memory_bytes` that lives only while the function runs."""
        return self._executable(what).memory_analysis().temp_size_in_bytes

    def flops(self, what: str) -> float:
        """Returns the floating-point operations of the plain algorithm on one image, as XLA counts them unoptimised.

        Args:
          what: "forward" or "gradient".
        """
        function, arguments = self._plain[what]
        return _flops(function, *arguments)

    def _arguments(self, what: str) -> tuple[Any, ...]:
        return (self._state, self._batch) if what in STEPS else self._plain[what][1]

    def _executable(self, what: str) -> Any:
        return self._compiled[what].executable(*self._arguments(what))


def model_flops(name: str, image_size: tuple[int, int]) -> dict[str, float]:
    """Returns the floating-point operations of the plain algorithm on one image, "forward" and "gradient".

    Nothing is computed or compiled for it, and nothing is computed twice in it: it is what "model FLOPs" means.
    """
    model = create_model(name, NUM_CLASSES)
    image = jax.ShapeDtypeStruct((1, *image_size, 3), jnp.float32)
    label = jax.ShapeDtypeStruct((1, *image_size), jnp.uint8)
    variables = {"batch_stats": {}, **jax.eval_shape(model.init, jax.random.key(0), image)}
    functions = _functions(model, variables, image, label)
    return {what: _flops(functions[what][0], *functions[what][1]) for what in ("forward", "gradient")}


def _functions(
    model: SegmentationModel, variables: Any, image: Any, label: Any
) -> dict[str, tuple[Callable[..., Any], tuple[Any, ...]]]:
    """Returns inference, the loss in training mode and its gradient, each with its arguments."""

    def forward(variables: Any, image: jax.Array) -> Any:
        return model.apply(variables, image, train=False)

    def loss(params: Any, batch_stats: Any, image: jax.Array, label: jax.Array) -> jax.Array:
        logits, _ = model.apply(
            {"params": params, "batch_stats": batch_stats},
            image,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(0)},
        )
        return losses.cross_entropy(logits, label, jnp.ones(NUM_CLASSES)) / label.size

    training = variables["params"], variables["batch_stats"], image, label
    return {
        "forward": (forward, (variables, image)),
        "train_forward": (loss, training),
        "gradient": (jax.grad(loss), training),
    }


def _flops(function: Callable[..., Any], *arguments: Any) -> float:
    """Counts operations as XLA does before it optimises.

    It is given the program for a TPU, which has none of the forms of convolutions that CPUs get here.
    """
    lowered = jax.jit(function).trace(*arguments).lower(lowering_platforms=("tpu",))
    return lowered.cost_analysis()["flops"]
