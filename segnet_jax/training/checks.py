"""Checks that the values of a training run fit each other, and that what it reads is there."""

from __future__ import annotations

from pathlib import Path

import ml_collections

from segnet_jax.config import mixture_components
from segnet_jax.data.from_config import DATASETS, build_augmentation
from segnet_jax.errors import InputError
from segnet_jax.inference.pretrained import is_network
from segnet_jax.models import models_with_vgg16
from segnet_jax.training.objective import parse_terms


def check_run(config: ml_collections.ConfigDict) -> None:
    """Checks that the values of a training run fit each other.

    Raises:
      InputError: for the first ones that do not, by their keys.
    """
    if config.train.procedure == "layerwise":
        _check_layerwise(config)
    build_augmentation(config)
    terms = parse_terms(config.loss.name)
    if config.loss.label_smoothing and "cross_entropy" not in dict(terms):
        raise InputError(
            f"loss.label_smoothing={config.loss.label_smoothing} is of cross_entropy, which "
            f"loss.name={config.loss.name!r} has not; set it to 0."
        )
    if config.loss.teachers and "distillation" not in dict(terms):
        raise InputError(
            f"loss.teachers is for distillation, which loss.name={config.loss.name!r} has not; add it, as in "
            "'cross_entropy + distillation'."
        )
    if "distillation" in dict(terms) and not config.loss.teachers:
        raise InputError(
            f"loss.name={config.loss.name!r} distils networks, and loss.teachers names none; give one or more, such as "
            """--config.loss.teachers='("runs/wide",)'."""
        )
    fitting = models_with_vgg16()
    if config.pretrained.weights == "vgg16" and (
        config.model.name not in fitting or config.model.width_multiplier != 1.0
    ):
        raise InputError(
            f"pretrained.weights=vgg16 fits only model.name={', '.join(fitting[:-1])} or {fitting[-1]}, at "
            "model.width_multiplier=1.0; choose these, or --config.pretrained.weights=none."
        )
    if config.pretrained.decoder == "mirrored" and config.model.name != "segnet":
        raise InputError(
            f"pretrained.decoder=mirrored is for model.name=segnet alone, not {config.model.name}; set it to he."
        )


def check_paths(config: ml_collections.ConfigDict, *, resumes: bool = False) -> None:
    """Checks that what a run reads is there: its data and, unless it `resumes`, what it starts from.

    Raises:
      InputError: for all that is missing at once.
    """
    missing = []
    components = mixture_components(config) if config.data.name == "mixture" else ()
    for data in (part.config.data for part in components) if components else (config.data,):
        if data.name not in DATASETS or "data.root" not in DATASETS[data.name][1] or "://" in data.root:
            continue
        if not data.root:
            missing.append(f"data.name={data.name} needs data.root, the folder that holds it")
        elif not Path(data.root).expanduser().is_dir():
            missing.append(f"data.root={data.root} is not a folder")
    missing += [
        f"loss.teachers has {teacher}, which holds no checkpoint and no network; give the work directory of a training "
        "run, or the folder of a saved network"
        for teacher in config.loss.teachers
        if not is_network(teacher)
    ]
    if not resumes:
        path = config.pretrained.path
        if config.pretrained.weights != "none" and path and not Path(path).expanduser().is_file():
            missing.append(f"pretrained.path={path} is not a file; give the .safetensors file of VGG16")
        source = config.transfer.source
        if source and not is_network(source):
            missing.append(
                f"transfer.source={source} holds no checkpoint and no network; give the work directory of a training "
                "run, or the folder of a saved network"
            )
    if missing:
        raise InputError(f"{'. '.join(missing)}.")


def _check_layerwise(config: ml_collections.ConfigDict) -> None:
    if config.model.name != "segnet_flat":
        raise InputError(
            f"train.procedure=layerwise trains model.name=segnet_flat, not {config.model.name}; change one of them."
        )
    if config.train.average_decay:
        raise InputError("train.average_decay is for train.procedure=end_to_end; set it to 0.")
    if config.loss.name != "cross_entropy" or config.loss.label_smoothing:
        raise InputError(
            f"loss.name={config.loss.name!r} and loss.label_smoothing={config.loss.label_smoothing} are for "
            "train.procedure=end_to_end; layer-wise training minimises the cross_entropy without smoothing."
        )
    if config.transfer.trained != ".*" or config.transfer.frozen:
        raise InputError(
            "transfer.trained and transfer.frozen are for train.procedure=end_to_end; layer-wise training goes by "
            "layerwise.first_pair and layerwise.classifier."
        )
    if config.layerwise.first_pair > 1 and not config.transfer.source:
        raise InputError(
            f"layerwise.first_pair={config.layerwise.first_pair} takes the pairs before it from transfer.source; "
            "give the work directory of the run that trained them."
        )
