"""Reads the files of one modality of images, such as depth maps: what their channels are, and how values come out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from segnet_jax.data import image_files
from segnet_jax.data.band_files import TIFF_SUFFIXES, read_bands, read_layout
from segnet_jax.data.image_files import StrPath
from segnet_jax.errors import InputError


@dataclass(frozen=True)
class ModalityFiles:
    """The files of a modality, all of which are read alike.

    Attributes:
      name: of the modality.
      first: the file that says how all are read.
      channels: of each.
      maximum: the 16-bit value that becomes 255, of files that are not read exactly.
      missing: the value that means that there is none; -1 has no such value.
      dtype: of the values in files that are read exactly, see `band_files.read_bands`; "" where they are not.
    """

    name: str
    first: str
    channels: int
    maximum: int
    missing: int = -1
    dtype: str = ""

    @property
    def is_float(self) -> bool:
        """True if images are float32, with NaN where a value is missing, and not uint8."""
        return bool(self.dtype) or self.missing >= 0

    def shape(self, path: StrPath) -> tuple[int, int]:
        """Reads the (height, width) of a file from its header.

        Raises:
          InputError: it cannot be read, or is of another kind than the first.
        """
        if not self.dtype:
            return image_files.image_shape(path)
        layout = read_layout(path)
        if (layout.bands, layout.dtype) != (self.channels, self.dtype):
            raise InputError(
                f"{path} has {layout.bands} bands of {layout.dtype}, and {self.first} has {self.channels} of "
                f"{self.dtype}; bring all to the same bands and type."
            )
        return layout.height, layout.width

    def read(self, path: StrPath) -> np.ndarray:
        """Reads a file.

        Returns:
          uint8 [H, W, channels], or float32 if `is_float`: values as they are in a TIFF file that is read exactly, else
          0 to 255 unrounded.

        Raises:
          InputError: it cannot be read, or is of another kind than the first.
        """
        if self.dtype:
            values = read_bands(path)
            if values.shape[-1] != self.channels:
                self.shape(path)  # which says so
            if self.missing >= 0:
                values[values == self.missing] = np.nan
            return values
        if self.channels == 3:
            return image_files.read_image(path, self.maximum)
        return image_files.read_depth(path, self.maximum, self.missing)[..., np.newaxis]


def files_like(
    name: str, first: StrPath, *, image_max: int = 65535, depth_max: int = 65535, depth_missing: int = -1
) -> ModalityFiles:
    """Looks at the first file of a modality to see how all are read.

    TIFF files are read exactly, all their bands, if the modality is "bands" or they are more than pictures of 8 bits;
    but not those of "rgb". All other files have 8 bits when they are read, or as many as "depth" needs.

    Args:
      name: of the modality.
      first: its first file.
      image_max: the value of 16-bit files that becomes 255, except in those of "depth",
      depth_max: where this one does.
      depth_missing: the value of "depth" that means a missing one; -1 has none.

    Raises:
      InputError: the file cannot be read, or is one of depth with several bands.
    """
    if name == "rgb":
        return ModalityFiles(name, str(first), 3, image_max)
    is_depth = name == "depth"
    missing = depth_missing if is_depth else -1
    is_tiff = str(first).lower().endswith(TIFF_SUFFIXES)
    if is_tiff and (name in ("bands", "depth") or not image_files.is_picture(first)):
        layout = read_layout(first)
        if is_depth and layout.bands != 1:
            raise InputError(f"{first} has {layout.bands} bands, and a map of depth has one; save it with one band.")
        return ModalityFiles(name, str(first), layout.bands, image_max, missing, layout.dtype)
    if is_depth:
        return ModalityFiles(name, str(first), 1, depth_max, missing)
    return ModalityFiles(name, str(first), 1 if image_files.is_gray(first) else 3, image_max)


def read_modalities(names: tuple[str, ...], path: StrPath, **settings: int) -> np.ndarray:
    """Reads one file that holds all modalities of an image.

    Args:
      names: of the modalities. A file of several is a TIFF file with all channels in their order.
      path: the file.
      **settings: of `files_like`.

    Returns:
      uint8 or float32 [H, W, channels].

    Raises:
      InputError: it cannot be read.
    """
    if len(names) == 1:
        return files_like(names[0], path, **settings).read(path)
    return read_bands(path)


def join(parts: list[np.ndarray], names: tuple[str, ...]) -> np.ndarray:
    """Returns the channels of all modalities, [H, W, channels] each, in one array: float32 if one of them is.

    Normals of 8 bits then have their sign, as those in floating-point numbers do: 127.5, no direction, becomes 0.
    """
    if all(part.dtype == np.uint8 for part in parts):
        return np.concatenate(parts, axis=-1)
    signed = [
        part.astype(np.float32) - np.float32(127.5 * (name == "normals" and part.dtype == np.uint8))
        for name, part in zip(names, parts, strict=True)
    ]
    return np.concatenate(signed, axis=-1)
