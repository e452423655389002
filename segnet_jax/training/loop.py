"""The training run: from a configuration to a trained, evaluated, resumable work directory."""

from __future__ import annotations

import contextlib
import json
import logging
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import jax
import ml_collections
import numpy as np
from clu import parameter_overview

from segnet_jax import config
from segnet_jax import config as configs
from segnet_jax.checkpoint.manager import Checkpoints, exists
from segnet_jax.checkpoint.manifest import STAGE
from segnet_jax.config_checks import check_batch_size, check_values
from segnet_jax.data.check import check_examples
from segnet_jax.data.dataset import modalities_of
from segnet_jax.data.from_config import build_dataset, build_train_batches
from segnet_jax.errors import InputError
from segnet_jax.evaluation.evaluator import Stopped
from segnet_jax.evaluation.from_config import compute_exact_batch_stats
from segnet_jax.evaluation.result import Evaluation, report_path
from segnet_jax.inference.trained_model import load_trained
from segnet_jax.runtime import collectives, distributed
from segnet_jax.runtime.files import locked
from segnet_jax.runtime.preemption import GracefulShutdown
from segnet_jax.runtime.processes import all_devices, is_first, several
from segnet_jax.runtime.sharding import replicate
from segnet_jax.training.end_to_end import EndToEnd
from segnet_jax.training.from_config import build_checkpoint_template, build_initial_state
from segnet_jax.training.layerwise import Layerwise
from segnet_jax.training.metric_writer import MetricWriter, NullWriter
from segnet_jax.training.progress import Progress
from segnet_jax.training.step import TrainState
from segnet_jax.weights import transfer

_log = logging.getLogger("segnet_jax")


def train_and_evaluate(config: ml_collections.ConfigDict, workdir: Path) -> TrainState:
    """Trains, evaluates and saves; continues from the newest checkpoint of `workdir` if there is one.

    Leaves in `workdir`: `config.json`, `checkpoints/`, `metrics.jsonl`, TensorBoard events, and of the last step (and
    of the end of each stage of layer-wise training) `eval/<split>-<step>.json` and the picture sheet
    `eval/<split>-<step>.png`. With several processes, all call this, and process 0 writes.

    Args:
      config: as configs/default.py declares it.
      workdir: made if it does not exist.

    Returns:
      The last state, as NumPy arrays.

    Raises:
      InputError: for whatever the user can put right.
      FloatingPointError: if a loss or gradient is not finite; the last good checkpoint stays.
      SystemExit: after SIGTERM or Ctrl-C, once the state is saved.
    """
    first = is_first()
    with contextlib.ExitStack() as stack:
        with collectives.raise_on_all_processes():
            if first:
                _refuse_another_run(workdir, config)
            run = _Run(config, workdir)
            if first:
                _make(workdir)
                taken = (
                    f"Another process is training in {workdir}; wait for it or stop it, or choose another --workdir."
                )
                stack.enter_context(locked(workdir / ".lock", taken))
                # A run that has held it until now may have left its first checkpoint.
                _refuse_another_run(workdir, config)
                _claim(workdir, config)
        run.require_same()
        _require_shared(workdir)
        agree = collectives.AsyncAllReduceMax(run.devices) if several() else None
        interruption = stack.enter_context(GracefulShutdown(agree, announce=first))
        checkpoints = stack.enter_context(Checkpoints(workdir / "checkpoints"))
        stack.push(distributed.leave_if_lost)
        state, first_step = run.start(checkpoints)
        writer = stack.enter_context(MetricWriter(workdir, resume_step=first_step) if first else NullWriter())
        if first_step == 0:
            writer.write_hparams(config.to_dict())
        return run.train(state, first_step, checkpoints, writer, interruption)


def _refuse_another_run(workdir: Path, config: ml_collections.ConfigDict) -> None:
    """A work directory that holds checkpoints belongs to the configuration that they were trained with."""
    path = workdir / "config.json"
    if not (path.is_file() and exists(workdir / "checkpoints")):
        return
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}); choose another --workdir, or delete the file.") from error
    if differing := configs.differences(stored, config):
        raise InputError(
            f"{workdir} holds a run of another configuration ({'; '.join(differing)}); "
            "choose another --workdir, or the configuration of that run to resume it."
        )


def _make(workdir: Path) -> None:
    with _write_errors(workdir):
        workdir.mkdir(parents=True, exist_ok=True)


def _claim(workdir: Path, config: ml_collections.ConfigDict) -> None:
    """Writes the configuration into the work directory."""
    path = workdir / "config.json"
    temporary = path.with_suffix(".tmp")
    with _write_errors(workdir):
        temporary.write_text(configs.to_json(config) + "\n", encoding="utf-8")
        temporary.replace(path)


@contextlib.contextmanager
def _write_errors(workdir: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"--workdir={workdir} cannot be written ({error.strerror}); choose another.") from error


def _require_shared(workdir: Path) -> None:
    """Refuses processes that do not see the same work directory: checkpoints are read by all of them."""
    if not several():
        return
    path, mark = workdir / ".lock", secrets.token_hex()
    with collectives.raise_on_all_processes():
        if is_first():
            with _write_errors(workdir):
                path.write_text(mark, encoding="utf-8")
    mark = collectives.from_first(mark)
    with collectives.raise_on_all_processes():
        if not path.is_file() or path.read_text(encoding="utf-8") != mark:
            raise InputError(f"--workdir={workdir} is not the directory of process 0; choose one that all hosts share.")


