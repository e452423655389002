"""Reads TIFF files exactly: any number of bands, in 8, 16 or 32 bits, with what their authors marked as missing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from segnet_jax.data.image_files import StrPath, require_file
from segnet_jax.errors import InputError

TIFF_SUFFIXES = (".tif", ".tiff")
"""Endings of the files that can be read exactly."""

_ORIENTATION, _NODATA = 274, 42113

# By the number in the file, what turns [H, W, bands] upright.
_UPRIGHT = {
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: np.rot90(x, -1),
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: lambda x: np.rot90(x),
}
_SIDEWAYS = (5, 6, 7, 8)


class Layout(NamedTuple):
    """Describes what a file holds, upright: `height` and `width` in pixels, `bands`, and the type of its values."""

    height: int
    width: int
    bands: int
    dtype: str


def read_layout(path: StrPath) -> Layout:
    """Reads from a file's header what it holds.

    Raises:
      InputError: as `read_bands`.
    """
    with _opened(path) as file:
        series, axes = _series_of(file, path)
        height, width, bands = (series.shape[axis] if axis is not None else 1 for axis in axes)
        if _tag(file, _ORIENTATION) in _SIDEWAYS:
            height, width = width, height
        return Layout(height, width, bands, str(series.dtype))


def read_bands(path: StrPath) -> np.ndarray:
    """Reads all bands of a TIFF file as they are, upright.

    They may lie pixel by pixel, plane by plane or page by page. Samples that are marked as opacity are bands too.

    Args:
      path: the file, of integers or floating-point numbers.

    Returns:
      float32 [H, W, bands], which holds numbers of 8 and 16 bits exactly; NaN where the file has the number of its tag
      GDAL_NODATA, NaN or an infinite value.

    Raises:
      InputError: the file is missing, damaged, no TIFF file, or holds complex numbers or more axes than these, or
        tifffile is not installed.
    """
    with _opened(path) as file:
        series, axes = _series_of(file, path)
        found = series.asarray(maxworkers=1)  # several files are read at once
        order = [axis for axis in axes if axis is not None]
        rest = [axis for axis in range(found.ndim) if axis not in order]
        found = found.transpose(*order, *rest).reshape(*(found.shape[axis] for axis in order[:2]), -1)
        with np.errstate(over="ignore"):  # of numbers beyond float32
            values = found.astype(np.float32)
            missing = _tag(file, _NODATA)
            if missing is not None:
                # The tag has more digits than a file of float32 can hold.
                number = found.dtype.type(missing) if found.dtype.kind == "f" else float(missing)
                values[found == number] = np.nan
        values[np.isinf(values)] = np.nan
        return np.ascontiguousarray(_UPRIGHT.get(_tag(file, _ORIENTATION), lambda x: x)(values))


def _series_of(file: Any, path: StrPath) -> tuple[Any, tuple[int, int, int | None]]:
    """Returns the first image of a file, and its axes of height, width and, if there are several, bands."""
    series = file.series[0]
    if series.dtype.kind not in "biuf":
        raise InputError(f"{path} holds values of the type {series.dtype}; save its bands as integers or as float32.")
    rows, columns = series.axes.find("Y"), series.axes.find("X")
    others = [axis for axis, length in enumerate(series.shape) if axis not in (rows, columns) and length > 1]
    if rows < 0 or columns < 0 or len(others) > 1:
        raise InputError(
            f"{path} holds an array of the shape {series.shape} (axes {series.axes}) and no image with bands; save it "
            "as [height, width, bands]."
        )
    if not others:
        return series, (rows, columns, None)
    bands = others[0]
    if series.axes[bands] == "Q" and series.shape[-1] < min(series.shape[:-1]):
        # An array [height, width, bands] that was written as so many pages, each of [width, bands].
        return series, (0, 1, 2)
    return series, (rows, columns, bands)


def _tag(file: Any, number: int) -> Any:
    tag = file.pages[0].tags.get(number)
    return None if tag is None else tag.value


@contextlib.contextmanager
def _opened(path: StrPath) -> Iterator[Any]:
    """Opens a file, and turns whatever tifffile raises until it is closed into an InputError."""
    try:
        import tifffile
    except ImportError as error:
        raise InputError(f"{path} needs tifffile to be read exactly; pip install -r requirements-data.txt.") from error
    require_file(path)
    try:
        with tifffile.TiffFile(path) as file:
            yield file
    except (InputError, MemoryError):
        raise
    except tifffile.TiffFileError as error:
        raise InputError(
            f"{path} is not a TIFF file that can be read ({error}); copy or export it again as TIFF."
        ) from error
    except Exception as error:  # on damaged files its decoders raise almost any built-in one
        reason = str(error) or type(error).__name__
        raise InputError(f"{path} is damaged or cannot be read ({reason}); copy or export it again.") from error
