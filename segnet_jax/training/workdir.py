"""The work directory of a run: one configuration, one process that writes, shared by all hosts."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path

import ml_collections

from segnet_jax.checkpoint import manager
from segnet_jax.config import differences, to_json
from segnet_jax.errors import InputError
from segnet_jax.runtime import collectives
from segnet_jax.runtime.files import locked, require_utf8, write_atomically, write_errors
from segnet_jax.runtime.processes import is_first, several

_ADVICE = "choose another --workdir"


def refuse_another_run(workdir: Path, config: ml_collections.ConfigDict) -> None:
    """Refuses a work directory with checkpoints of another configuration, which they hold themselves.

    `train.duration` may differ: a run can be made longer.

    Raises:
      InputError: with the keys that differ; or if checkpoints cannot have such a path.
    """
    require_utf8(workdir)
    metadata = manager.newest_metadata(workdir / "checkpoints")
    if metadata is None:
        return
    differing = [text for text in differences(metadata["config"], config) if not text.startswith("train.duration:")]
    if differing:
        raise InputError(
            f"{workdir} holds a run of another configuration ({'; '.join(differing)}); choose another --workdir, or "
            "resume that run with the values before the arrows, by --config.KEY=VALUE."
        )


def require_present(workdir: Path) -> None:
    """Refuses to write into a work directory that has gone while the run was training.

    Raises:
      InputError: if it is no longer there, or another one in its place.
    """
    if not (workdir / ".lock").is_file():
        raise InputError(
            f"{workdir} has been deleted or moved while the run was training, so nothing more is saved; bring it back "
            "and give the same command to resume, or let that begin anew."
        )


@contextlib.contextmanager
def claimed(workdir: Path, config: ml_collections.ConfigDict) -> Iterator[None]:
    """Makes the work directory if need be, holds it for this process, and writes `config.json`.

    Raises:
      InputError: if another process trains in it, it holds a run of another configuration, or it cannot be written.
    """
    with contextlib.ExitStack() as stack:
        with write_errors(workdir, _ADVICE):
            workdir.mkdir(parents=True, exist_ok=True)
            taken = f"Another process is training in {workdir}; wait for it or stop it, or {_ADVICE}."
            stack.enter_context(locked(workdir / ".lock", taken))
        # A run that has held it until now may have left its first checkpoint.
        refuse_another_run(workdir, config)
        with write_errors(workdir, _ADVICE):
            write_atomically(workdir / "config.json", to_json(config) + "\n")
        yield


def require_shared(workdir: Path) -> None:
    """Refuses processes that do not see the same work directory: checkpoints are read by all of them.

    Raises:
      InputError: in all processes.
    """
    if not several():
        return
    path, mark = workdir / ".lock", secrets.token_hex()
    with collectives.raise_on_all_processes():
        if is_first():
            with write_errors(workdir, _ADVICE):
                path.write_text(mark, encoding="utf-8")
    mark = collectives.from_first(mark)
    with collectives.raise_on_all_processes():
        if not path.is_file() or path.read_text(encoding="utf-8") != mark:
            raise InputError(f"--workdir={workdir} is not the directory of process 0; choose one that all hosts share.")