class _Run:
    """One run's data, network and rhythm."""

    def __init__(self, config: ml_collections.ConfigDict, workdir: Path) -> None:
        self.config = config
        self.workdir = workdir
        self.devices = all_devices()
        check_values(config)
        check_batch_size(config, len(self.devices))
        self.train_data = build_dataset(config, config.data.train_split)
        self.eval_data = build_dataset(config, config.data.eval_split)
        self.modalities = modalities_of(self.train_data)
        kind = Layerwise if config.train.procedure == "layerwise" else EndToEnd
        self.procedure: EndToEnd | Layerwise = kind(config, self.train_data, self.devices)
        self.plan = self.procedure.plan

    def require_same(self) -> None:
        """Refuses processes that were not started alike."""
        collectives.require_same(
            {
                **config.shared_keys(self.config),
                "number of training images": len(self.train_data),
                "number of evaluation images": len(self.eval_data),
            }
        )

    def start(self, checkpoints: Checkpoints) -> tuple[TrainState, int]:
        """The state to go on from, on the devices, and its step."""
        model, optimizer, channels = self.procedure.model, self.procedure.optimizer, sum(self.modalities)
        if not collectives.from_first(exists(self.workdir / "checkpoints")):
            with collectives.raise_on_all_processes():
                for dataset in (self.train_data, self.eval_data):
                    check_examples(dataset)
                state = build_initial_state(self.config, model, optimizer, channels)
            state = collectives.broadcast(self._transfer(state))
            step = 0
            _log.info("%s", parameter_overview.get_parameter_overview(state.params, include_stats=False))
        else:
            template = build_checkpoint_template(model, optimizer, channels)
            step, saved, metadata = checkpoints.restore(template, "latest")
            before, now = metadata.get("train_examples"), len(self.train_data)
            if before not in (None, now):
                raise InputError(
                    f"{self.workdir} was trained on {before} images, and now the training split has {now}; restore "
                    "the data to resume it, or choose another --workdir to start anew."
                )
            collectives.require_same({"step of the newest checkpoint": step})
            state = saved["train_state"]
            _log.info("Resuming at step %d of %d.", step, self.plan.total_steps)
        return replicate(state, self.devices), step

    def _transfer(self, state: TrainState) -> TrainState:
        """The initial state with the variables of `transfer.source`, if there is one."""
        fields, procedure = self.config.transfer, self.procedure
        if not fields.source:
            return state
        source = load_trained(Path(fields.source).expanduser(), {"eval.checkpoint": fields.checkpoint})
        variables = transfer.initialize(
            state.variables,
            source.variables,
            axes=transfer.class_axes(procedure.model, sum(self.modalities)) if procedure.classes else {},
            classes=procedure.classes,
            source_classes=source.class_table.names,
            same_classes=dict(fields.same_classes),
            fresh=fields.fresh,
        )
        _log.info("The network starts from step %d of %s.", source.step, fields.source)
        return state.replace(params=variables["params"], batch_stats=variables["batch_stats"])

    def train(
        self,
        state: TrainState,
        first_step: int,
        checkpoints: Checkpoints,
        writer: MetricWriter,
        interruption: GracefulShutdown,
    ) -> TrainState:
        """The steps after `first_step`, and the evaluations and checkpoints between them."""
        plan = self.plan
        path = report_path(self.workdir, self.config, self.eval_data.split, plan.total_steps)
        if first_step >= plan.total_steps and collectives.from_first(path.is_file()):
            _log.info("This run is finished: step %d of %d.", first_step, plan.total_steps)
            report = json.loads(path.read_text(encoding="utf-8"))
            _log.info("%s", self.procedure.evaluator(first_step).result(report, []).table())
            return jax.device_get(state)

        batches = build_train_batches(self.config, self.train_data, self.devices, first_step)
        progress = Progress(
            plan.total_steps,
            first_step + 1,
            self.config.train.batch_size,
            log_every=plan.log_every or plan.total_steps,
            stream=sys.stdout,
            enabled=is_first(),
        )
        if (
            first_step
            and plan.evaluates(first_step)
            and (collectives.from_first(checkpoints.read_metrics(first_step)) is None or first_step == plan.total_steps)
        ):
            # The run was stopped during this evaluation, or before its report was written.
            self._save(state, first_step, checkpoints, writer, interruption)
            if interruption.signal is not None:
                _leave_stopped(first_step, checkpoints, interruption)
        recorder = _Recorder(self.procedure, writer, progress, checkpoints)
        with contextlib.closing(batches), progress:
            for step in range(first_step + 1, plan.total_steps + 1):
                with progress.data_wait():
                    batch = next(batches)
                state, step_metrics = self.procedure.step_function(step)(state, batch)
                # The host looks at a step's numbers when the next is under way, so the devices never wait for it.
                recorder.add(step, step_metrics)
                interruption.poll()
                saves = interruption.signal is not None or plan.checkpoints(step)
                if saves:
                    recorder.flush()
                    with progress.pause():
                        self._save(state, step, checkpoints, writer, interruption)
                # A signal that came after the first look, where nothing was saved, waits for the next step.
                if saves and interruption.signal is not None:
                    _leave_stopped(step, checkpoints, interruption)
        return jax.device_get(state)

    def _save(
        self,
        state: TrainState,
        step: int,
        checkpoints: Checkpoints,
        writer: MetricWriter,
        interruption: GracefulShutdown,
    ) -> None:
        """Saves the state; before that evaluates it, if that is due and nobody asks to stop."""
        # `checkpoints` copies what it is given before it returns, and the next step uses this state's memory again.
        saved = jax.device_get(state)
        eval_batch_stats, is_exact, scores = saved.batch_stats, False, None
        if self.plan.evaluates(step) and not interruption.signal:
            if self.config.eval.batch_norm == "exact":
                eval_batch_stats = compute_exact_batch_stats(
                    self.config, self.procedure.model, state.variables, self.train_data, self.devices
                )
                is_exact = True
            variables = {"params": state.params, "batch_stats": eval_batch_stats}
            scores = self._evaluate(variables, step, writer, interruption)
        metadata = {
            "config": self.config.to_dict(),
            "class_table": self.train_data.class_table.to_dict(),
            "exact_batch_stats": is_exact,
            "train_examples": len(self.train_data),
            "modalities": self.modalities,
            "model": self.procedure.model_fields(step),
            STAGE: self.procedure.stage(step),
        }
        checkpoints.save(step, {"train_state": saved, "eval_batch_stats": eval_batch_stats}, metadata, scores)

    def _evaluate(
        self, variables: Any, step: int, writer: MetricWriter, interruption: GracefulShutdown
    ) -> dict[str, float] | None:
        """The scores of the evaluation split, logged and, if they are due in full, written; None if stopped."""
        in_full = self.plan.reports(step)

        def should_stop() -> bool:
            interruption.poll()
            return interruption.signal is not None

        try:
            evaluation = self.procedure.evaluator(step)(
                variables,
                self.eval_data,
                boundary_f1=in_full,
                num_pictures=self.config.eval.pictures,
                should_stop=should_stop,
            )
        except Stopped:
            return None
        if is_first():
            self._report(evaluation, step, writer, in_full)
        return evaluation.scores

    def _report(self, evaluation: Evaluation, step: int, writer: MetricWriter, in_full: bool) -> None:
        """Logs an evaluation, and writes it if it is due in full."""
        scores, split = evaluation.scores, self.eval_data.split
        writer.write_scalars(
            step,
            {f"{split}/{key}": value for key, value in scores.items()}
            | {f"{split}_iou/{name}": iou for name, iou in evaluation.class_scores.items()},
        )
        sheet = evaluation.draw(self.eval_data.class_table)
        if sheet is not None:
            writer.write_images(step, {f"{split}/predictions": np.asarray(sheet)})
        if in_full:
            _log.info("%s", evaluation.table())
            path = evaluation.write(self.workdir, self.config, split, step, self.eval_data.class_table)
            _log.info("Written: %s and the sheet beside it.", path)
        else:
            _log.info("step %d: %s %s", step, split, evaluation.line())


