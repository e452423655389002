"""Builds evaluations from a configuration."""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import ml_collections

from segnet_jax.config import reconstructs, shared_keys
from segnet_jax.data.class_map import Mapped
from segnet_jax.data.dataset import Dataset, image_dtype_of, modalities_of
from segnet_jax.data.from_config import (
    build_dataset,
    build_eval_dataset,
    build_normalization,
    build_train_batches,
)
from segnet_jax.data.preprocessing import Normalize
from segnet_jax.errors import InputError
from segnet_jax.evaluation.batch_stats import exact_batch_stats
from segnet_jax.evaluation.evaluator import Evaluator
from segnet_jax.evaluation.result import Settings
from segnet_jax.inference.from_config import build_crf
from segnet_jax.inference.pretrained import load_network
from segnet_jax.inference.trained_model import load_trained
from segnet_jax.models.base import SegmentationModel
from segnet_jax.runtime.collectives import require_same
from segnet_jax.runtime.processes import all_devices

_log = logging.getLogger("segnet_jax")


def build_evaluator(
    config: ml_collections.ConfigDict,
    model: SegmentationModel,
    devices: Sequence[jax.Device],
    normalize: Normalize,
    *,
    kind: type[Evaluator] = Evaluator,
) -> Evaluator:
    """Builds the configured evaluation, on `devices`.

    Args:
      config: the configuration.
      model: the network.
      devices: to map over.
      normalize: from images to the network's input.
      kind: the evaluation's class.

    Raises:
      InputError: if stochastic passes are asked of a network without dropout.
    """
    if config.eval.samples and not model.dropout_rate:
        raise InputError(
            f"eval.samples={config.eval.samples} needs a network with dropout, and this one has none; "
            "train one with model.dropout_rate=0.5, or set eval.samples=0."
        )
    if config.eval.samples and (config.eval.flip or tuple(config.eval.scales) != (1.0,)):
        raise InputError(
            "eval.samples gives the mean of stochastic passes, eval.flip and eval.scales that of copies of the image; "
            "choose one of them."
        )
    return kind(
        model,
        normalize,
        devices,
        samples=config.eval.samples,
        seed=config.seed,
        scales=tuple(config.eval.scales),
        flip=config.eval.flip,
        crf=build_crf(config),
        per_image=config.eval.per_image,
        pictures_by_score=config.eval.pictures_by_score,
        **_reading(config),
    )


def build_settings(
    config: ml_collections.ConfigDict, trained: ml_collections.ConfigDict | None = None, weights: str = ""
) -> Settings:
    """Builds the settings that a report states.

    Args:
      config: of the evaluation.
      trained: the training run's configuration; None where it is `config`.
      weights: the network that was evaluated in place of the run's own.
    """
    parts = ["crf"] if config.crf.enabled else []
    class_map: tuple[tuple[str, str], ...] = ()
    if config.eval.samples:
        parts.append(f"samples{config.eval.samples}")
    if config.eval.flip:
        parts.append("flip")
    if tuple(config.eval.scales) != (1.0,):
        parts.append("scales")
    if config.data.max_images:
        parts.append(f"first{config.data.max_images}")
    size = tuple(config.data.image_size)
    if trained is not None:
        if config.eval.batch_norm != trained.eval.batch_norm:
            parts.append(config.eval.batch_norm)
        if size != tuple(trained.data.image_size):
            parts.append("x".join(map(str, size)) or "native")
        if config.data.name == "mixture" and config.eval.mixture != trained.eval.mixture:
            parts.append({"first": "firstset", "all": "allsets"}[config.eval.mixture])
        if class_map := config.eval.class_map:
            parts.append("mapped")
    if weights:
        parts.append("weights")
    return Settings(
        data=config.data.root or config.data.name,
        image_size=size,
        batch_norm=config.eval.batch_norm,
        max_images=config.data.max_images,
        scales=tuple(config.eval.scales),
        flip=config.eval.flip,
        class_map=class_map,
        weights=weights,
        kind="".join(f"-{part}" for part in parts),
    )


def compute_exact_batch_stats(
    config: ml_collections.ConfigDict,
    model: SegmentationModel,
    normalize: Normalize,
    variables: Any,
    dataset: Dataset,
    devices: Sequence[jax.Device],
) -> Any:
    """Computes BatchNorm's statistics over one pass of the training split, as it is trained on; {} without any."""
    num_batches = math.ceil(len(dataset) / config.train.batch_size)
    with contextlib.closing(build_train_batches(config, dataset, devices, 0)) as batches:
        first_pass = itertools.islice(batches, num_batches)
        return exact_batch_stats(model, normalize, variables, first_pass, devices)


