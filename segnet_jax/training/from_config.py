"""Builds training runs from a configuration."""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import optax

from segnet_jax.config import check_values, reconstructs, shared_keys, to_steps
from segnet_jax.data.dataset import Dataset, image_dtype_of, modalities_of, modality_names_of, require_alike
from segnet_jax.data.from_config import (
    build_class_weights,
    build_dataset,
    build_eval_dataset,
    build_host_batches,
    build_masking,
    build_normalization,
    build_statistics,
    build_train_batches,
)
from segnet_jax.data.preprocessing import ChannelStatistics, Normalize
from segnet_jax.errors import InputError
from segnet_jax.evaluation.evaluator import Evaluator
from segnet_jax.evaluation.from_config import build_evaluator, build_settings, compute_exact_batch_stats
from segnet_jax.evaluation.reconstruction import ReconstructionEvaluator
from segnet_jax.inference.pretrained import load_network
from segnet_jax.models.base import SegmentationModel
from segnet_jax.models.from_config import build_model
from segnet_jax.models.segnet_flat import SegNetFlat
from segnet_jax.runtime.processes import all_devices
from segnet_jax.training import layerwise, optimizers
from segnet_jax.training.batch_size import check_batch_fits, check_batch_size
from segnet_jax.training.checks import check_paths, check_run
from segnet_jax.training.objective import Objective, parse_terms
from segnet_jax.training.plan import Plan
from segnet_jax.training.run import Phase, Run
from segnet_jax.training.step import TrainState, create_train_state, create_train_step, with_averages
from segnet_jax.training.teachers import Teacher, create_taught_step
from segnet_jax.weights import transfer
from segnet_jax.weights.vgg16 import find_weights, initialize_encoder, load_vgg16, match_batch_norm, mirror_encoder

_log = logging.getLogger("segnet_jax")


def build_run(
    config: ml_collections.ConfigDict, *, resumes: bool = False, statistics: ChannelStatistics | None = None
) -> Run:
    """Builds a run: opens its data, and checks whatever can be checked before anything is computed.

    Args:
      config: the configuration.
      resumes: whether it goes on from a checkpoint, and so needs nothing of what only the beginning does.
      statistics: of the channels of the training images, as the run began with; None: they are computed if need be.

    Raises:
      InputError: for whatever the user can put right.
    """
    check_values(config)
    check_run(config)
    check_paths(config, resumes=resumes)
    devices = all_devices()
    check_batch_size(config.train.batch_size, len(devices), config.train.accumulation_steps)
    # Before any image is read, which may take long.
    layers = None if resumes else load_pretrained(config)
    train_data = build_dataset(config, config.data.train_split)
    check_batch_fits(config.train.batch_size, len(train_data))
    eval_data = build_eval_dataset(config)
    require_alike(train_data, eval_data)
    modalities, names = modalities_of(train_data), modality_names_of(train_data)
    channels = sum(modalities)
    statistics = statistics or build_statistics(config, train_data)
    normalize = build_normalization(config, modalities, names, statistics)
    model = build_model(config, train_data.class_table.num_classes)
    learning_rate = None
    if config.train.procedure == "layerwise":
        model, plan, phases = _layerwise_phases(config, model, normalize, train_data, devices)
        optimizer = optax.identity()  # L-BFGS begins anew with every mini-batch
        advice = "Look at the images and labels, or choose another seed."
    else:
        plan = build_plan(config, len(train_data))
        learning_rate = build_learning_rate(config, plan)
        optimizer = build_optimizer(config, learning_rate)
        phases = (_end_to_end_phase(config, model, optimizer, plan, normalize, train_data, devices),)
        advice = "Lower optimizer.learning_rate, or set optimizer.clip_norm."
    exact = functools.partial(compute_exact_batch_stats, config, model, normalize, dataset=train_data, devices=devices)
    classes = () if reconstructs(config) else train_data.class_table.names
    return Run(
        config=config.to_dict(),
        shared={
            **shared_keys(config),
            "number of training images": len(train_data),
            "number of evaluation images": len(eval_data),
            "statistics of the channels": statistics and statistics.to_dict(),
        },
        train_data=train_data,
        eval_data=eval_data,
        devices=devices,
        batch_size=config.train.batch_size,
        plan=plan,
        phases=phases,
        model=model,
        optimizer=optimizer,
        initial_state=functools.partial(build_initial_state, config, model, optimizer, normalize, train_data, layers),
        transfer=functools.partial(_transfer, config=config, model=model, channels=channels, classes=classes),
        train_batches=functools.partial(build_train_batches, config, train_data, devices),
        exact_batch_stats=exact if config.eval.batch_norm == "exact" else None,
        learning_rate=learning_rate,
        settings=build_settings(config),
        pictures=config.eval.pictures,
        advice=advice,
        keeps_averages=config.train.average_decay > 0,
        image_dtype=image_dtype_of(train_data),
        channel_statistics=statistics,
    )


def _end_to_end_phase(
    config: ml_collections.ConfigDict,
    model: SegmentationModel,
    optimizer: optax.GradientTransformation,
    plan: Plan,
    normalize: Normalize,
    train_data: Dataset,
    devices: Sequence[jax.Device],
) -> Phase:
    """Builds the one phase of training a whole network by SGD (arXiv 1511.00561, section 3.2)."""
    masking = build_masking(config, modalities_of(train_data))

    def create_step() -> Any:
        # All processes together: a work directory's checkpoints are read so.
        teachers = build_teachers(config, train_data)
        take_step = create_train_step(
            devices=devices,
            model=model,
            optimizer=optimizer,
            normalize=normalize,
            objective=build_objective(config, train_data),
            accumulation_steps=config.train.accumulation_steps,
            seed=config.seed,
            masking=masking,
            is_trained=build_is_trained(config),
            average_decay=config.train.average_decay,
        )
        return create_taught_step(take_step, teachers, devices) if teachers else take_step

    return Phase(plan.total_steps, create_step, build_evaluator(config, model, devices, normalize), model_fields={})


def _layerwise_phases(
    config: ml_collections.ConfigDict,
    model: SegmentationModel,
    normalize: Normalize,
    train_data: Dataset,
    devices: Sequence[jax.Device],
) -> tuple[SegNetFlat, Plan, tuple[Phase, ...]]:
    """Builds the whole network, the plan and the phases of layer-wise training (arXiv 1505.07293, section 3.1)."""
    assert isinstance(model, SegNetFlat)
    modalities = modalities_of(train_data)
    fields: dict[str, Any] = {}
    kind: type[Evaluator] = Evaluator
    if reconstructs(config):
        fields = {"num_classes": sum(modalities), "head": layerwise.RECONSTRUCTION_HEAD}
        kind = ReconstructionEvaluator
    whole = model.clone(**fields)
    stages = layerwise.stages_of(model.pairs, config.layerwise.classifier, config.layerwise.first_pair)
    plan = build_plan(config, len(train_data), len(stages))
    masking = build_masking(config, modalities)

    def create_step(stage: layerwise.Stage) -> Any:
        return layerwise.create_minibatch_step(
            devices=devices,
            model=whole,
            stage=stage,
            normalize=normalize,
            class_weights=None if reconstructs(config) else jnp.asarray(build_class_weights(config, train_data)),
            loss_normalization=config.loss.normalization,
            iterations=config.layerwise.iterations,
            memory=config.layerwise.memory,
            accumulation_steps=config.train.accumulation_steps,
            seed=config.seed,
            masking=masking,
        )

    evaluators = {
        pairs: build_evaluator(config, whole.clone(pairs=pairs), devices, normalize, kind=kind)
        for pairs in {stage.pairs for stage in stages}
    }
    phases = tuple(
        Phase(
            last_step=plan.total_steps // len(stages) * number,
            create_step=functools.partial(create_step, stage),
            evaluator=evaluators[stage.pairs],
            model_fields={**fields, "pairs": stage.pairs},
            description=f"{stage} of a network of {stage.pairs}",
        )
        for number, stage in enumerate(stages, start=1)
    )
    return whole, plan, phases


def build_objective(config: ml_collections.ConfigDict, train_data: Dataset) -> Objective:
    """Builds what training end to end minimises, with class weights from the labels of `train_data`."""
    fields = config.loss
    return Objective(
        jnp.asarray(build_class_weights(config, train_data)),
        parse_terms(fields.name),
        fields.normalization,
        fields.label_smoothing,
        fields.focal_gamma,
    )


def build_teachers(config: ml_collections.ConfigDict, train_data: Dataset) -> list[Teacher]:
    """Loads the networks of `loss.teachers`.

    Raises:
      InputError: if one cannot be read, is not finite or knows no classes, or its classes or images are not those of
        `train_data`.
    """
    teachers = []
    for where in config.loss.teachers:
        trained = load_network(where)
        transfer.require_finite(trained.variables, f"the teacher {where}")
        if reconstructs(trained.config):
            raise InputError(f"The teacher {where} reconstructs its input and knows no classes; choose another.")
        if trained.class_table.names != train_data.class_table.names:
            raise InputError(
                f"The classes of the teacher {where} ({', '.join(trained.class_table.names)}) are not those of "
                f"{train_data.name} ({', '.join(train_data.class_table.names)}), in this order; choose another in "
                "loss.teachers."
            )
        takes = trained.modalities, trained.modality_names, trained.image_dtype
        has = modalities_of(train_data), modality_names_of(train_data), image_dtype_of(train_data)
        if takes != has:
            raise InputError(
                f"The teacher {where} takes images of other channels or types {takes!r} than those of "
                f"{train_data.name} {has!r}; choose another in loss.teachers."
            )
        normalize = build_normalization(
            trained.config, trained.modalities, trained.modality_names, trained.channel_statistics
        )
        teachers.append(Teacher(trained.model, trained.variables, normalize))
    return teachers


def build_plan(config: ml_collections.ConfigDict, num_examples: int, phases: int = 0) -> Plan:
    """Builds the schedule of logging, evaluation and checkpoints.

    Args:
      config: the configuration.
      num_examples: of the training split.
      phases: of layer-wise training, each of which lasts `layerwise.duration` and ends with an evaluation in full; 0
        for a run that lasts `train.duration`.

    Raises:
      InputError: if a duration is of another form, or the run would have no step.
    """
    steps_per_epoch = num_examples / config.train.batch_size

    def steps(key: str) -> int:
        return to_steps(config.train[key], steps_per_epoch, f"train.{key}")

    length, key = steps("duration"), "train.duration"
    if phases:
        key = "layerwise.duration"
        length = to_steps(config.layerwise.duration, steps_per_epoch, key)
    if not length:
        raise InputError(f"{key} must be at least one step.")
    milestones = frozenset(length * number for number in range(1, phases + 1))
    total = length * max(1, phases)
    return Plan(total, steps_per_epoch, steps("log_every"), steps("eval_every"), steps("checkpoint_every"), milestones)


def build_learning_rate(config: ml_collections.ConfigDict, plan: Plan) -> optax.Schedule:
    """Builds the learning rate, a function of the step."""
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


def build_optimizer(config: ml_collections.ConfigDict, schedule: optax.Schedule) -> optax.GradientTransformation:
    """Builds the optimizer of training end to end."""
    fields = config.optimizer
    optimizer = optimizers.create_optimizer(
        schedule,
        momentum=fields.momentum,
        nesterov=fields.nesterov,
        weight_decay=fields.weight_decay,
        decay_scale=fields.decay_scale,
        decay_shift=fields.decay_shift,
        bias_rate=fields.bias_rate,
        clip_norm=fields.clip_norm,
    )
    if build_is_trained(config) is None:
        return optimizer
    return transfer.freeze(optimizer, config.transfer.trained, config.transfer.frozen)


def build_is_trained(config: ml_collections.ConfigDict) -> Callable[[Any], Any] | None:
    """Builds the function from parameters to whether each is trained, see `transfer.is_trained`; None if all are."""
    fields = config.transfer
    if fields.trained == ".*" and not fields.frozen:
        return None
    return functools.partial(transfer.is_trained, trained=fields.trained, frozen=fields.frozen)


def load_pretrained(config: ml_collections.ConfigDict) -> dict[str, tuple[Any, Any]] | None:
    """Returns the configured pretrained layers of the encoder, see `vgg16.load_vgg16`, or None."""
    source = config.pretrained
    if source.weights == "none":
        return None
    return load_vgg16(
        find_weights(source.path, repository=source.repository, file=source.file, revision=source.revision)
    )


def build_initial_state(
    config: ml_collections.ConfigDict,
    model: SegmentationModel,
    optimizer: optax.GradientTransformation,
    normalize: Normalize,
    train_data: Dataset,
    layers: Mapping[str, tuple[Any, Any]] | None,
) -> TrainState:
    """Builds the state before the first step, with the encoder's pretrained `layers` if there are any."""
    source = config.pretrained
    modalities, names = modalities_of(train_data), modality_names_of(train_data)

    def initialize(variables: dict[str, Any]) -> dict[str, Any]:
        if layers is None:
            return variables
        # Without RGB, the first three channels are taken for it.
        first = sum(modalities[: names.index("rgb")]) if "rgb" in names else 0
        variables = initialize_encoder(variables, layers, first_channel=first)
        if source.decoder == "mirrored":
            variables = mirror_encoder(variables)
        if source.batch_norm == "absorbed":
            return variables
        _log.info("BatchNorm is matched to VGG16's response to %d training images.", source.images)
        with contextlib.closing(build_host_batches(config, train_data, batch_size=1)) as batches:
            images = (normalize(jnp.asarray(batch["image"])) for batch in itertools.islice(batches, source.images))
            return match_batch_norm(model, variables, images)

    return create_train_state(
        model,
        optimizer,
        seed=config.seed,
        channels=sum(modalities),
        initialize=initialize,
        keeps_averages=config.train.average_decay > 0,
    )


def _transfer(
    state: TrainState,
    *,
    config: ml_collections.ConfigDict,
    model: SegmentationModel,
    channels: int,
    classes: Sequence[str],
) -> TrainState:
    """Returns the initial state with the variables of `transfer.source`, if there is one."""
    fields = config.transfer
    if not fields.source:
        return state
    source = load_network(fields.source, {"eval.checkpoint": fields.checkpoint})
    transfer.require_finite(source.variables, f"step {source.step} of {fields.source}")
    variables = transfer.initialize(
        state.variables,
        source.variables,
        axes=transfer.class_axes(model, channels) if classes else {},
        classes=classes,
        source_classes=source.class_table.names,
        same_classes=dict(fields.same_classes),
        fresh=fields.fresh,
    )
    _log.info("The network starts from step %d of %s.", source.step, fields.source)
    state = state.replace(params=variables["params"], batch_stats=variables["batch_stats"])
    return with_averages(state) if state.averages else state
