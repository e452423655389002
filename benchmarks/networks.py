"""Measures networks, and pooling with unpooling by itself, beside PyTorch's if asked."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import timing
from benchmarks.workload import Workload
from segnet_jax.ops.pooling import max_pool_argmax, max_unpool

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
MEASURES = ("forward", "train_forward", "gradient", "train_step")
# What each setting computes anew in the backward pass, see SegmentationModel.remat.
SETTINGS = {"fast": "none", "lean": "activations", "leanest": "stages"}
_POOLING_CHANNELS = 64


def measure_network(
    name: str,
    size: tuple[int, int],
    *,
    train_batch: int,
    dtype: str,
    settings: Sequence[str],
    rounds: int,
    device: jax.Device,
    with_torch: bool = False,
    torch_compile: bool = False,
) -> dict[str, Any]:
    """Measures times, memory and costs of a network, ours in each setting and PyTorch's in each of its forms.

    `size` is (height, width) in pixels. A training step takes `train_batch` images, the other measures one.

    Returns:
      JSON-like values: `parameters`, `model_bytes`, `flops`, `ours` (by setting), `seconds` (by measure, then by
      setting or variant) and, with PyTorch, `torch_memory_bytes` (by variant).
    """
    workloads = {
        setting: Workload(
            name,
            image_size=size,
            train_batch=train_batch,
            device=device,
            dtype=DTYPES[dtype],
            remat=SETTINGS[setting],
        )
        for setting in settings
    }
    ours = {}
    for setting, workload in workloads.items():
        # Rematerialisation does not concern inference.
        measures = MEASURES if setting == "fast" else MEASURES[1:]
        workload.prepare(*measures)
        ours[setting] = {
            "compile_seconds": workload.compile_seconds,
            "memory_bytes": {what: workload.memory_bytes(what) for what in (measures[0], "train_step")},
            "temporary_bytes": {what: workload.temporary_bytes(what) for what in (measures[0], "train_step")},
        }
    first = next(iter(workloads.values()))
    result: dict[str, Any] = {
        "parameters": first.parameters,
        "model_bytes": first.model_bytes,
        "flops": {what: first.flops(what) for what in ("forward", "gradient")},
        "ours": ours,
        "seconds": {},
    }
    theirs = _torch_workloads(name, size, train_batch, dtype, compiled=torch_compile) if with_torch else {}
    for what in MEASURES:
        prepared = {key: workload for key, workload in workloads.items() if what in workload.compile_seconds}
        contenders = {key: functools.partial(workload.run, what) for key, workload in (prepared | theirs).items()}
        result["seconds"][what] = timing.interleaved(contenders, rounds)
    if theirs:
        result["torch_memory_bytes"] = {
            variant: {what: workload.peak_memory_bytes(what) for what in ("forward", "train_step")}
            for variant, workload in theirs.items()
        }
    return result


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


def _torch_workloads(
    name: str, size: tuple[int, int], train_batch: int, dtype: str, *, compiled: bool
) -> dict[str, Any]:
    from benchmarks.pytorch.workload import TorchWorkload

    variants: dict[str, dict[str, bool]] = {"torch": {}, "torch channels_last": {"channels_last": True}}
    if compiled:
        variants["torch channels_last compile"] = {"channels_last": True, "compiled": True}
    return {
        variant: TorchWorkload(name, image_size=size, train_batch=train_batch, dtype=dtype, **fields)
        for variant, fields in variants.items()
    }
