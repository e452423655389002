"""Folders on a disk or in an object store such as gs://BUCKET/FOLDER, through etils' epath."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from etils import epath

from segnet_jax.errors import InputError

_CHUNK = 1 << 22  # bytes


def is_remote(path: epath.Path) -> bool:
    """Whether a path leads to an object store, and not into the file system."""
    return "://" in os.fspath(path)


def read_text(path: epath.Path) -> str | None:
    """The text of a file; None if it does not exist.

    Raises:
      InputError: if it cannot be read.
    """
    with errors(path, "read"):
        try:
            return path.read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return None


def write_text(path: epath.Path, text: str) -> None:
    """Writes a file at one stroke: whoever reads it sees the former text or this one."""
    with errors(path, "written"):
        if is_remote(path):
            # Object stores show an object when it is whole.
            path.write_text(text, encoding="utf-8")
            return
        temporary = Path(f"{path}.tmp")
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)


def size_of(path: epath.Path) -> int | None:
    """The size of a file in bytes; None if it does not exist."""
    with errors(path, "read"):
        try:
            return path.stat().length if is_remote(path) else os.stat(path).st_size
        except (FileNotFoundError, NotADirectoryError):
            return None


def sha256_of(path: epath.Path) -> str:
    """The SHA-256 digest of a file, in hexadecimal."""
    digest = hashlib.sha256()
    for chunk in _chunks(path):
        digest.update(chunk)
    return digest.hexdigest()


def upload(source: Path, target: epath.Path) -> None:
    """Moves a local file into an object store."""
    with errors(target, "written"):
        with open(source, "rb") as file, target.open("wb") as copy:
            shutil.copyfileobj(file, copy, _CHUNK)
        source.unlink()


def download(source: epath.Path, target: Path, sha256: str) -> None:
    """Copies a file from an object store; `target` appears when it is whole.

    Raises:
      InputError: if it cannot be read, `target` cannot be written, or the digest is another than `sha256`.
    """
    temporary = target.with_name(f"{target.name}.{uuid.uuid4().hex}.tmp")
    digest = hashlib.sha256()
    try:
        with open(temporary, "wb") as file:
            for chunk in _chunks(source):
                digest.update(chunk)
                file.write(chunk)
        if digest.hexdigest() != sha256:
            raise InputError(
                f"{source} is damaged, as its checksum is not that of the index; copy it there again, or prepare the "
                "records anew."
            )
        os.replace(temporary, target)
    except OSError as error:
        raise InputError(
            f"{source} cannot be copied to {target.parent} ({error.strerror or error}); make room there, or set the "
            "environment variable XDG_CACHE_HOME to another folder."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def errors(path: epath.Path, done: str) -> Iterator[None]:
    """Turns whatever a file system raises into an InputError: `path` cannot be `done`."""
    try:
        yield
    except (InputError, FileNotFoundError, NotADirectoryError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} cannot be {done}, as it does not exist; correct the path.") from error
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
    """The bytes of a file, piece by piece."""
    with errors(path, "read"), path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk
