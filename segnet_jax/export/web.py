"""Networks as a page that segments pictures, the camera and videos in the visitor's browser, for any static host."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx

import segnet_jax
from segnet_jax.data.preprocessing import RGB
from segnet_jax.errors import InputError
from segnet_jax.export.half_weights import halve_weights
from segnet_jax.export.onnx import to_onnx
from segnet_jax.export.program import Program
from segnet_jax.export.web_runtime import PROVIDERS, VERSION
from segnet_jax.inference.from_config import describe_training

_PAGE = Path(__file__).parent / "page"
# Of the page of segnet_jax.demo, which looks and shows results alike.
_DEMO_PAGE = Path(segnet_jax.__file__).parent / "demo" / "page"
_SHARED = ("page.css", "overlay.js", "icon.svg")

MODEL = "model.onnx"
_DESCRIPTION = "network.json"


def web_model(program: Program) -> tuple[onnx.ModelProto, int]:
    """Returns the model of the page, from RGB images to logits, and the smallest height and width that it takes.

    Weights are float16, which halves what a visitor loads. The rest is float32: activations in float16 are no faster on
    processors, need a graphics card that has them, and change several times as many labels.

    Raises:
      InputError: if the network cannot be exported, or takes other images than RGB.
    """
    trained = program.trained
    if (trained.modalities, trained.image_dtype) != (RGB, "uint8"):
        raise InputError(
            f"This network takes {trained.image_dtype} images of {program.channels} channels, and the page has RGB "
            "pictures of 8 bits; give a network that was trained on these."
        )
    model = to_onnx(program)
    halve_weights(model)
    smallest = next(entry.value for entry in model.metadata_props if entry.key == "smallest_size")
    return model, int(smallest)


def page_files(program: Program, model: bytes, smallest: int, runtime: dict[str, bytes]) -> dict[str, bytes]:
    """Returns the files of the page by their paths.

    Args:
      program: the network.
      model: it as `web_model` gives it, serialized.
      smallest: height and width that it needs.
      runtime: of `web_runtime.read_runtime`.
    """
    sources = {path.name: path for path in (*_PAGE.iterdir(), *(_DEMO_PAGE / name for name in _SHARED))}
    examples = {f"examples/{path.name}": path for path in sorted((_DEMO_PAGE / "examples").iterdir())}
    files = {name: path.read_bytes() for name, path in (sources | examples).items()}
    loaded = {MODEL: model, **{f"runtime/{name}": content for name, content in runtime.items()}}
    trained = program.trained
    network, dataset, _, _ = describe_training(trained.run_config)
    table = trained.class_table
    description: dict[str, Any] = {
        "network": network,
        "dataset": dataset,
        "classes": [
            {"name": name, "color": color} for name, color in zip(table.names, table.colors.tolist(), strict=True)
        ],
        "image_size": program.preparation.image_size,
        "resize": program.preparation.method,
        "smallest": smallest,
        "examples": list(examples),
        # What the page is made of, and of what is loaded with it the sizes in bytes.
        "page": [*files, _DESCRIPTION],
        "sizes": {name: len(content) for name, content in loaded.items()},
        "runtime": {name: {"script": f"{script}.js", "binary": binary} for name, (script, binary) in PROVIDERS.items()},
        "runtime_version": VERSION,
        "segnet_jax": segnet_jax.__version__,
    }
    return {**files, **loaded, _DESCRIPTION: json.dumps(description, indent=1).encode()}


def other_files(folder: Path) -> set[str]:
    """Returns the paths of the files in a folder that are not those of a page."""
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}
    try:
        description = json.loads((folder / _DESCRIPTION).read_bytes())
        return there - {*description["page"], *description["sizes"]}
    except (OSError, ValueError, KeyError, TypeError):
        return there