class CheckpointEvaluation:
    """A trained network and the split to evaluate it on: where the modes `eval`, `missing` and `ablation` start.

    Args:
      workdir: of a training run.
      overrides: by dotted key, over the run's configuration: `eval.checkpoint` (best, latest or a step),
        `data.eval_split`, `data.root`, ...
      weights: a network to evaluate in place of the run's checkpoint, see `pretrained.load_network`; "" has none.
      **caffe: `prototxt` and `architecture` of weights in Caffe's format, as there.

    Attributes:
      trained: the network.
      dataset: the split, in the classes of the network.
      devices: of all processes, to map over.
      normalize: from images to the network's input.
      settings: that the report states.
      pictures: the number of images of the sheet.
      missing_pixels: shares of missing pixels, 0 to 1.
      missing_block: side of the squares in which they are missing.
      top_features: numbers of strongest features.
      single_features: the number of images on which each feature is studied by itself.
      reading: keyword arguments of `pipeline.eval_batches`.

    Raises:
      InputError: if checkpoint or data cannot be read, the classes (without `eval.class_map`) or modalities of the data
        are not those that the network was trained on, the network knows no classes, or processes differ in what they
        have.
    """

    def __init__(
        self, workdir: Path, overrides: Mapping[str, Any] | None = None, weights: str = "", **caffe: str
    ) -> None:
        if weights:
            trained = load_network(weights, overrides, **caffe)
        elif any(caffe.values()):
            raise InputError("--prototxt and --architecture describe a .caffemodel file; give that as --weights.")
        else:
            trained = load_trained(workdir, overrides)
        self.trained = trained
        self._config = config = trained.config
        if reconstructs(config):
            raise InputError(
                f"{workdir} holds a network that reconstructs its input and knows no classes; train one from it, with "
                "--config.transfer.source."
            )
        dataset = build_eval_dataset(config)
        if config.eval.class_map:
            dataset = Mapped(dataset, trained.class_table, config.eval.class_map)
        self.dataset = dataset
        if dataset.class_table != trained.class_table:
            raise InputError(
                f"The classes of {dataset.name} ({', '.join(dataset.class_table.names)}) are not those that {workdir} "
                f"was trained on ({', '.join(trained.class_table.names)}); choose the data set and the class table of "
                "the run, or map the classes of the data by eval.class_map."
            )
        if modalities_of(dataset) != trained.modalities:
            raise InputError(
                f"The images of {dataset.name} have modalities of {modalities_of(dataset)} channels, those that "
                f"{workdir} was trained on had {trained.modalities}; choose the data set of the run."
            )
        if (dtype := image_dtype_of(dataset)) != trained.image_dtype:
            raise InputError(
                f"The images of {dataset.name} are {dtype}, those that {workdir} was trained on were "
                f"{trained.image_dtype}, so their values mean something else; choose the data set of the run."
            )
        require_same({**shared_keys(config), "checkpoint": trained.step, "number of images": len(dataset)})
        self.devices = all_devices()
        self.normalize = build_normalization(
            config, trained.modalities, trained.modality_names, trained.channel_statistics
        )
        self.settings = build_settings(config, trained.run_config, weights)
        self.pictures: int = config.eval.pictures
        self.missing_pixels: tuple[float, ...] = config.eval.missing_pixels
        self.missing_block: int = config.eval.missing_block
        self.top_features: tuple[int, ...] = config.eval.top_features
        self.single_features: int = config.eval.single_features
        self.reading = _reading(config)

    def train_data(self) -> Dataset:
        """Opens the training split."""
        split = build_dataset(self._config, self._config.data.train_split)
        require_same({"number of training images": len(split)})
        return split

    def variables(self) -> dict[str, Any]:
        """Returns the variables to evaluate with; computes exact batch statistics if they are wanted and missing."""
        trained = self.trained
        if self.settings.batch_norm == "running" or trained.has_exact_batch_stats:
            return trained.variables
        _log.info("The statistics of BatchNorm are computed from the training split.")
        batch_stats = compute_exact_batch_stats(
            self._config, trained.model, self.normalize, trained.variables, self.train_data(), self.devices
        )
        return {**trained.variables, "batch_stats": batch_stats}

    def build_evaluator(self, normalize: Normalize) -> Evaluator:
        """Builds the evaluator with a normalisation of its own."""
        return build_evaluator(self._config, self.trained.model, self.devices, normalize)


def _reading(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """Returns how splits are read: the keyword arguments that `Evaluator` and `eval_batches` share."""
    data = config.data
    return {
        "batch_size": config.eval.batch_size,
        "image_size": tuple(data.image_size),
        "num_workers": data.num_workers,
        "num_threads": data.num_threads,
    }
