"""Evaluation of a work directory's checkpoint, which needs nothing but the directory and the data."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from segnet_jax import config
from segnet_jax.config import reconstructs
from segnet_jax.data.dataset import Dataset, modalities_of
from segnet_jax.data.from_config import build_dataset
from segnet_jax.errors import InputError
from segnet_jax.evaluation import metrics
from segnet_jax.evaluation.from_config import build_evaluator, compute_exact_batch_stats
from segnet_jax.inference.trained_model import TrainedModel, load_trained
from segnet_jax.runtime import collectives
from segnet_jax.runtime.processes import all_devices, is_first

_log = logging.getLogger("segnet_jax")


def evaluate_checkpoint(workdir: Path, overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Evaluates a checkpoint on a split, prints the table, and writes its report and a sheet.

    They lie in `eval/` of `workdir`, under names that tell this evaluation from others, see `report_file.report_path`.

    Args:
      workdir: of a training run.
      overrides: by dotted key, over the run's configuration: `eval.checkpoint` (best, latest or a step),
        `data.eval_split`, `data.root`, ...

    Returns:
      The report, see `metrics.summarize`.

    Raises:
      InputError: if the checkpoint or the data cannot be read, or do not fit each other.
    """
    trained = load_trained(workdir, overrides)
    config = trained.config
    dataset = eval_dataset_of(trained, workdir)
    devices = all_devices()
    variables = eval_variables_of(trained, devices)
    evaluator = build_evaluator(config, trained.model, devices, trained.modalities)
    evaluation = evaluator(variables, dataset, boundary_f1=True, num_pictures=config.eval.pictures)
    if not is_first():
        return evaluation.report
    path = evaluation.write(workdir, config, dataset.split, trained.step, dataset.class_table, trained.run_config)
    _log.info("Step %d on %s (%s):", trained.step, dataset.name, dataset.split)
    _log.info("%s", metrics.format_table(evaluation.report))
    _log.info("Written: %s and the sheet beside it.", path)
    return evaluation.report


def eval_dataset_of(trained: TrainedModel, workdir: Path) -> Dataset:
    """The evaluation split of the configuration of `trained`, which was read from `workdir`.

    Raises:
      InputError: if its classes or modalities are not those that the network was trained on, the network labels
        nothing, or processes differ in what they have.
    """
    if reconstructs(trained.config):
        raise InputError(
            f"{workdir} holds a network that reconstructs its input and knows no classes; train one from it, with "
            "--config.transfer.source."
        )
    dataset = build_dataset(trained.config, trained.config.data.eval_split)
    if dataset.class_table != trained.class_table:
        raise InputError(
            f"The classes of {dataset.name} ({', '.join(dataset.class_table.names)}) are not those that {workdir} was "
            f"trained on ({', '.join(trained.class_table.names)}); choose the data set and the class table of the run."
        )
    if modalities_of(dataset) != trained.modalities:
        raise InputError(
            f"The images of {dataset.name} have modalities of {modalities_of(dataset)} channels, those that "
            f"{workdir} was trained on had {trained.modalities}; choose the data set of the run."
        )
    collectives.require_same(
        {**config.shared_keys(trained.config), "checkpoint": trained.step, "number of images": len(dataset)}
    )
    return dataset


def eval_variables_of(trained: TrainedModel, devices: Sequence[jax.Device]) -> dict[str, Any]:
    """The variables that the configuration evaluates with: exact batch statistics are computed if they are missing."""
    if trained.config.eval.batch_norm != "exact" or trained.has_exact_batch_stats:
        return trained.variables
    _log.info("The statistics of BatchNorm are computed from the training split.")
    config = trained.config
    train_data = build_dataset(config, config.data.train_split)
    collectives.require_same({"number of training images": len(train_data)})
    batch_stats = compute_exact_batch_stats(config, trained.model, trained.variables, train_data, devices)
    return {**trained.variables, "batch_stats": batch_stats}
