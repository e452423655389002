"""Checkpoints of a run: atomic, asynchronous, checked bit by bit when read.

This package is the only one that knows Orbax. The checkpoint of step n is the directory `<n>` with two Orbax items:
`state`, the arrays as a nested dict, and `record`, the manifest as JSON (manifest.py).
"""

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax import traverse_util

from segnet_jax.checkpoint.manifest import (
    METRIC,
    CheckpointScore,
    DamagedError,
    Leaves,
    Manifest,
    Metrics,
    add_checksum,
    best_of,
    check_arrays,
    checkpoint_score,
    find_differences,
    find_steps,
    flatten,
    make_manifest,
    read_manifest,
)
from segnet_jax.checkpoint.numpy_handler import NumpyHandler
from segnet_jax.checkpoint.preservation import NewestAndBest
from segnet_jax.checkpoint.set_aside import REMOVED, finish_removals, set_aside, settle_replacements
from segnet_jax.errors import InputError
from segnet_jax.runtime import collectives
from segnet_jax.runtime.files import require_utf8

_log = logging.getLogger("segnet_jax")

_Template = Callable[[dict[str, Any]], Any]


def exists(directory: Path) -> bool:
    """Tells whether `directory` holds a checkpoint, damaged or not; creates nothing."""
    return bool(find_steps(Path(directory)))


def newest_metadata(directory: Path) -> dict[str, Any] | None:
    """Returns the metadata of the newest checkpoint in `directory` whose record is whole; None without any."""
    for step in reversed(find_steps(Path(directory))):
        with contextlib.suppress(DamagedError):
            return read_manifest(Path(directory) / str(step))["metadata"]
    return None


