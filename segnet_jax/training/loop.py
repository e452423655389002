"""The training loop: from a configuration to a trained, evaluated, resumable work directory."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from pathlib import Path
from typing import Any, NoReturn

import jax
import ml_collections
import numpy as np
from clu import parameter_overview

from segnet_jax.checkpoint import manager
from segnet_jax.checkpoint.manager import Checkpoints
from segnet_jax.checkpoint.manifest import STAGE
from segnet_jax.config import flatten
from segnet_jax.data.dataset import modalities_of, modality_names_of
from segnet_jax.data.first_reading import check_examples
from segnet_jax.data.preprocessing import ChannelStatistics
from segnet_jax.errors import InputError
from segnet_jax.evaluation.evaluator import Stopped
from segnet_jax.evaluation.result import Evaluation, report_path
from segnet_jax.runtime.collectives import (
    AsyncAllReduceMax,
    broadcast,
    from_first,
    raise_on_all_processes,
    require_same,
)
from segnet_jax.runtime.distributed import leave_if_lost
from segnet_jax.runtime.preemption import GracefulShutdown
from segnet_jax.runtime.processes import is_first, several
from segnet_jax.runtime.sharding import replicate
from segnet_jax.training.from_config import build_run
from segnet_jax.training.metric_writer import MetricWriter
from segnet_jax.training.progress import Progress
from segnet_jax.training.run import Run
from segnet_jax.training.step import TrainState, checkpoint_template
from segnet_jax.training.step_metrics import StepMetrics
from segnet_jax.training.workdir import claimed, refuse_another_run, require_present, require_shared

_log = logging.getLogger("segnet_jax")


def train_and_evaluate(
    config: ml_collections.ConfigDict, workdir: Path, *, lists_parameters: bool = False
) -> TrainState:
    """Trains, evaluates and saves; continues from the newest checkpoint of `workdir` if there is one.

    Leaves in `workdir`: `config.json`, `checkpoints/`, `metrics.jsonl`, TensorBoard events, and of the last step (and
    of the end of each phase of layer-wise training) `eval/<split>-<step>.json` and the picture sheet
    `eval/<split>-<step>.png`. With several processes, all call this, and process 0 writes.

    Args:
      config: as configs/default.py declares it.
      workdir: made if it does not exist.
      lists_parameters: whether a new run logs every parameter, and not only how many they are.

    Returns:
      The last state, as NumPy arrays.

    Raises:
      InputError: for whatever the user can put right.
      FloatingPointError: if a loss or gradient is not finite; the last good checkpoint stays.
      SystemExit: after SIGTERM or Ctrl-C, once the state is saved.
    """
    first = is_first()
    with contextlib.ExitStack() as stack:
        with raise_on_all_processes():
            if first:
                refuse_another_run(workdir, config)
            before = manager.newest_metadata(workdir / "checkpoints") or {}
            statistics = before.get("channel_statistics")
            run = build_run(
                config,
                resumes=manager.exists(workdir / "checkpoints"),
                # A run goes on with the numbers that it began with.
                statistics=statistics and ChannelStatistics.from_dict(statistics),
            )
            if first:
                stack.enter_context(claimed(workdir, config))
        plan = run.plan
        require_same(run.shared)
        require_shared(workdir)
        agree = AsyncAllReduceMax(run.devices) if several() else None
        shutdown = stack.enter_context(GracefulShutdown(agree, announce=first))
        checkpoints = stack.enter_context(Checkpoints(workdir / "checkpoints"))
        stack.push(leave_if_lost)
        state, first_step = _restore_or_initialize(run, workdir, checkpoints, lists_parameters)
        writer = stack.enter_context(MetricWriter(workdir, resume_step=first_step)) if first else None
        if writer is not None and first_step == 0:
            writer.write_hparams(flatten(config))
        report = report_path(workdir, run.eval_data.split, plan.total_steps, run.settings.kind)
        if first_step >= plan.total_steps and from_first(report.is_file()):
            _log.info("This run is finished: step %d of %d.", first_step, plan.total_steps)
            _log.info("%s", run.phases[-1].evaluator.result(json.loads(report.read_text("utf-8")), []).table())
            return jax.device_get(state)

        def save(step: int) -> None:
            """Saves the state after `step`; before that evaluates it, if that is due and nobody asks to stop."""
            with raise_on_all_processes():
                require_present(workdir)
            # `checkpoints` copies what it is given before it returns, and the next step uses this state's memory again.
            saved = jax.device_get(state)
            batch_stats, scores, is_exact = saved.eval_variables["batch_stats"], None, False
            if plan.evaluates(step) and not shutdown.signal:
                if run.exact_batch_stats is not None:
                    batch_stats, is_exact = run.exact_batch_stats(state.eval_variables), True
                variables = {"params": state.eval_variables["params"], "batch_stats": batch_stats}
                scores = _evaluate(run, variables, step, workdir, writer, shutdown)
            checkpoint = {"train_state": saved, "eval_batch_stats": batch_stats}
            checkpoints.save(step, checkpoint, _metadata(run, step) | {"exact_batch_stats": is_exact}, scores)

        batches = stack.enter_context(contextlib.closing(run.train_batches(first_step)))
        progress = stack.enter_context(
            Progress(
                plan.total_steps,
                first_step + 1,
                run.batch_size,
                log_every=plan.log_every or plan.total_steps,
                stream=sys.stdout if first else None,
            )
        )
        if first_step and _lacks_evaluation(run, first_step, checkpoints):
            save(first_step)
            if shutdown.signal is not None:
                _leave_stopped(first_step, checkpoints, shutdown)
        step_metrics = StepMetrics(run.learning_rate, run.advice, writer, progress, checkpoints)
        done = first_step
        for phase in run.phases:
            if done >= phase.last_step:
                continue
            if phase.description:
                _log.info("From step %d on %s is trained.", done + 1, phase.description)
            take_step = phase.create_step()
            for step in range(done + 1, phase.last_step + 1):
                with progress.data_wait():
                    batch = next(batches)
                state, found = take_step(state, batch)
                # The host reads a step's metrics when the next is under way, so the devices never wait for it.
                step_metrics.add(step, found)
                shutdown.poll()
                if shutdown.signal is not None or plan.checkpoints(step):
                    step_metrics.flush()
                    with progress.pause():
                        save(step)
                    if shutdown.signal is not None:
                        _leave_stopped(step, checkpoints, shutdown)
            done = phase.last_step
        return jax.device_get(state)


def _restore_or_initialize(
    run: Run, workdir: Path, checkpoints: Checkpoints, lists_parameters: bool
) -> tuple[TrainState, int]:
    """Returns the state to go on from, on the devices, and its step."""
    channels = sum(modalities_of(run.train_data))
    if not from_first(manager.exists(workdir / "checkpoints")):
        with raise_on_all_processes():
            for dataset in (run.train_data, run.eval_data):
                check_examples(dataset)
            state = run.initial_state()
        state = broadcast(run.transfer(state))
        if lists_parameters:
            _log.info("%s", parameter_overview.get_parameter_overview(state.params, include_stats=False))
        count = sum(leaf.size for leaf in jax.tree.leaves(state.params))
        _log.info("The network has %.3g million parameters; --parameters lists them.", count / 1e6)
        return replicate(state, run.devices), 0
    template = checkpoint_template(run.model, run.optimizer, channels, keeps_averages=run.keeps_averages)
    step, saved, metadata = checkpoints.restore(template, "latest")
    before, now = metadata.get("train_examples"), len(run.train_data)
    if before not in (None, now):
        raise InputError(
            f"{workdir} was trained on {before} images, and now the training split has {now}; restore "
            "the data to resume it, or choose another --workdir to start anew."
        )
    require_same({"step of the newest checkpoint": step})
    total = run.plan.total_steps
    if step > total:
        raise InputError(
            f"{workdir} has a checkpoint of step {step}, and train.duration is {total} steps; make it as long at least."
        )
    _log.info("Resuming at step %d of %d.", step, total)
    if (former := metadata.get("total_steps", total)) != total:
        _log.info("The run was to have %d steps; from here on the learning rate is that of a run of %d.", former, total)
    return replicate(saved["train_state"], run.devices), step


def _lacks_evaluation(run: Run, step: int, checkpoints: Checkpoints) -> bool:
    """Tells whether the run was stopped during the evaluation after `step`, or before its report was written."""
    if not run.plan.evaluates(step):
        return False
    return from_first(checkpoints.read_metrics(step)) is None or step == run.plan.total_steps


def _metadata(run: Run, step: int) -> dict[str, Any]:
    number = run.phase_number(step)
    return {
        "config": run.config,
        "class_table": run.train_data.class_table.to_dict(),
        "train_examples": len(run.train_data),
        "total_steps": run.plan.total_steps,
        "modalities": modalities_of(run.train_data),
        "modality_names": modality_names_of(run.train_data),
        "image_dtype": run.image_dtype,
        "channel_statistics": run.channel_statistics and run.channel_statistics.to_dict(),
        "model": dict(run.phases[number].model_fields),
        STAGE: number,
    }


def _evaluate(
    run: Run, variables: Any, step: int, workdir: Path, writer: MetricWriter | None, shutdown: GracefulShutdown
) -> dict[str, float] | None:
    """Evaluates, logs the scores and, where they are due in full, writes the report; None if stopped."""
    in_full = run.plan.reports(step)

    def should_stop() -> bool:
        shutdown.poll()
        return shutdown.signal is not None

    evaluator = run.phases[run.phase_number(step)].evaluator
    try:
        evaluation = evaluator(
            variables, run.eval_data, boundary_f1=in_full, num_pictures=run.pictures, should_stop=should_stop
        )
    except Stopped:
        return None
    if writer is not None:
        _log_evaluation(run, evaluation, step, writer)
        if in_full:
            class_table = run.eval_data.class_table
            path = evaluation.write(workdir, run.eval_data.split, step, class_table, run.settings)
            _log.info("Written: %s and the sheet beside it.", path)
    return evaluation.scores


def _log_evaluation(run: Run, evaluation: Evaluation, step: int, writer: MetricWriter) -> None:
    split = run.eval_data.split
    scores = {f"{split}/{key}": value for key, value in evaluation.scores.items()}
    writer.write_scalars(step, scores | {f"{split}_iou/{name}": iou for name, iou in evaluation.class_scores.items()})
    sheet = evaluation.draw(run.eval_data.class_table)
    if sheet is not None:
        writer.write_image(step, f"{split}/predictions", np.asarray(sheet))
    if run.plan.reports(step):
        confusion = evaluation.draw_confusion(f"{split}, step {step:,}")
        if confusion is not None:
            writer.write_image(step, f"{split}/confusion", np.asarray(confusion))
        _log.info("%s", evaluation.table())
    else:
        _log.info("step %d: %s %s", step, split, evaluation.line())


def _leave_stopped(step: int, checkpoints: Checkpoints, shutdown: GracefulShutdown) -> NoReturn:
    _log.info("Stopped by a signal; step %d is saved. The same command resumes the run.", step)
    checkpoints.wait()
    raise SystemExit(shutdown.exit_status)
