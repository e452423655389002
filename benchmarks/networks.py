"""Measures networks, and pooling with unpooling by itself, beside PyTorch's if asked."""

from __future__ import annotations

import functools
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import timing
from benchmarks.comparison import LABELS
from benchmarks.estimate import Program
from benchmarks.progress import Progress
from benchmarks.workload import STEPS, Workload
from segnet_jax.ops.pooling import max_pool_argmax, max_unpool

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
# What each setting computes anew in the backward pass, see SegmentationModel.remat.
SETTINGS = {"fast": "none", "lean": "activations", "leanest": "stages"}
# The forms of a network in PyTorch, by the arguments of `TorchWorkload`.
TORCH_VARIANTS: dict[str, dict[str, bool]] = {
    "torch": {},
    "torch channels_last": {"channels_last": True},
    "torch channels_last compile": {"channels_last": True, "compiled": True},
}
# The measures whose memory is measured.
_MEMORY_OF = ("forward", "train_step")
# Seconds that a program of `segnet` takes to compile on two cores: a first guess.
_COMPILATION = {"forward": 3.0, "train_forward": 3.0, "gradient": 15.0, "train_step": 28.0, "deterministic_step": 28.0}
_POOLING_CHANNELS = 64


@dataclass(frozen=True)
class Setup:
    """Says how networks are measured.

    Attributes:
      size: height and width of the images in pixels.
      train_batch: images of a step; the other measures take one.
      dtype: of activations, a key of `DTYPES`.
      settings: of ours, keys of `SETTINGS`.
      variants: of PyTorch, keys of `TORCH_VARIANTS`.
      rounds: measured calls of each.
      device: ours; PyTorch takes a GPU if it sees one.
    """

    size: tuple[int, int]
    train_batch: int
    dtype: str
    settings: Sequence[str]
    variants: Sequence[str]
    rounds: int
    device: jax.Device

    def build(self, name: str, contender: str, train_batch: int = 0) -> Any:
        """Builds a network as a `Workload` or `TorchWorkload`; `train_batch` other than 0 replaces the setup's."""
        batch = train_batch or self.train_batch
        if contender in self.variants:
            from benchmarks.pytorch.workload import TorchWorkload

            form = TORCH_VARIANTS[contender]
            return TorchWorkload(name, image_size=self.size, train_batch=batch, dtype=self.dtype, **form)
        return Workload(
            name,
            image_size=self.size,
            train_batch=batch,
            device=self.device,
            dtype=DTYPES[self.dtype],
            remat=SETTINGS[contender],
        )

    def contenders(self, measure: str) -> list[str]:
        """Returns the names of all that take turns in a measure."""
        # What is computed anew in the backward pass does not concern inference.
        ours = self.settings[:1] if measure == "forward" else self.settings
        return [*ours, *self.variants]

    def programs(self, name: str, measures: Sequence[str], flops: dict[str, float]) -> list[Program]:
        """Returns what `measure_network` runs of a network, whose operations on one image are `flops`."""
        found = []
        for measure in measures:
            of_call = flops["forward" if "forward" in measure else "gradient"]
            of_call *= self.train_batch if measure in STEPS else 1
            for contender in self.contenders(measure):
                calls = 1 + self.rounds + (contender in self.variants and measure in _MEMORY_OF)
                ready = compilation_guess(contender, measure)
                in_first_call = contender in self.variants and ready > 0
                found.append(Program((name, measure), contender, of_call, calls, ready, in_first_call))
        return found


def compilation_guess(contender: str, measure: str) -> float:
    """Returns roughly the seconds in which a program is compiled: 0 for PyTorch as it is."""
    return _COMPILATION[measure] if TORCH_VARIANTS.get(contender, {"compiled": True}).get("compiled") else 0.0