class Checkpoints:
    """Saves and restores the checkpoints of one directory; a context manager.

    `preservation.NewestAndBest` says which checkpoints stay. In a run of several processes each of them opens the same
    directory and makes the same calls of `save`, `wait`, `restore` and `close`; process 0 alone writes.

    Args:
      directory: a directory on a local or mounted file system; made if it is missing.
      read_only: make, clean and change nothing, e.g. to evaluate what another process trains.

    Raises:
      InputError: the directory cannot be made, or its name is not UTF-8.
    """

    def __init__(self, directory: Path, *, read_only: bool = False) -> None:
        require_utf8(Path(directory))
        self._directory = Path(directory).absolute()
        self._read_only = read_only
        self._damaged: dict[int, str] = {}
        self._scores: dict[int, CheckpointScore] = {}
        self._save_failed = False
        if not read_only:
            self._settle_replacements()
            self._finish_removals()
        self._manager = self._open_manager()
        self._scores.update(self._read_scores())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        try:
            self.close()
        except InputError as close_error:
            if error is None:
                raise
            _log.warning("%s", close_error)  # the error that is on its way up says more

    def steps(self) -> list[int]:
        """Lists the steps of the finished checkpoints that are not known to be damaged, ascending."""
        return list(self._read_manifests())

    def latest_step(self) -> int | None:
        """Returns the last of `steps()`, or None."""
        return max(self.steps(), default=None)

    def best_step(self) -> int | None:
        """Returns the step with the highest `mean_iou` of the last phase (the later of equals), or None without any."""
        return best_of(self._read_scores())

    def read_metadata(self, step: int) -> dict[str, Any]:
        """Reads the metadata saved with `step`, without its arrays.

        Raises:
          InputError: there is no such checkpoint, or it is damaged.
        """
        return self._require_manifest(step)["metadata"]

    def read_metrics(self, step: int) -> dict[str, float | None] | None:
        """Reads the metrics saved with `step`, or None; raises as `read_metadata` does."""
        return self._require_manifest(step)["metrics"]

    def restore(self, template: Any, step: int | str = "latest") -> tuple[int, Any, dict[str, Any]]:
        """Reads a checkpoint and checks every array against its checksum.

        Args:
          template: pytree of arrays or `jax.ShapeDtypeStruct`s with the structure, shapes and
            dtypes that are expected; the values are not read.
          step: a step, "latest" or "best". For "latest" a damaged checkpoint is reported in one
            warning line and the one before it is used.

        Returns:
          The step, the state as a pytree like `template` with NumPy arrays as leaves, and the
          metadata that was saved with it.

        Raises:
          InputError: there is no such checkpoint, it is damaged, or it does not fit `template`.
        """
        return self._restore(lambda metadata: template, step, partial=False)

    def restore_part(
        self, template_of: Callable[[dict[str, Any]], Any], step: int | str = "latest"
    ) -> tuple[int, Any, dict[str, Any]]:
        """Reads some of a checkpoint's arrays, such as those that evaluation needs; else as `restore`.

        Args:
          template_of: gives the template of these arrays from the checkpoint's metadata.
          step: as of `restore`.
        """
        return self._restore(template_of, step, partial=True)

    def _restore(self, template_of: _Template, step: int | str, *, partial: bool) -> tuple[int, Any, dict[str, Any]]:
        self.wait()
        if step == "latest":
            return self._restore_latest(template_of, partial)
        if step == "best":
            best = collectives.from_first(self.best_step())
            if best is None:
                raise InputError(
                    f"{self._directory}: no checkpoint has a {METRIC} to choose the best by; ask for the latest one,"
                    f" or for one of the steps {_listed(self.steps())}"
                )
            step = best
            self._warn_of_lost_scores(best)
        assert isinstance(step, int)
        manifest = self._require_manifest(step)
        try:
            return step, self._load(step, template_of, manifest, partial), manifest["metadata"]
        except DamagedError as error:
            self._damaged[step] = str(error)
            raise self._damaged_error(step, error) from error

    def save(self, step: int, state: Any, metadata: dict[str, Any], metrics: Metrics | None = None) -> bool:
        """Starts to write a checkpoint, and returns once the arrays are copied.

        Waits for the save before it. A checkpoint of the same step is given up only once the new
        one is whole; where its arrays are the same, its metrics stay unless there are new ones.
        Checkpoints of later steps are given up by a run that resumed from an earlier one: they are
        removed, with a warning.

        Args:
          step: the number of training steps behind this state.
          state: pytree of NumPy arrays (`jax.device_get` of one replica); no typed random keys.
          metadata: anything that JSON can hold; tuples come back as lists.
          metrics: numbers by name; without a finite `mean_iou` it can never be the best one.

        Returns:
          True, or False where this very checkpoint was there already.

        Raises:
          InputError: this save could not be started, or the one before it could not be written;
            the finished checkpoints are intact.
        """
        self.wait()
        leaves = flatten(state)
        manifest = make_manifest(leaves, metadata, metrics)
        intact = self._read_manifests()
        # All processes go by what one of them has seen.
        comparison = self._compare(step, manifest, intact.get(step))
        replaces, is_there, manifest["metrics"] = collectives.from_first(comparison)
        if is_there:
            return False
        if later := [other for other in intact if other > step]:
            message = "%s: saving step %d removes the later checkpoints %s, which this run has left"
            _log.warning(message, self._directory, step, _listed(later))
        with self._write_errors():
            if collectives.from_first(replaces or self._save_failed):
                self._prepare_again(step)
            self._damaged.pop(step, None)
            self._scores[step] = checkpoint_score(manifest)
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.PyTreeSave(traverse_util.unflatten_dict(leaves)),
                    record=ocp.args.JsonSave(add_checksum(manifest)),
                ),
                force=True,  # whether to save is the caller's decision, not Orbax's schedule's
            )
            if replaces:
                self._manager.wait_until_finished()
        if replaces:
            self._settle_replacements()
        return True

    def wait(self) -> None:
        """Waits until the save in progress is finished.

        Raises:
          InputError: it could not be written; the finished checkpoints are intact.
        """
        with self._write_errors():
            self._manager.wait_until_finished()
        self._finish_removals()

    def close(self) -> None:
        """Waits for the save in progress and ends Orbax's threads; raises as `wait` does."""
        try:
            self.wait()
        finally:
            self._manager.close()

    def _open_manager(self) -> ocp.CheckpointManager:
        registry = ocp.handlers.DefaultCheckpointHandlerRegistry()
        arrays = ocp.type_handlers.create_type_handler_registry((np.ndarray, NumpyHandler()))
        handler = ocp.PyTreeCheckpointHandler(type_handler_registry=arrays)
        registry.add("state", ocp.args.PyTreeSave, handler)
        registry.add("state", ocp.args.PyTreeRestore, handler)
        options = ocp.CheckpointManagerOptions(
            read_only=self._read_only,  # overrules the next line, and that the directory is made
            cleanup_tmp_directories=True,
            # Otherwise one damaged file keeps Orbax from opening the directory at all.
            lightweight_initialize=True,
            todelete_subdir=REMOVED,
            preservation_policy=NewestAndBest(self._scores, self._damaged),
        )
        try:
            return ocp.CheckpointManager(self._directory, options=options, handler_registry=registry)
        except OSError as error:
            raise InputError(
                f"{self._directory}: cannot keep checkpoints there ({_reason(error)}); name another directory"
            ) from error

    def _compare(self, step: int, manifest: Manifest, present: Manifest | None) -> tuple[bool, bool, Metrics | None]:
        """Tells whether something is replaced and whether this very checkpoint is there; gives the metrics to save."""
        metrics = manifest["metrics"]
        if present and metrics is None and present["leaves"] == manifest["leaves"]:
            metrics = present["metrics"]
        return step in find_steps(self._directory), present == manifest | {"metrics": metrics}, metrics

    def _prepare_again(self, step: int) -> None:
        """Sets aside what `step` replaces, and lets Orbax look at the directory anew."""
        self._manager.close()
        # No other process may still be deciding by what lies there.
        ocp.multihost.sync_global_processes("segnet_jax_checkpoint_replaces")
        if ocp.multihost.is_primary_host(0):
            set_aside(self._directory / str(step))
        self._manager = self._open_manager()
        self._save_failed = False

    def _settle_replacements(self) -> None:
        if ocp.multihost.is_primary_host(0):
            settle_replacements(self._directory)

    def _finish_removals(self) -> None:
        if not self._read_only and ocp.multihost.is_primary_host(0):
            finish_removals(self._directory)

    def _read_manifests(self) -> dict[int, Manifest]:
        """Reads the manifests of the checkpoints that are not known to be damaged, by ascending step."""
        manifests = {}
        for step in find_steps(self._directory):
            if step not in self._damaged:
                with contextlib.suppress(DamagedError):
                    manifests[step] = read_manifest(self._directory / str(step))
        return manifests

    def _read_scores(self) -> dict[int, CheckpointScore]:
        return {step: checkpoint_score(manifest) for step, manifest in self._read_manifests().items()}

    def _warn_of_lost_scores(self, best: int) -> None:
        """Says which checkpoints may be better than the best one that is known, for their scores cannot be read."""
        lost = sorted(set(find_steps(self._directory)) - set(self.steps()))
        if lost:
            _log.warning(
                "%s: step %d is the best of the checkpoints whose scores can be read; of %s they cannot.",
                self._directory,
                best,
                _listed(lost),
            )

    def _require_manifest(self, step: int) -> Manifest:
        if step not in find_steps(self._directory):
            raise InputError(
                f"{self._directory}: there is no checkpoint of step {step}; the steps there are {_listed(self.steps())}"
            )
        try:
            return read_manifest(self._directory / str(step))
        except DamagedError as error:
            raise self._damaged_error(step, error) from error

    def _restore_latest(self, template_of: _Template, partial: bool) -> tuple[int, Any, dict[str, Any]]:
        for step in reversed(find_steps(self._directory)):
            try:
                manifest = read_manifest(self._directory / str(step))
                return step, self._load(step, template_of, manifest, partial), manifest["metadata"]
            except DamagedError as error:
                if not (self._directory / str(step)).exists():
                    continue  # the process that trains has just removed it
                self._damaged[step] = str(error)
                message = "%s: the checkpoint of step %d is damaged (%s); trying the one before it"
                _log.warning(message, self._directory, step, error)
        if not self._damaged:
            raise InputError(
                f"{self._directory}: there is no checkpoint; train first, or name the directory of a run that has one"
            )
        reasons = "; ".join(f"step {step}: {self._damaged[step]}" for step in sorted(self._damaged))
        raise InputError(
            f"{self._directory}: every checkpoint is damaged ({reasons}); bring back a copy of one,"
            " or train in another directory"
        )

    def _load(self, step: int, template_of: _Template, manifest: Manifest, partial: bool) -> Any:
        template = template_of(manifest["metadata"])
        expected = flatten(template)
        differences = find_differences(manifest, expected, partial=partial)
        if differences:
            shown = differences[:4] + [f"{len(differences) - 4} more"] * (len(differences) > 4)
            raise InputError(
                f"{self._directory}: the checkpoint of step {step} does not fit the model in {len(differences)} of its"
                f" arrays ({'; '.join(shown)}); use the config that it was trained with, or another directory"
            )
        restore_args = dict.fromkeys(expected, ocp.RestoreArgs(restore_type=np.ndarray))
        tree = ocp.args.PyTreeRestore(
            item=traverse_util.unflatten_dict(expected),
            restore_args=traverse_util.unflatten_dict(restore_args),
            partial_restore=True,
        )
        try:
            restored = self._manager.restore(step, args=ocp.args.Composite(state=tree))
            found = traverse_util.flatten_dict(restored.state)
            leaves: Leaves = {path: np.asarray(found[path]) for path in expected}
        except Exception as error:
            raise DamagedError(f"its arrays cannot be read, {_reason(error)}") from error
        check_arrays(manifest, leaves)
        return jax.tree.unflatten(jax.tree.structure(template), leaves.values())

    def _damaged_error(self, step: int, error: DamagedError) -> InputError:
        others = _listed([other for other in self.steps() if other != step])
        return InputError(
            f"{self._directory}: the checkpoint of step {step} is damaged ({error}); the other steps are {others}"
        )

    @contextlib.contextmanager
    def _write_errors(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._save_failed = True
            self._settle_replacements()
            raise InputError(
                f"{self._directory}: a checkpoint could not be written ({_reason(error)}); free"
                " space there or make it writable, and resume: the finished checkpoints are intact"
            ) from error


def _listed(steps: Sequence[int]) -> str:
    return ", ".join(map(str, steps)) or "none"


def _reason(error: BaseException) -> str:
    # TensorStore says everything that it was doing, ends with the cause, and appends its settings.
    text = " ".join(str(error).split()).split(" [tensorstore_spec=")[0]
    return f"{type(error).__name__}: {'...' if len(text) > 160 else ''}{text[-160:]}"


def _is_not_from_orbax(record: logging.LogRecord) -> bool:
    return "/orbax/" not in record.pathname.replace("\\", "/")


# Orbax tells every step it takes in absl's one logger, which others use too, and adds a traceback
# to every error that it raises anyway.
logging.getLogger("absl").addFilter(_is_not_from_orbax)
