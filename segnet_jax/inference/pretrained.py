"""Networks to share: a folder with `model.safetensors`, `config.json` and a model card, here or on a hub."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import segnet_jax
from segnet_jax.checkpoint.manager import exists
from segnet_jax.errors import InputError
from segnet_jax.inference.caffe import read_caffe_network
from segnet_jax.inference.from_config import overridden, public_config, stored_config
from segnet_jax.inference.model_card import write_card
from segnet_jax.inference.trained_model import TrainedModel, build_trained, load_trained, variable_shapes
from segnet_jax.runtime.files import write_atomically, write_errors
from segnet_jax.weights.hub import fetch
from segnet_jax.weights.safetensors import load_variables, save_variables

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
_FORMAT, _VERSION = "segnet_jax network", 1
_ASSETS = Path(segnet_jax.__file__).parent / "assets"


def load_network(
    where: str | Path,
    overrides: Mapping[str, Any] | None = None,
    revision: str | None = None,
    *,
    prototxt: str | Path = "",
    architecture: str = "",
) -> TrainedModel:
    """Loads a trained network.

    Args:
      where: a work directory; a folder that `save_network` wrote; its .safetensors file, under any name, with `CONFIG`
        beside it; the name of a shipped network; OWNER/NAME of a repository on the Hugging Face hub; or a .caffemodel
        file, see `caffe.read_caffe_network`.
      overrides: by dotted key, over the configuration that it was trained with.
      revision: branch, tag or commit of the repository; None is its main branch.
      prototxt: the definition that goes with a .caffemodel file, if it is at hand.
      architecture: the name of a .caffemodel file's network, if the file itself does not tell.

    Raises:
      InputError: if there is no such network, or its files are damaged.
    """
    path = Path(where).expanduser()
    if path.suffix == ".caffemodel":
        metadata, variables = read_caffe_network(path, prototxt, architecture)
        run_config = stored_config(metadata)
        config = overridden(run_config, overrides or {})
        return build_trained(metadata, variables, config, run_config, 0, {}, metadata["exact_batch_stats"])
    if prototxt or architecture:
        raise InputError(f"prototxt and architecture describe a .caffemodel file, and {where} is none; leave them out.")
    if exists(path / "checkpoints"):
        return load_trained(path, overrides)
    weights = _find_weights(path) or _download(str(where), revision) / WEIGHTS
    metadata = _read_metadata(weights.with_name(CONFIG))
    run_config = stored_config(metadata)
    return build_trained(
        metadata,
        load_variables(weights, variable_shapes(metadata)),
        overridden(run_config, overrides or {}),
        run_config,
        metadata["step"],
        metadata["scores"],
        metadata["exact_batch_stats"],
    )


def is_network(where: str | Path) -> bool:
    """Tells whether `where` is something on this machine that `load_network` reads, without opening it."""
    path = Path(where).expanduser()
    if path.suffix == ".caffemodel":
        return path.is_file()
    return exists(path / "checkpoints") or _find_weights(path) is not None


def _find_weights(path: Path) -> Path | None:
    """Returns the weights' file of a saved or shipped network: `path` itself, or the one in that folder; or None."""
    if path.suffix == ".safetensors" and path.is_file():
        return path
    there = (folder / WEIGHTS for folder in (path, _ASSETS / path))
    return next((weights for weights in there if weights.is_file()), None)


def save_network(trained: TrainedModel, folder: Path, *, eight_bits: bool = False) -> None:
    """Writes a network into `folder`, which is made: the files `WEIGHTS`, `CONFIG` and `CARD`.

    Args:
      trained: the network.
      folder: empty, or with an earlier one, which is replaced.
      eight_bits: whether kernels are stored in 8 bits per value, see `weights.safetensors`.

    Raises:
      InputError: if it cannot be written, or holds other files.
    """
    if folder.is_dir() and (others := {path.name for path in folder.iterdir()} - {WEIGHTS, CONFIG, CARD}):
        raise InputError(f"{folder} holds other files, such as {min(others)}; choose an empty folder.")
    metadata = {
        "format": _FORMAT,
        "version": _VERSION,
        "segnet_jax": segnet_jax.__version__,
        **{key: value for key, value in trained.metadata.items() if key != "config"},
        "exact_batch_stats": trained.has_exact_batch_stats,
        "step": trained.step,
        "scores": dict(trained.scores),
        "config": public_config(trained.run_config),
    }
    with write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    save_variables(folder / WEIGHTS, trained.variables, eight_bits=eight_bits)
    with write_errors(folder):
        write_atomically(folder / CONFIG, json.dumps(metadata, indent=2) + "\n")
        size = (folder / WEIGHTS).stat().st_size
        write_atomically(folder / CARD, write_card(trained, size=size, eight_bits=eight_bits))


def shipped_networks() -> list[str]:
    """Returns the names of the networks that come with the package."""
    return sorted(path.parent.name for path in _ASSETS.glob(f"*/{WEIGHTS}"))


def _read_metadata(path: Path) -> dict[str, Any]:
    try:
        metadata = json.loads(path.read_text(encoding="utf-8"))
        if (metadata["format"], metadata["version"]) != (_FORMAT, _VERSION):
            raise ValueError(f"it is {metadata['format']}, version {metadata['version']}, not {_FORMAT}, {_VERSION}")
        for key in ("config", "class_table", "step", "scores", "exact_batch_stats"):
            if key not in metadata:
                raise ValueError(f"it lacks {key!r}")
        return metadata
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing; copy it together with the weights.") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} does not describe a network of segnet_jax ({error}); copy it again.") from error


def _download(repository: str, revision: str | None) -> Path:
    """Fetches a repository's two files, or finds them in the hub's cache; returns their folder."""
    shipped = ", ".join(shipped_networks()) or "none"
    if repository.count("/") != 1 or Path(repository).exists():
        raise InputError(
            f"{repository} is no work directory, no folder with {WEIGHTS} and no shipped network ({shipped}); give one "
            "of these, or OWNER/NAME of a repository on the Hugging Face hub."
        )
    advice = "check its name and the connection, or download its files and give their folder"
    for file in (WEIGHTS, CONFIG):
        found = fetch(repository, file, revision, refresh=True, advice=advice)
    return found.parent
