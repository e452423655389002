"""What a configuration stands for: the one place where a ConfigDict becomes typed objects."""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
import os
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax

from segnet_jax import distributed, optimizers, preprocessing, pretrained, transfer
from segnet_jax.cache import user_cache_dir
from segnet_jax.config import flatten, to_steps
from segnet_jax.crf import DenseCRF
from segnet_jax.data import create_dataset, pipeline
from segnet_jax.data.augment import Augmentation
from segnet_jax.data.class_weights import cached_label_statistics, class_weights
from segnet_jax.data.pipeline import Dataset
from segnet_jax.data.subset import Subset
from segnet_jax.errors import InputError
from segnet_jax.evaluate import Evaluator, exact_batch_stats
from segnet_jax.masking import Masking
from segnet_jax.models import create_model
from segnet_jax.models.layers import SegmentationModel
from segnet_jax.preprocessing import RGB
from segnet_jax.train_step import AXIS, TrainState, create_train_state

_DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def dataset_of(config: ml_collections.ConfigDict, split: str) -> Dataset:
    """A split of the configured data set, or the first images of it."""
    data = config.data
    dataset = create_dataset(
        data.name,
        split,
        root=os.path.expanduser(data.root),
        classes=data.classes,
        val_fraction=data.val_fraction,
        mask_suffix=data.mask_suffix,
        depth=data.depth,
        depth_max=data.depth_max,
        scene_size=tuple(data.scene_size),
        train_scenes=data.train_scenes,
        eval_scenes=data.eval_scenes,
        seed=config.seed,
    )
    if not len(dataset):
        raise InputError(f"The split {split!r} of {data.name} is empty; give it images, or name another split.")
    return Subset(dataset, data.max_images) if data.max_images else dataset


def model_of(config: ml_collections.ConfigDict, num_classes: int) -> SegmentationModel:
    """The configured network."""
    fields = {key: value for key, value in config.model.to_dict().items() if value is not None}
    shared = fields.pop("cross_replica_batch_norm")
    for key in ("dtype", "param_dtype"):
        if fields[key] not in _DTYPES:
            raise InputError(f"model.{key}={fields[key]!r} is not known; choose one of {', '.join(_DTYPES)}.")
        fields[key] = _DTYPES[fields[key]]
    return create_model(fields.pop("name"), num_classes, axis_name=AXIS if shared else None, **fields)


