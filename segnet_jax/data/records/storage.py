"""Files on a disk or in an object store such as gs://BUCKET/FOLDER, through etils' epath."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from etils import epath

from segnet_jax.errors import InputError
from segnet_jax.runtime.files import write_errors

_CHUNK = 1 << 22  # bytes


def is_remote(path: epath.Path) -> bool:
    """Returns whether a path leads to an object store, and not into the file system."""
    return "://" in os.fspath(path)


def read_text(path: epath.Path) -> str | None:
    """Reads a text file; returns None if it does not exist.

    Raises:
      InputError: if it cannot be read.
    """
    with errors(path, "read"):
        try:
            return path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None


def write_text(path: epath.Path, text: str) -> None:
    """Writes a text file atomically: whoever reads it sees the former text or this one."""
    with errors(path, "written"), written_aside(path) as local:
        local.write_text(text, encoding="utf-8")


def size_of(path: epath.Path) -> int | None:
    """Returns the size of a file in bytes, or None if it does not exist."""
    with errors(path, "read"):
        try:
            return path.stat().length
        except FileNotFoundError:
            return None


def names_in(folder: epath.Path) -> set[str]:
    """Returns the names of the files in a folder; none if it does not exist, as empty folders of object stores."""
    with errors(folder, "read"):
        try:
            return {path.name for path in folder.iterdir()}
        except FileNotFoundError:
            return set()


def sha256_of(path: epath.Path) -> str:
    """Returns the SHA-256 checksum of a file, in hexadecimal."""
    digest = hashlib.sha256()
    for chunk in _chunks(path):
        digest.update(chunk)
    return digest.hexdigest()


@contextlib.contextmanager
def written_aside(path: epath.Path) -> Iterator[Path]:
    """Yields a local path to write a file to; the file gets its name `path` when it is whole, or goes."""
    with contextlib.ExitStack() as stack:
        if is_remote(path):
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="segnet_jax_"))
            local = Path(folder) / path.name
        else:
            local = Path(f"{path}.tmp")
            stack.callback(local.unlink, missing_ok=True)
        yield local
        with open(local, "rb") as file:
            os.fsync(file.fileno())
            if is_remote(path):
                _upload(file, path)
            else:
                os.replace(local, path)


def _upload(file: BinaryIO, target: epath.Path) -> None:
    try:
        with errors(target, "written"), target.open("wb") as copy:
            shutil.copyfileobj(file, copy, _CHUNK)
    except BaseException:
        # Ctrl-C closes the object, and so makes a part of the file look whole.
        target.unlink(missing_ok=True)
        raise


def download(source: epath.Path, target: Path, sha256: str) -> None:
    """Copies a file from an object store; `target` appears when it is whole.

    Raises:
      InputError: if it cannot be read, `target` cannot be written, or the checksum is another than `sha256`.
    """
    advice = "make room there, or set the environment variable XDG_CACHE_HOME to another folder"
    with write_errors(target, advice), written_aside(epath.Path(target)) as local:
        with open(local, "wb") as file:
            for chunk in _chunks(source):
                file.write(chunk)
        if sha256_of(epath.Path(local)) != sha256:
            raise InputError(
                f"{source} is damaged, as its checksum is not that of the index; copy it there again, or prepare the "
                "records anew."
            )


@contextlib.contextmanager
def errors(path: epath.Path, done: str) -> Iterator[None]:
    """Turns whatever a file system raises into an InputError: `path` cannot be `done`."""
    try:
        yield
    except InputError:
        raise
    except ImportError as error:
        raise InputError(
            f"{path} cannot be {done} without the package for this kind of storage ({' '.join(str(error).split())}); "
            "install it: gcsfs for gs://, s3fs for s3://."
        ) from error
    except Exception as error:  # each object store has errors of its own
        reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{path} cannot be {done} ({reason}); correct the path, or see to the room, the rights and the connection "
            "there."
        ) from error


def _chunks(path: epath.Path) -> Iterator[bytes]:
    with errors(path, "read"), path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk
