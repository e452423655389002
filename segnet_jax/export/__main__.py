"""Writes a trained network as a file for other programs, and checks that it computes the same there.

python -m segnet_jax.export WHERE --format=onnx|stablehlo --output=FILE
python -m segnet_jax.export WHERE --format=web --output=FOLDER

The last one is a page for any static host, which segments pictures, the camera and videos in the visitor's browser.

WHERE is a work directory, a folder or .safetensors file that `Segmenter.save_pretrained` wrote, the name of a shipped
network, OWNER/NAME of a repository on the Hugging Face hub, or one of the SegNet authors' .caffemodel files.
docs/deployment.md shows how the files are used.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib.util
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segnet_jax.command import add_network, make_parser, network_of, run_command
from segnet_jax.errors import InputError

if TYPE_CHECKING:
    from segnet_jax.export.program import Program

_OUTPUTS = ("labels", "probabilities", "logits")

# The largest difference that passes, over the largest logit or probability, and the smallest share of equal labels. In
# float16 rounding moves maxima between neighbours, so a value can be far off where labels are not.
_TOLERANCE = {False: (1e-3, 0.999), True: (float("inf"), 0.95)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Exports what the command line names; returns the exit status."""
    options = _parser().parse_args(arguments)
    return run_command(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    needed, write = _FORMATS[options.format]
    if missing := [name for name in needed if importlib.util.find_spec(name) is None]:
        raise InputError(f"--format={options.format} needs {missing[0]}; pip install -r requirements-export.txt.")
    if options.format != "onnx" and (options.native or options.float16):
        raise InputError("--native and --float16 are for --format=onnx; leave them out.")
    is_page = options.format == "web"
    if is_page and (options.outputs or options.no_preprocessing):
        raise InputError("--outputs and --no_preprocessing are not for --format=web; leave them out.")
    if options.runtime and not is_page:
        raise InputError("--runtime is for --format=web; leave it out.")
    options.outputs = options.outputs or ("logits" if is_page else "labels")

    output = Path(options.output).expanduser()
    with (_whole_folder if is_page else _whole_file)(output) as temporary:
        _export(options, write, temporary)
    if is_page:
        size = sum(path.stat().st_size for path in output.rglob("*") if path.is_file())
        print(f"{output}: {size / 1e6:.1f} MB, a page with `{options.where}`.")
        print(f"To see it: python -m http.server --bind 127.0.0.1 --directory {shlex.quote(str(output))}")
    else:
        print(f"{output}: {output.stat().st_size / 1e6:.1f} MB, {options.outputs} of `{options.where}`.")
    return 0


@contextlib.contextmanager
def _whole_file(output: Path) -> Iterator[Path]:
    """Gives a file to write, which becomes `output` in the end, if nothing fails."""
    from segnet_jax.runtime.files import write_errors

    temporary = output.with_name(f"{output.name}.tmp")
    with write_errors(output):
        if output.is_dir():
            raise InputError(f"{output} is a folder; give a file.")
        output.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
    try:
        yield temporary
        with write_errors(output):
            os.replace(temporary, output)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _whole_folder(output: Path) -> Iterator[Path]:
    """Gives a folder to write into, which becomes `output` in the end, instead of an earlier page, if nothing fails."""
    from segnet_jax.export.web import other_files
    from segnet_jax.runtime.files import write_errors

    with write_errors(output):
        if output.exists() and not output.is_dir():
            raise InputError(f"{output} is a file; give a folder.")
        if output.is_dir() and (others := other_files(output)):
            raise InputError(f"{output} holds other files, such as {min(others)}; give a new or an empty folder.")
        output.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f"{output.name}.", suffix=".tmp", dir=output.parent))
    try:
        temporary = beside / "new"
        temporary.mkdir()
        yield temporary
        with write_errors(output):
            if output.is_dir():
                os.replace(output, beside / "old")
            os.replace(temporary, output)
    finally:
        shutil.rmtree(beside)


