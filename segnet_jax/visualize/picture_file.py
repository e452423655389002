"""Writes pictures."""

from __future__ import annotations

import io
import os
from pathlib import Path

from PIL import Image

from segnet_jax.runtime.files import write_atomically, write_errors


def save_picture(picture: Image.Image, path: str | os.PathLike[str]) -> None:
    """Writes a picture, in the format of the file's suffix; the file appears when it is whole.

    Raises:
      InputError: if the file cannot be written.
    """
    content = io.BytesIO()
    picture.save(content, Image.registered_extensions()[Path(path).suffix.lower()])
    with write_errors(path, advice="choose a file in an existing folder that has room"):
        write_atomically(Path(path), content.getvalue())
