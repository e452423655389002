"""Writes files atomically, locks them, and finds the user's cache directory."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from segnet_jax.errors import InputError


def user_cache_dir() -> Path:
    """Returns `$XDG_CACHE_HOME/segnet_jax`, or `~/.cache/segnet_jax`; it may not exist yet."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "segnet_jax"


@contextlib.contextmanager
def write_errors(path: str | os.PathLike[str], advice: str = "make room there or choose another") -> Iterator[None]:
    """Turns an `OSError` into an `InputError` that says that `path` cannot be written, why, and the `advice`."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{os.fspath(path)} cannot be written ({error.strerror or error}); {advice}.") from error


def write_atomically(path: Path, content: str | bytes) -> None:
    """Writes a file so that whoever reads it sees the former content or all of this one; text is UTF-8.

    Raises:
      OSError: if it cannot be written; the former content is intact.
    """
    temporary = path.with_name(f"{path.name}.tmp")
    with open(temporary, "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def require_utf8(path: Path) -> None:
    """Refuses a path that is not UTF-8, which Orbax cannot write to.

    Raises:
      InputError: if it is none.
    """
    try:
        str(path.absolute()).encode()
    except UnicodeEncodeError as error:
        raise InputError(f"The name of {str(path)!r} is not UTF-8, which checkpoints need; choose another.") from error


@contextlib.contextmanager
def locked(path: Path, taken: str = "") -> Iterator[None]:
    """Holds a lock on the file `path`, creating it if need be; the system releases it when the process ends.

    Args:
      path: the file to lock.
      taken: the message if another process of this machine holds the lock; "" waits for it instead.

    Raises:
      InputError: with the message `taken`.
      OSError: if the file cannot be opened.
    """
    with open(path, "w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (fcntl.LOCK_NB if taken else 0))
        except BlockingIOError as error:
            raise InputError(taken) from error
        yield