def shared_keys(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """What all processes of a run must have in common of its configuration: all but where and how each reads."""
    own = ("data.root", "data.num_workers", "data.num_threads", "pretrained.path")
    return {key: value for key, value in flatten(config).items() if key not in own}


@dataclass(frozen=True)
class Plan:
    """The rhythm of a run, in steps; 0 means never.

    Attributes:
      total_steps: of the whole run.
      steps_per_epoch: images of the training split over the batch size; rarely a whole number.
      log_every, eval_every, checkpoint_every: distances.
      milestones: steps besides the last whose evaluation is written in full.
    """

    total_steps: int
    steps_per_epoch: float
    log_every: int
    eval_every: int
    checkpoint_every: int
    milestones: frozenset[int] = frozenset()

    def reports(self, step: int) -> bool:
        """Whether the evaluation after `step` is written in full: after the last step and the milestones."""
        return step == self.total_steps or step in self.milestones

    def evaluates(self, step: int) -> bool:
        """Whether an evaluation follows `step`."""
        return self.reports(step) or _is_due(step, self.eval_every)

    def checkpoints(self, step: int) -> bool:
        """Whether a checkpoint follows `step`; every evaluation has one."""
        return self.evaluates(step) or _is_due(step, self.checkpoint_every)


def _is_due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def plan_of(config: ml_collections.ConfigDict, num_examples: int, stages: int = 0) -> Plan:
    """The configured rhythm.

    Args:
      config: the configuration.
      num_examples: of the training split.
      stages: of layer-wise training, each of which lasts `layerwise.duration` and ends with a milestone; 0 for a run
        that lasts `train.duration`.
    """
    steps_per_epoch = num_examples / config.train.batch_size

    def steps(key: str) -> int:
        return to_steps(config.train[key], steps_per_epoch, f"train.{key}")

    length, key = steps("duration"), "train.duration"
    if stages:
        key = "layerwise.duration"
        length = to_steps(config.layerwise.duration, steps_per_epoch, key)
    if not length:
        raise InputError(f"{key} must be at least one step.")
    milestones = frozenset(length * stage for stage in range(1, stages + 1))
    total = length * max(1, stages)
    return Plan(total, steps_per_epoch, steps("log_every"), steps("eval_every"), steps("checkpoint_every"), milestones)


def schedule_of(config: ml_collections.ConfigDict, plan: Plan) -> optax.Schedule:
    """The configured learning rate, a function of the step."""
    fields = config.optimizer
    return optimizers.create_schedule(
        fields.schedule,
        learning_rate=fields.learning_rate,
        total_steps=plan.total_steps,
        warmup_steps=to_steps(fields.warmup, plan.steps_per_epoch, "optimizer.warmup"),
        poly_power=fields.poly_power,
        step_every=to_steps(fields.step_every, plan.steps_per_epoch, "optimizer.step_every"),
        step_factor=fields.step_factor,
        cycles=fields.cycles,
    )


def optimizer_of(config: ml_collections.ConfigDict, schedule: optax.Schedule) -> optax.GradientTransformation:
    """The configured optimizer; the form of its state does not depend on `schedule`.

    L-BFGS begins anew with every mini-batch, so layer-wise training has nothing to keep.
    """
    if config.train.procedure == "layerwise":
        return optax.identity()
    fields = config.optimizer
    optimizer = optimizers.create_optimizer(
        schedule,
        momentum=fields.momentum,
        nesterov=fields.nesterov,
        weight_decay=fields.weight_decay,
        clip_norm=fields.clip_norm,
    )
    if is_trained_of(config) is None:
        return optimizer
    return transfer.freeze(optimizer, config.transfer.trained, config.transfer.frozen)


def is_trained_of(config: ml_collections.ConfigDict) -> Callable[[Any], Any] | None:
    """Which parameters are trained, a function of them as `transfer.is_trained` is; None if all are."""
    fields = config.transfer
    if fields.trained == ".*" and not fields.frozen:
        return None
    return functools.partial(transfer.is_trained, trained=fields.trained, frozen=fields.frozen)


def masking_of(config: ml_collections.ConfigDict, modalities: Sequence[int]) -> Masking | None:
    """What is missing from training images of these modalities; None if nothing is."""
    return Masking(**config.masking.to_dict(), num_modalities=len(modalities)) or None


def class_weights_of(config: ml_collections.ConfigDict, dataset: Dataset) -> np.ndarray:
    """The configured class weights, float32 [K], from the labels of the training split `dataset`."""
    statistics = None
    if config.loss.class_weights in ("median_frequency", "inverse_frequency"):
        statistics = cached_label_statistics(dataset, user_cache_dir() / "label_statistics")
    return class_weights(
        config.loss.class_weights, statistics, dataset.class_table, power=config.loss.class_weight_power
    )


def initial_state_of(
    config: ml_collections.ConfigDict,
    model: SegmentationModel,
    optimizer: optax.GradientTransformation,
    channels: int = 3,
) -> TrainState:
    """The state before the first step, pretrained weights included if configured."""
    source = config.pretrained

    def initialize(variables: dict[str, Any]) -> dict[str, Any]:
        if source.weights == "none":
            return variables
        path = pretrained.find_weights(
            source.path, repository=source.repository, file=source.file, revision=source.revision
        )
        return pretrained.initialize_encoder(variables, pretrained.load_vgg16(path))

    return create_train_state(model, optimizer, seed=config.seed, channels=channels, initialize=initialize)


def normalization_of(config: ml_collections.ConfigDict, modalities: Sequence[int] = RGB) -> preprocessing.Normalize:
    """The configured normalisation, a function of uint8 images of these modalities."""
    return preprocessing.create_normalization(config.preprocessing, tuple(modalities))


def checkpoint_template(
    model: SegmentationModel, optimizer: optax.GradientTransformation, channels: int = 3
) -> dict[str, Any]:
    """The form of what a checkpoint holds: the training state, and the statistics that evaluation uses."""
    state = jax.eval_shape(lambda: create_train_state(model, optimizer, seed=0, channels=channels))
    return {"train_state": state, "eval_batch_stats": state.batch_stats}


def crf_of(config: ml_collections.ConfigDict) -> DenseCRF | None:
    """The configured CRF after the network, or None."""
    fields = config.crf.to_dict()
    return DenseCRF(**fields) if fields.pop("enabled") else None


def evaluator_of(
    config: ml_collections.ConfigDict,
    model: SegmentationModel,
    devices: Sequence[jax.Device],
    modalities: Sequence[int] = RGB,
    *,
    normalize: preprocessing.Normalize | None = None,
    kind: type[Evaluator] = Evaluator,
) -> Evaluator:
    """The configured evaluation, on `devices`.

    Args:
      config: the configuration.
      model: the network.
      devices: to map over.
      modalities: of the images.
      normalize: in place of the configured normalisation.
      kind: the evaluation's class.
    """
    if config.eval.samples and not model.dropout_rate:
        raise InputError(
            f"eval.samples={config.eval.samples} needs a network with dropout, and this one has none; "
            "train one with model.dropout_rate=0.5, or set eval.samples=0."
        )
    return kind(
        model,
        normalize or normalization_of(config, modalities),
        devices,
        batch_size=config.eval.batch_size,
        image_size=tuple(config.data.image_size),
        num_workers=config.data.num_workers,
        num_threads=config.data.num_threads,
        samples=config.eval.samples,
        seed=config.seed,
        crf=crf_of(config),
    )


def train_batches_of(
    config: ml_collections.ConfigDict, dataset: Dataset, devices: Sequence[jax.Device], first_step: int
) -> Generator[dict[str, jax.Array], None, None]:
    """Training batches on `devices`, those of all processes, from the one after `first_step` on."""
    data = config.data
    share = distributed.share_of(devices)
    batches = pipeline.train_batches(
        dataset,
        batch_size=config.train.batch_size,
        seed=config.seed,
        augmentation=Augmentation(**config.augment.to_dict()),
        first_step=first_step,
        with_replacement=config.train.with_replacement,
        image_size=data.image_size,
        num_workers=data.num_workers,
        num_threads=data.num_threads,
        process_index=share.index,
        process_count=share.count,
    )
    return pipeline.to_devices(batches, devices)


def exact_batch_stats_of(
    config: ml_collections.ConfigDict,
    model: SegmentationModel,
    variables: Any,
    dataset: Dataset,
    devices: Sequence[jax.Device],
) -> Any:
    """BatchNorm's statistics over one pass of the training split `dataset`, as it is trained on; {} without any."""
    num_batches = math.ceil(len(dataset) / config.train.batch_size)
    with contextlib.closing(train_batches_of(config, dataset, devices, 0)) as batches:
        first_pass = itertools.islice(batches, num_batches)
        normalize = normalization_of(config, pipeline.modalities_of(dataset))
        return exact_batch_stats(model, normalize, variables, first_pass, devices)