def _export(options: argparse.Namespace, write: Callable[..., Any], path: Path) -> None:
    """Writes the file, and compares what it computes with the network."""
    # Imported here, so that --help and mistakes on the command line are answered at once.
    from segnet_jax.export.check import agreement
    from segnet_jax.export.program import Program
    from segnet_jax.inference.from_config import build_preparation
    from segnet_jax.inference.pretrained import load_network

    trained = load_network(options.where, **network_of(options))
    preparation = build_preparation(
        trained.config, trained.modalities, trained.modality_names, trained.channel_statistics
    )
    program = Program(trained, preparation, options.outputs, not options.no_preprocessing)
    run, smallest = write(program, path, options)
    found = agreement(program, run, smallest)
    difference, equal = found.difference, found.equal
    if program.output == "labels":
        # The values behind them, of a second file.
        scores = dataclasses.replace(program, output="logits")
        behind = path.with_name(f"{path.name}.logits")
        try:
            difference = agreement(scores, write(scores, behind, options)[0], smallest).difference
        finally:
            behind.unlink(missing_ok=True)
    sizes = ", ".join(f"{height}x{width}" for height, width in found.sizes)
    kind = "probability" if program.output == "probabilities" else "logit"
    summary = f"largest difference {difference:.1e} of the largest {kind}, {100 * equal:.2f} % equal labels, at {sizes}"
    largest, share = _TOLERANCE[options.float16 or options.format == "web"]
    if not (difference <= largest and equal >= share):
        raise InputError(f"The exported network does not compute what the network does: {summary}; please report this.")
    print(f"Compared with the network: {summary}.")
    if smallest > 1:
        print(f"It takes images of at least {smallest}x{smallest}.")


def _write_onnx(program: Program, path: Path, options: argparse.Namespace) -> tuple[Callable[[Any], Any], int]:
    """Writes an ONNX file; returns what runs it in ONNX Runtime, and the smallest size that it takes."""
    import numpy as np

    from segnet_jax.export.onnx import to_onnx
    from segnet_jax.runtime.files import write_errors

    model = to_onnx(program, native=options.native, dtype=np.float16 if options.float16 else np.float32)
    with write_errors(path):
        path.write_bytes(model.SerializeToString())
    smallest = next(entry.value for entry in model.metadata_props if entry.key == "smallest_size")
    return _onnx_runner(path), int(smallest)


def _write_stablehlo(program: Program, path: Path, options: argparse.Namespace) -> tuple[Callable[[Any], Any], int]:
    """Writes a StableHLO file; returns what runs it, and the smallest size that it takes."""
    del options
    from segnet_jax.export.stablehlo import load_stablehlo, to_stablehlo
    from segnet_jax.runtime.files import write_errors

    exported, smallest = to_stablehlo(program)
    with write_errors(path):
        path.write_bytes(exported)
    return load_stablehlo(path.read_bytes()), smallest


def _write_web(program: Program, folder: Path, options: argparse.Namespace) -> tuple[Callable[[Any], Any], int]:
    """Writes a page; returns what runs its network in ONNX Runtime, and the smallest size that this takes."""
    from segnet_jax.export.web import page_files, web_model
    from segnet_jax.export.web_runtime import read_runtime
    from segnet_jax.runtime.files import write_errors

    runtime = read_runtime(Path(options.runtime).expanduser() if options.runtime else None)
    model, smallest = web_model(program)
    content = model.SerializeToString()
    with write_errors(options.output):
        for name, part in page_files(program, content, smallest, runtime).items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(part)
    return _onnx_runner(content), smallest


def _onnx_runner(model: Path | bytes) -> Callable[[Any], Any]:
    """Returns what runs a model in ONNX Runtime, from images to the output."""
    import onnxruntime

    from segnet_jax.export.onnx import INPUT

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {INPUT: images})[0]


# For each format the packages that it needs, and what writes it.
_FORMATS: dict[str, tuple[tuple[str, ...], Callable[..., tuple[Callable[[Any], Any], int]]]] = {
    "onnx": (("onnx", "onnxruntime"), _write_onnx),
    "stablehlo": (("flatbuffers",), _write_stablehlo),
    "web": (("onnx", "onnxruntime"), _write_web),
}


def _parser() -> argparse.ArgumentParser:
    parser = make_parser("export", __doc__)
    add_network(parser)
    parser.add_argument("--format", choices=list(_FORMATS), required=True, help="of the file")
    parser.add_argument("--output", required=True, metavar="FILE", help="the file, which appears when it is whole")
    parser.add_argument("--outputs", choices=_OUTPUTS, default=None, help="what the file computes; labels by default")
    parser.add_argument("--no_preprocessing", action="store_true", help="it takes normalised images, float32")
    parser.add_argument("--float16", action="store_true", help="ONNX: weights and activations in 16 bits")
    parser.add_argument(
        "--native",
        action="store_true",
        help="ONNX: its own MaxUnpool, for ONNX Runtime on CPUs, instead of the portable form",
    )
    parser.add_argument(
        "--runtime",
        default="",
        metavar="FILE",
        help="web: onnxruntime-web as `npm pack` wrote it, where npm is missing or has no network",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
