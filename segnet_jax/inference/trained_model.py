"""A trained network from its work directory: all that evaluation, prediction and export start from."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_collections
import optax

from segnet_jax.checkpoint.manager import Checkpoints, exists
from segnet_jax.config import apply_overrides, from_dict, reconstructs
from segnet_jax.config_checks import check_values
from segnet_jax.data.class_table import ClassTable
from segnet_jax.data.preprocessing import RGB
from segnet_jax.errors import InputError
from segnet_jax.models.base import SegmentationModel
from segnet_jax.models.from_config import build_model
from segnet_jax.models.segnet_flat import SegNetFlat, pair_layers
from segnet_jax.runtime import collectives
from segnet_jax.training.from_config import build_checkpoint_template, build_optimizer

_log = logging.getLogger("segnet_jax")


@dataclass(frozen=True)
class TrainedModel:
    """A network as a checkpoint holds it.

    Attributes:
      config: the run's, with overrides.
      run_config: the run's, without them.
      class_table: of the data that it was trained on.
      model: the network.
      variables: `params` and `batch_stats`, NumPy; for evaluation.
      step: of the checkpoint.
      has_exact_batch_stats: whether `batch_stats` are those of a pass over the training set, not running averages.
      modalities: the number of channels of each modality of its images.
    """

    config: ml_collections.ConfigDict
    run_config: ml_collections.ConfigDict
    class_table: ClassTable
    model: SegmentationModel
    variables: dict[str, Any]
    step: int
    has_exact_batch_stats: bool
    modalities: tuple[int, ...] = RGB


def load_trained(workdir: Path, overrides: Mapping[str, Any] | None = None) -> TrainedModel:
    """Reads a checkpoint; which one is `eval.checkpoint` of the configuration: "best", "latest" or a step.

    Args:
      workdir: of a training run. The configuration and the class table come from the checkpoint itself.
      overrides: by dotted key, over the run's configuration.

    Raises:
      InputError: if there is no such checkpoint, or it is damaged.
    """
    overrides = dict(overrides or {})
    if fixed := [key for key in overrides if not key.startswith(("eval.", "data.", "crf."))]:
        raise InputError(
            f"--config.{fixed[0]} belongs to the training run and cannot change afterwards; "
            "after training, only --config.eval..., --config.crf... and --config.data... can be given."
        )
    directory = workdir / "checkpoints"
    if not exists(directory):
        raise InputError(f"{workdir} holds no checkpoint; give the --workdir of a training run.")
    with Checkpoints(directory, read_only=True) as checkpoints:
        latest = collectives.from_first(checkpoints.latest_step())
        if latest is None:
            raise InputError(f"{directory}: every checkpoint is damaged; train again, or restore a copy.")
        metadata = checkpoints.read_metadata(latest)
        config, class_table = from_dict(metadata["config"]), ClassTable.from_dict(metadata["class_table"])
        modalities = tuple(metadata.get("modalities", RGB))
        configured = build_model(config, class_table.num_classes)
        fields = {name: value for name, value in metadata.get("model", {}).items() if name != "pairs"}
        # Evaluation has no use for the optimizer, but its state is part of what lies in the checkpoint.
        optimizer = build_optimizer(config, optax.constant_schedule(0.0))
        template = build_checkpoint_template(configured.clone(**fields), optimizer, sum(modalities))
        apply_overrides(config, overrides)
        check_values(config)
        wanted = config.eval.checkpoint
        if wanted == "best" and reconstructs(config):
            wanted = "latest"  # it has no score to be the best by
        step, saved, metadata = checkpoints.restore(template, int(wanted) if wanted.isdecimal() else wanted)
    use_exact = metadata["exact_batch_stats"] and config.eval.batch_norm == "exact"
    batch_stats = saved["eval_batch_stats"] if use_exact else saved["train_state"].batch_stats
    variables = {"params": saved["train_state"].params, "batch_stats": batch_stats}
    model = configured.clone(**metadata.get("model", {}))
    if isinstance(model, SegNetFlat) and isinstance(configured, SegNetFlat) and model.pairs < configured.pairs:
        # Layer-wise training saves the pairs to come too, and the network is the one of those that it has trained.
        to_come = {name for pair in range(model.pairs, configured.pairs) for name in pair_layers(pair + 1)}
        variables["params"] = {name: layer for name, layer in variables["params"].items() if name not in to_come}
        _log.info("Step %d of %s has trained %d of %d pairs.", step, workdir, model.pairs, configured.pairs)
    run_config = from_dict(metadata["config"])
    return TrainedModel(config, run_config, class_table, model, variables, step, use_exact, modalities)
