"""Times inference of one image where networks are deployed: JAX, ONNX Runtime, OpenVINO and PyTorch, in turns.

python -m benchmarks.deployment [--models=segnet,segnet_basic] [--size=360x480] [--threads=2] [--rounds=10]

Each takes the same normalised image and gives logits in float32. The networks are untrained, which changes no time. The
memory is the largest resident set of a process that loads and runs one of them alone, its imports included.
Needs requirements-export.txt, requirements-bench.txt and, for its row, openvino.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.timing import interleaved

_ONNX, _PORTABLE = "ONNX Runtime, native", "ONNX Runtime, portable"
CONTENDERS = ("JAX", _PORTABLE, _ONNX, "OpenVINO, portable", "PyTorch", "PyTorch channels_last")
_NUM_CLASSES = 11


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and prints Markdown."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.deployment", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--models", default="segnet,segnet_basic", help="names, separated by commas")
    parser.add_argument("--size", default="360x480", help="HEIGHTxWIDTH of the image in pixels")
    parser.add_argument(
        "--threads", type=int, default=2, help="of ONNX Runtime, OpenVINO and PyTorch; bind JAX by taskset"
    )
    parser.add_argument("--rounds", type=int, default=10, help="measured runs of each")
    parser.add_argument("--alone", default="", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    height, width = map(int, options.size.split("x"))
    image = np.random.default_rng(0).normal(size=(1, height, width, 3)).astype(np.float32)
    if options.alone:
        run = contender(options.alone, options.models, image, options.threads, options.folder)
        for _ in range(3):
            run()
        # Not of getrusage, whose maximum is at least what the parent process had.
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        print(int(status.partition("VmHWM:")[2].split()[0]) * 1024)
        return
    names = [name for name in CONTENDERS if "OpenVINO" not in name or importlib.util.find_spec("openvino")]
    print(f"{options.size}, batch 1, {len(os.sched_getaffinity(0))} cores, median of {options.rounds} runs in turns.")
    print("\n| network | | ms | over JAX | memory, MB |\n|---|---|---|---|---|")
    for model in options.models.split(","):
        with tempfile.TemporaryDirectory() as folder:
            runs = {name: contender(name, model, image, options.threads, Path(folder)) for name in names}
            seconds = interleaved(runs, options.rounds, warm_up=2)
            del runs
            for name in names:
                memory = _memory_alone(name, model, options, folder)
                over = seconds[name] / seconds["JAX"]
                print(
                    f"| {model} | {name} | {1000 * seconds[name]:.0f} | {over:.2f} | {memory / 1e6:.0f} |", flush=True
                )


def contender(name: str, model: str, image: np.ndarray, threads: int, folder: Path) -> Callable[[], object]:
    """Returns what runs the network `model` on an image, float32 [1, H, W, 3], and waits for the logits.

    ONNX files are written into `folder`, unless they are there.
    """
    if name.startswith("PyTorch"):
        return _pytorch(model, image.shape[1:3], threads, channels_last=name != "PyTorch")
    if name == "JAX":
        import jax

        forward, placed = _program(model).compiled(), jax.device_put(image)
        return lambda: forward(placed)
    path = folder / f"{model}-{'native' if name == _ONNX else 'portable'}.onnx"
    if not path.exists():
        from segnet_jax.export.onnx import to_onnx

        path.write_bytes(to_onnx(_program(model), native=name == _ONNX).SerializeToString())
    if name.startswith("OpenVINO"):
        import openvino

        settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
        compiled = openvino.Core().compile_model(path, "CPU", settings)
        return lambda: compiled(image)
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"images": image})


def _program(name: str) -> Any:
    """Returns an untrained network that takes normalised images and gives logits."""
    import jax

    from segnet_jax.config import default_config
    from segnet_jax.data.class_table import ClassTable
    from segnet_jax.export.program import Program
    from segnet_jax.inference.from_config import build_preparation
    from segnet_jax.inference.trained_model import TrainedModel
    from segnet_jax.models import create_model

    model, config = create_model(name, _NUM_CLASSES), default_config()
    variables = jax.device_get(jax.jit(model.init)(jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32)))
    table = ClassTable.from_entries("classes", [f"class {k}" for k in range(_NUM_CLASSES)])
    trained = TrainedModel({}, config, config, table, model, variables, 0, False)
    return Program(trained, build_preparation(config, trained.modalities), "logits", preprocessing=False)


def _pytorch(model: str, size: Any, threads: int, *, channels_last: bool) -> Callable[[], object]:
    import torch

    from benchmarks.pytorch.workload import TorchWorkload

    torch.set_num_threads(threads)
    workload = TorchWorkload(model, image_size=size, train_batch=1, dtype="float32", channels_last=channels_last)
    return lambda: workload.run("forward")


def _memory_alone(name: str, model: str, options: argparse.Namespace, folder: str) -> int:
    """Returns the largest resident set, in bytes, of a process that runs one contender alone."""
    command = [sys.executable, "-m", "benchmarks.deployment", f"--models={model}", f"--size={options.size}"]
    command += [f"--threads={options.threads}", f"--alone={name}", f"--folder={folder}"]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


if __name__ == "__main__":
    main()
