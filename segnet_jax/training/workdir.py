"""The work directory of a run: one configuration, one process that writes, shared by all hosts."""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import ml_collections

from segnet_jax.checkpoint import manager
from segnet_jax.config import differences, to_json
from segnet_jax.errors import InputError
from segnet_jax.runtime import collectives
from segnet_jax.runtime.files import locked, write_atomically, write_errors
from segnet_jax.runtime.processes import is_first, several

_ADVICE = "choose another --workdir"


def refuse_another_run(workdir: Path, config: ml_collections.ConfigDict) -> None:
    """Refuses a work directory with checkpoints of another configuration.

    Raises:
      InputError: with the keys that differ.
    """
    path = workdir / "config.json"
    if not (path.is_file() and manager.exists(workdir / "checkpoints")):
        return
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}); choose another --workdir, or delete the file.") from error
    if differing := differences(stored, config):
        raise InputError(
            f"{workdir} holds a run of another configuration ({'; '.join(differing)}); "
            "choose another --workdir, or the configuration of that run to resume it."
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
