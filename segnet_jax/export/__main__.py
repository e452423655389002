"""Writes a trained network as a file for other programs, and checks that it computes the same there.

python -m segnet_jax.export WHERE --format=onnx|stablehlo --output=FILE

WHERE is a work directory, a folder or .safetensors file that `Segmenter.save_pretrained` wrote, the name of a shipped
network, or OWNER/NAME of a repository on the Hugging Face hub. docs/deployment.md shows how the files are used.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    try:
        _run(options)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _run(options: argparse.Namespace) -> None:
    needed, write = _FORMATS[options.format]
    if missing := [name for name in needed if importlib.util.find_spec(name) is None]:
        raise InputError(f"--format={options.format} needs {missing[0]}; pip install -r requirements-export.txt.")
    if options.format != "onnx" and (options.native or options.float16):
        raise InputError("--native and --float16 are for --format=onnx; leave them out.")
    from segnet_jax.runtime.files import write_errors

    output = Path(options.output).expanduser()
    temporary = output.with_name(f"{output.name}.tmp")
    with write_errors(output):
        if output.is_dir():
            raise InputError(f"{output} is a folder; give a file.")
        output.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
    try:
        _export(options, write, temporary)
        with write_errors(output):
            os.replace(temporary, output)
    finally:
        temporary.unlink(missing_ok=True)
    print(f"{output}: {output.stat().st_size / 1e6:.1f} MB, {options.outputs} of `{options.where}`.")


def _export(options: argparse.Namespace, write: Callable[..., Any], path: Path) -> None:
    """Writes the file, and compares what it computes with the network."""
    # Imported here, so that --help and mistakes on the command line are answered at once.
    from segnet_jax.export.check import agreement
    from segnet_jax.export.program import Program
    from segnet_jax.inference.from_config import build_preparation
    from segnet_jax.inference.pretrained import load_network

    trained = load_network(options.where, revision=options.revision)
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
    largest, share = _TOLERANCE[options.float16]
    if not (difference <= largest and equal >= share):
        raise InputError(f"The exported network does not compute what the network does: {summary}; please report this.")
    print(f"Compared with the network: {summary}.")
    if smallest > 1:
        print(f"It takes images of at least {smallest}x{smallest}.")


def _write_onnx(program: Program, path: Path, options: argparse.Namespace) -> tuple[Callable[[Any], Any], int]:
    """Writes an ONNX file; returns what runs it in ONNX Runtime, and the smallest size that it takes."""
    import numpy as np
    import onnxruntime

    from segnet_jax.export.onnx import INPUT, to_onnx
    from segnet_jax.runtime.files import write_errors

    model = to_onnx(program, native=options.native, dtype=np.float16 if options.float16 else np.float32)
    with write_errors(path):
        path.write_bytes(model.SerializeToString())
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    return lambda images: session.run(None, {INPUT: images})[0], int(metadata["smallest_size"])


def _write_stablehlo(program: Program, path: Path, options: argparse.Namespace) -> tuple[Callable[[Any], Any], int]:
    """Writes a StableHLO file; returns what runs it, and the smallest size that it takes."""
    del options
    from segnet_jax.export.stablehlo import load_stablehlo, to_stablehlo
    from segnet_jax.runtime.files import write_errors

    exported, smallest = to_stablehlo(program)
    with write_errors(path):
        path.write_bytes(exported)
    return load_stablehlo(path.read_bytes()), smallest


# For each format the packages that it needs, and what writes it.
_FORMATS: dict[str, tuple[tuple[str, ...], Callable[..., tuple[Callable[[Any], Any], int]]]] = {
    "onnx": (("onnx", "onnxruntime"), _write_onnx),
    "stablehlo": (("flatbuffers",), _write_stablehlo),
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m segnet_jax.export",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("where", metavar="WHERE", help="the network, see above")
    parser.add_argument("--format", choices=list(_FORMATS), required=True, help="of the file")
    parser.add_argument("--output", required=True, metavar="FILE", help="the file, which appears when it is whole")
    parser.add_argument(
        "--outputs", choices=_OUTPUTS, default="labels", help="what the file computes; labels by default"
    )
    parser.add_argument("--no_preprocessing", action="store_true", help="it takes normalised images, float32")
    parser.add_argument("--float16", action="store_true", help="ONNX: weights and activations in 16 bits")
    parser.add_argument(
        "--native",
        action="store_true",
        help="ONNX: its own MaxUnpool, for ONNX Runtime on CPUs, instead of the portable form",
    )
    parser.add_argument("--revision", default=None, help="branch, tag or commit of a repository on the hub")
    return parser


if __name__ == "__main__":
    sys.exit(main())