def _leave_stopped(step: int, checkpoints: Checkpoints, interruption: GracefulShutdown) -> NoReturn:
    _log.info("Stopped by a signal; step %d is saved. The same command resumes the run.", step)
    checkpoints.wait()
    raise SystemExit(interruption.exit_status)


class _Recorder:
    """Reads the metrics of each step one step later, stops at NaN, and logs their means when a report is due."""

    def __init__(
        self,
        procedure: EndToEnd | Layerwise,
        writer: MetricWriter,
        progress: Progress,
        checkpoints: Checkpoints,
    ) -> None:
        self._procedure = procedure
        self._writer, self._progress, self._checkpoints = writer, progress, checkpoints
        self._pending: tuple[int, Any] | None = None
        self._window: Any = None

    def add(self, step: int, step_metrics: Any) -> None:
        """Takes the metrics of `step`, and reads those of the step before."""
        self.flush()
        self._pending = step, step_metrics

    def flush(self) -> None:
        """Reads the metrics of the last step taken, waiting for it if it is under way."""
        if self._pending is None:
            return
        step, step_metrics = self._pending
        self._pending = None
        step_metrics = jax.device_get(step_metrics)
        values = step_metrics.compute()
        for name in ("loss", "gradient_norm"):
            if not np.isfinite(values[name]):
                self._checkpoints.wait()
                latest = self._checkpoints.latest_step()
                kept = "there is no checkpoint yet" if latest is None else f"the checkpoint of step {latest} is kept"
                raise FloatingPointError(
                    f"The {name.replace('_', ' ')} of step {step} is {values[name]}; {kept}. {self._procedure.advice}"
                )
        self._window = step_metrics if self._window is None else self._window.merge(step_metrics)
        means = {name: float(value) for name, value in self._window.compute().items()}
        rate = self._procedure.learning_rate(step)
        shown = {"loss": means["loss"]} if rate is None else {"loss": means["loss"], "learning rate": rate}
        rates = self._progress.update(step, shown)
        if rates is not None:
            self._window = None
            scalars = {**means, **({} if rate is None else {"learning_rate": rate}), **rates}
            self._writer.write_scalars(step, {f"train/{name}": value for name, value in scalars.items()})
