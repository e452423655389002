"""Files on a disk or in an object store such as gs://BUCKET/FOLDER, through etils' epath."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from etils import epath

from segnet_jax.errors import InputError


def folder_at(path: str) -> epath.Path:
    """Returns the folder of records at a path.

    Raises:
      InputError: if its name is not UTF-8, as ArrayRecord takes no other.
    """
    try:
        path.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"{path} is a name outside of UTF-8; rename it, or choose another folder.") from error
    return epath.Path(path)


def is_remote(path: epath.Path) -> bool:
    """Returns whether a path leads to an object store, and not into the file system."""
    return "://" in os.fspath(path)


def read_text(path: epath.Path) -> str | None:
    """Reads a text file; returns None if it does not exist.

    Raises:
      InputError: if it cannot be read.
    """
    with errors(path, "read"), contextlib.suppress(FileNotFoundError):
        return path.read_text(encoding="utf-8")
    return None


def size_of(path: epath.Path) -> int | None:
    """Returns the size of a file in bytes, or None if it does not exist."""
    with errors(path, "read"), contextlib.suppress(FileNotFoundError):
        return path.stat().length
    return None


def names_in(folder: epath.Path) -> set[str]:
    """Returns the names of the files in a folder; none if it does not exist, as empty folders of object stores."""
    with errors(folder, "read"), contextlib.suppress(FileNotFoundError):
        return {path.name for path in folder.iterdir()}
    return set()


def sha256_of(path: epath.Path) -> str:
    """Returns the SHA-256 checksum of a file, in hexadecimal."""
    with errors(path, "read"), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def written_aside(path: epath.Path) -> Iterator[Path]:
    """Yields a local path to write a file to; the file gets its name `path` when it is whole, or goes."""
    with contextlib.ExitStack() as stack:
        if is_remote(path):
            local = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="segnet_jax_"))) / path.name
        else:
            local = Path(f"{path}.tmp")
            stack.callback(local.unlink, missing_ok=True)
        yield local
        if is_remote(path):
            copy(epath.Path(local), path)
        else:
            with open(local, "rb") as file:
                os.fsync(file.fileno())
            os.replace(local, path)


def copy(source: epath.Path, target: epath.Path) -> None:
    """Copies a file from or to an object store.

    Raises:
      InputError: if it cannot be copied.
    """
    with errors(source if is_remote(source) else target, "copied"):
        try:
            source.copy(target, overwrite=True)
        except BaseException:
            # Ctrl-C closes an object, and so makes a part of the file look whole.
            target.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def errors(path: epath.Path, done: str) -> Iterator[None]:
    """Turns whatever a file system raises into an InputError: `path` cannot be `done`."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # each object store has errors of its own
        reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{path} cannot be {done} ({reason}); correct the path, or see to the room, the rights and the connection "
            "there."
        ) from error
