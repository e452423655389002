"""One process at a time in a work directory."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from segnet_jax.errors import InputError


@contextlib.contextmanager
def workdir_lock(workdir: Path) -> Iterator[None]:
    """Holds `workdir` while a run trains in it; the system lets go when the process ends, however it ends.

    Raises:
      InputError: if another process on this machine holds it, such as the same job, submitted twice; or
        if it cannot be written.
    """
    try:
        file = open(workdir / ".lock", "w", encoding="utf-8")  # noqa: SIM115
    except OSError as error:
        raise InputError(f"{workdir}/.lock cannot be written ({error.strerror}); choose another --workdir.") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"Another process is training in {workdir}; wait for it or stop it, or choose another --workdir."
            ) from error
        yield