def measure_network(
    name: str,
    setup: Setup,
    measures: Sequence[str],
    result: dict[str, Any],
    progress: Progress,
    save: Callable[[], None],
) -> None:
    """Measures times, memory and costs of a network, ours in each setting and PyTorch's in each of its forms.

    Args:
      name: of the network.
      setup: of the measurements.
      measures: of `MEASURES`, those to make.
      result: what is known of the network, JSON-like. Gets `parameters` and `model_bytes`; `ours`, by setting, each
        with `compile_seconds`, `memory_bytes` and `temporary_bytes` by measure; by measure and then by contender
        `seconds`, medians, and `spread`, the least and the most; `rounds`, by measure; and, with PyTorch,
        `torch_memory_bytes`, by variant and measure, and `torch_nondeterministic`, by variant.
      progress: is told what goes on.
      save: is called after each measure.

    Raises:
      Stopped: if a signal has come; the result holds what was measured until then.
    """
    progress.begin_measurement(f"{name}, {LABELS[measures[0]]}")
    progress.now(": initialising")
    ours = {setting: setup.build(name, setting) for setting in setup.settings}
    theirs = {variant: setup.build(name, variant) for variant in setup.variants}
    first = next(iter(ours.values()))
    result |= {"parameters": first.parameters, "model_bytes": first.model_bytes}
    for key in ("ours", "seconds", "spread", "rounds", *(["torch_memory_bytes"] if theirs else [])):
        result.setdefault(key, {})
    for number, measure in enumerate(measures):
        if number:
            progress.begin_measurement(f"{name}, {LABELS[measure]}")
        contenders: dict[str, Callable[[], object]] = {}
        for contender in setup.contenders(measure):
            contenders[contender] = functools.partial((ours | theirs)[contender].run, measure)
            if contender in ours:
                progress.now(f": compiling {contender}")
                _compile(ours[contender], measure, result["ours"].setdefault(contender, {}))
                progress.compiled(name, measure, contender, ours[contender].compile_seconds[measure])
        record(result, measure, progress.measure(name, measure, contenders, setup.rounds))
        save()
        for variant, workload in theirs.items():
            if measure in _MEMORY_OF:
                progress.now(f": memory of {variant}")
                memory = result["torch_memory_bytes"].setdefault(variant, {})
                memory[measure] = workload.peak_memory_bytes(measure)
            if measure == "deterministic_step":
                result.setdefault("torch_nondeterministic", {})[variant] = sorted(workload.nondeterministic)
        progress.estimate.finish((name, measure))
        save()


def is_measured(result: dict[str, Any], measure: str, setup: Setup) -> bool:
    """Tells whether a result holds all rounds of a measure, and what PyTorch's memory was."""
    has_memory = measure not in _MEMORY_OF or all(
        measure in result.get("torch_memory_bytes", {}).get(variant, {}) for variant in setup.variants
    )
    return has_memory and result.get("rounds", {}).get(measure, 0) >= setup.rounds


def record(result: dict[str, Any], key: str, seconds: dict[str, list[float]]) -> None:
    """Puts times into `seconds`, `spread` and `rounds` of a result."""
    result.setdefault("seconds", {})[key] = {name: statistics.median(values) for name, values in seconds.items()}
    result.setdefault("spread", {})[key] = {name: [min(values), max(values)] for name, values in seconds.items()}
    result.setdefault("rounds", {})[key] = min(map(len, seconds.values()))


def _compile(workload: Workload, measure: str, costs: dict[str, Any]) -> None:
    """Compiles a program of ours, and puts what it costs into `costs`."""
    workload.prepare(measure)
    for key, value in (
        ("compile_seconds", workload.compile_seconds[measure]),
        ("memory_bytes", workload.memory_bytes(measure)),
        ("temporary_bytes", workload.temporary_bytes(measure)),
    ):
        costs.setdefault(key, {})[measure] = value


def measure_pooling(size: tuple[int, int], rounds: int) -> dict[str, Any]:
    """Measures pooling and unpooling of one image of 64 channels against PyTorch's, ten times as often as networks.

    Returns:
      JSON-like values: `channels`, and `seconds` and `index_bytes` by contender.
    """
    import torch

    x = jax.random.normal(jax.random.key(0), (1, *size, _POOLING_CHANNELS))

    @jax.jit
    def pool_and_unpool(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        pooled, indices = max_pool_argmax(x)
        return max_unpool(pooled, indices, size), indices

    contenders: dict[str, Callable[[], object]] = {"ours": lambda: jax.block_until_ready(pool_and_unpool(x))}
    pool = torch.nn.MaxPool2d(2, 2, ceil_mode=True, return_indices=True)
    unpool = torch.nn.MaxUnpool2d(2, 2)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    nchw = torch.randn(1, _POOLING_CHANNELS, *size, device=device)

    def torch_run(x: Any) -> None:
        with torch.inference_mode():
            unpool(*pool(x), output_size=size)
        if device == "cuda":
            torch.cuda.synchronize()

    contenders["torch"] = lambda: torch_run(nchw)
    nhwc = nchw.contiguous(memory_format=torch.channels_last)
    contenders["torch channels_last"] = lambda: torch_run(nhwc)
    _, torch_indices = pool(nchw)
    index_bytes = {
        "ours": pool_and_unpool(x)[1].nbytes,
        "torch": torch_indices.numel() * torch_indices.element_size(),
    }
    seconds = timing.interleaved(contenders, 10 * rounds, warm_up=5)
    return {"channels": _POOLING_CHANNELS, "seconds": seconds, "index_bytes": index_bytes}
