"""A trained network from its work directory: all that evaluation, prediction and export start from."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections

from segnet_jax.checkpoint.manager import Checkpoints, exists
from segnet_jax.data.class_table import ClassTable
from segnet_jax.data.dataset import default_modality_names
from segnet_jax.data.preprocessing import RGB, ChannelStatistics
from segnet_jax.errors import InputError
from segnet_jax.inference.from_config import (
    configured_model,
    keeps_averages,
    overridden,
    stored_config,
    wanted_step,
    wants_exact_batch_stats,
)
from segnet_jax.models.base import SegmentationModel
from segnet_jax.runtime.collectives import from_first

_log = logging.getLogger("segnet_jax")


@dataclass(frozen=True)
class TrainedModel:
    """A network as a checkpoint holds it.

    Attributes:
      metadata: of the checkpoint, as JSON holds it: configuration, class table, modalities and the network's fields.
      config: the run's, with overrides.
      run_config: the run's, without them.
      class_table: of the data that it was trained on.
      model: the network.
      variables: `params` and `batch_stats`, NumPy; for evaluation.
      step: of the checkpoint.
      has_exact_batch_stats: whether `batch_stats` are those of a pass over the training set, not running averages.
      modalities: the number of channels of each modality of its images.
      scores: of the evaluation that was saved with it, on `data.eval_split`; empty without one.
      modality_names: what they are.
      image_dtype: of its images, "uint8" or "float32".
      channel_statistics: of its training images, if their normalisation needs them.
    """

    metadata: Mapping[str, Any]
    config: ml_collections.ConfigDict
    run_config: ml_collections.ConfigDict
    class_table: ClassTable
    model: SegmentationModel
    variables: dict[str, Any]
    step: int
    has_exact_batch_stats: bool
    modalities: tuple[int, ...] = RGB
    scores: Mapping[str, float] = field(default_factory=dict)
    modality_names: tuple[str, ...] = ("rgb",)
    image_dtype: str = "uint8"
    channel_statistics: ChannelStatistics | None = None

    @property
    def takes_rgb(self) -> bool:
        """True if its images are RGB alone."""
        return self.modality_names == ("rgb",)


def load_trained(workdir: str | Path, overrides: Mapping[str, Any] | None = None) -> TrainedModel:
    """Reads a checkpoint; which one is `eval.checkpoint` of the configuration: "best", "latest" or a step.

    Parameters and statistics alone are read, those of the optimizer are not.

    Args:
      workdir: of a training run. The configuration and the class table come from the checkpoint itself.
      overrides: by dotted key, over the run's configuration.

    Raises:
      InputError: if there is no such checkpoint, or it is damaged.
    """
    workdir = Path(workdir).expanduser()
    directory = workdir / "checkpoints"
    if not exists(directory):
        raise InputError(f"{workdir} holds no checkpoint; give the --workdir of a training run.")
    with Checkpoints(directory, read_only=True) as checkpoints:
        latest = from_first(checkpoints.latest_step())
        if latest is None:
            raise InputError(f"{directory}: every checkpoint is damaged; train again, or restore a copy.")
        run_config = stored_config(checkpoints.read_metadata(latest))
        config = overridden(run_config, overrides or {})
        step, saved, metadata = checkpoints.restore_part(_template, wanted_step(config))
        scores = checkpoints.read_metrics(step) or {}
    use_exact = metadata["exact_batch_stats"] and wants_exact_batch_stats(config)
    state = saved["train_state"]
    state = state["averages"] if keeps_averages(metadata) else state
    variables = {
        "params": state["params"],
        "batch_stats": saved["eval_batch_stats"] if use_exact else state["batch_stats"],
    }
    trained = build_trained(metadata, variables, config, run_config, step, scores, use_exact)
    model, configured = trained.model, configured_model(metadata)
    for name, whole in configured.size.items():
        if model.size[name] != whole:
            _log.info("Step %d of %s has trained %d of %d %s.", step, workdir, model.size[name], whole, name)
    return trained


def build_trained(
    metadata: Mapping[str, Any],
    variables: dict[str, Any],
    config: ml_collections.ConfigDict,
    run_config: ml_collections.ConfigDict,
    step: int,
    scores: Mapping[str, float | None],
    has_exact_batch_stats: bool,
) -> TrainedModel:
    """Builds the network that a checkpoint's metadata describe, around its variables."""
    modalities = tuple(metadata.get("modalities", RGB))
    statistics = metadata.get("channel_statistics")
    return TrainedModel(
        metadata,
        config,
        run_config,
        ClassTable.from_dict(metadata["class_table"]),
        build_network(metadata),
        variables,
        step,
        has_exact_batch_stats,
        modalities,
        {key: value for key, value in scores.items() if value is not None},
        # Checkpoints of before there were others do not name them.
        tuple(metadata.get("modality_names", default_modality_names(modalities))),
        metadata.get("image_dtype", "uint8"),
        statistics and ChannelStatistics.from_dict(statistics),
    )


def build_network(metadata: Mapping[str, Any]) -> SegmentationModel:
    """Builds the network as training had made it by then."""
    return configured_model(metadata).clone(**metadata.get("model", {}))


def variable_shapes(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Returns shapes and types of the variables of the network that a checkpoint's metadata describe."""
    channels = sum(metadata.get("modalities", RGB))
    variables = jax.eval_shape(build_network(metadata).init, jax.random.key(0), jnp.zeros((1, 32, 32, channels)))
    return {"params": variables["params"], "batch_stats": variables.get("batch_stats", {})}


def _template(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Returns shapes and types of a checkpoint's arrays that evaluation needs, from its metadata."""
    variables = variable_shapes(metadata)
    state = {"averages": variables} if keeps_averages(metadata) else variables
    return {"train_state": state, "eval_batch_stats": variables["batch_stats"]}
