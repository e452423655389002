"""Reads image files, label files and lists of them.

Every file is turned upright as its EXIF orientation says, as viewers and annotation tools show it.
"""

import contextlib
import functools
import hashlib
import logging
import os
import stat
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from segnet_jax.errors import InputError

StrPath = str | os.PathLike[str]

# The formats that are read. Pillow knows many more, and hands some of them to other programs, whatever the file's name.
_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")

_ORIENTATION, _SAMPLES = 0x0112, 0x0115
# Pillow's modes of files of 8 bits, with the samples of a pixel.
_PICTURE_MODES = {"1": 1, "L": 1, "P": 1, "RGB": 3, "RGBA": 4, "CMYK": 4}
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = (5, 6, 7, 8)

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
"""Endings of the files that can be images."""

# What reads TIFF files that are more than pictures.
_EXACTLY = "set data.modalities=('bands',) and preprocessing=standardize to read it exactly"

_log = logging.getLogger("segnet_jax")

# Pillow's warnings of odd metadata and large sizes are of no use to the user, and silencing them around each call
# instead would not be thread-safe.
warnings.filterwarnings("ignore", module=r"PIL\.")


def read_image(path: StrPath, maximum: int = 65535) -> np.ndarray:
    """Reads an image as RGB, whatever its mode.

    Gray is repeated, palettes and CMYK are converted, alpha is dropped. A 16-bit value v becomes `255 * v / maximum`,
    rounded, and all above `maximum` become 255; of 16-bit colours the upper 8 bits are taken. Where that leaves an
    image almost black, as 12-bit data in 16-bit files with a maximum of 65535, a warning says so, once for its folder.

    Args:
      path: the file; of several frames the first is read.
      maximum: the 16-bit value that becomes 255, 1 to 65535.

    Returns:
      uint8 [H, W, 3].

    Raises:
      InputError: the file is missing, damaged or no image, holds other than 8- or 16-bit values, or 16-bit colours with
        a `maximum`.
    """
    with _opened(path) as image:
        if image.mode == "I" or image.mode.startswith("I;16"):
            values = _as_uint16(image, path)
            if 0 < values.max(initial=0) <= maximum // 16:
                _warn_of_dark_images(os.path.dirname(path), "set data.image_max to their greatest value, such as 4095")
            return np.repeat(_to_8_bits(values, maximum)[..., np.newaxis], 3, axis=2)
        if image.mode == "F":
            raise InputError(f"{path} holds floating-point values; {_EXACTLY}, or save it with 8 bits a channel.")
        # Pillow reads no more than their upper half.
        has_wide_colors = ";16" in str(getattr(image, "tile", ""))
        if has_wide_colors and maximum != 65535:
            raise InputError(f"{path} has colours of 16 bits, which data.image_max cannot scale; save it with 8 bits.")
        image.info.pop("transparency", None)  # a palette's would only set off a warning
        pixels = np.array(_upright(image).convert("RGB"))
        if has_wide_colors and 0 < pixels.max(initial=0) < 16:
            _warn_of_dark_images(os.path.dirname(path), "save them with 8 bits a colour")
        return pixels


def read_mask(path: StrPath) -> np.ndarray:
    """Reads a label image as it is stored.

    Args:
      path: the file.

    Returns:
      uint8 or uint16 [H, W] ids for a gray, 1-bit (0 and 1) or palette file (the indices, not their
      colours), or uint8 [H, W, 3] colours for an RGB file or an opaque RGBA file.

    Raises:
      InputError: the file is missing, damaged, no image, or of a kind that cannot hold labels.
    """
    with _opened(path) as image:
        if image.format in ("JPEG", "MPO"):
            raise InputError(f"{path} is a JPEG file, whose compression alters labels; export the mask as PNG.")
        mode = image.mode
        if mode == "I" or mode.startswith("I;16"):
            return _as_uint16(image, path)
        pixels = np.array(_upright(image))
    if mode in ("RGBA", "LA", "PA"):
        if (pixels[..., -1] != 255).any():
            raise InputError(
                f"{path} has transparent pixels, whose label is unclear; save the mask without an alpha channel."
            )
        pixels = pixels[..., :3] if mode == "RGBA" else pixels[..., 0]
    elif mode not in ("1", "L", "P", "RGB"):
        raise InputError(
            f"{path} has the mode {mode}, which holds no labels; "
            "save the mask as a gray, palette or RGB file of 8 bits."
        )
    return np.ascontiguousarray(pixels, np.uint8)


def read_palette(path: StrPath) -> list[tuple[int, int, int]]:
    """Returns the RGB colours of the palette of a file, by index; [] if it has none.

    Raises:
      InputError: the file is missing, no image, or damaged in its header.
    """
    with _opened(path) as image:
        if image.mode != "P" or image.palette is None:
            return []
        values = np.array(image.getpalette("RGB"), int).reshape(-1, 3)
        return [(red, green, blue) for red, green, blue in values.tolist()]


def read_depth(path: StrPath, depth_max: int = 65535, missing: int = -1) -> np.ndarray:
    """Reads a depth map, or another map of one channel, as values of 0 to 255.

    The values of a file of 8 bits are taken as they are. Of 16 bits the value d becomes `255 * d / depth_max`, rounded,
    and all above `depth_max` become 255.

    Args:
      path: the file, a gray PNG of 8 or 16 bits.
      depth_max: the 16-bit value that becomes 255, 1 to 65535, in the unit of the file.
      missing: the value in the file that means that there is none; -1 has no such value.

    Returns:
      uint8 [H, W]; with a `missing` value float32, not rounded, and NaN there.

    Raises:
      InputError: the file is missing, damaged, or another kind of image.
    """
    with _opened(path) as image:
        is_wide = image.mode == "I" or image.mode.startswith("I;16")
        if image.format == "PNG" and (is_wide or image.mode == "L"):
            values = _as_uint16(image, path) if is_wide else np.array(_upright(image))
            if missing < 0:
                return _to_8_bits(values, depth_max) if is_wide else values
            scaled = 255 * (np.minimum(values, depth_max) / depth_max) if is_wide else values
            return np.where(values == missing, np.nan, scaled).astype(np.float32)
        raise InputError(
            f"{path} is a {image.format} file of the mode {image.mode} and no map of one channel; save it as a gray "
            "PNG of 8 or 16 bits without a palette."
        )


def read_uint16(path: StrPath) -> np.ndarray:
    """Reads a gray PNG of 16 bits, such as a depth map, as it is stored.

    Returns:
      uint16 [H, W].

    Raises:
      InputError: the file is missing, damaged, or another kind of image.
    """
    with _opened(path) as image:
        if image.format == "PNG" and (image.mode == "I" or image.mode.startswith("I;16")):
            return _as_uint16(image, path)
        raise InputError(
            f"{path} is a {image.format} file of the mode {image.mode} and holds no depth; give a gray PNG of 16 bits."
        )


def is_picture(path: StrPath) -> bool:
    """Tells from its header whether `read_image` leaves nothing of a file out but opacity: 8 bits, gray or colours."""
    try:
        with _opened(path) as image:
            samples = image.tag_v2.get(_SAMPLES, 1) if isinstance(image, TiffImagePlugin.TiffImageFile) else 0
            wide = ";16" in str(getattr(image, "tile", "")) or image.mode not in _PICTURE_MODES
            return not wide and samples in (0, _PICTURE_MODES[image.mode])
    except InputError:
        return False


def is_gray(path: StrPath) -> bool:
    """Tells from its header whether a file has one channel, of 8 or 16 bits, and no palette.

    Raises:
      InputError: the file is missing, no image, or damaged in its header.
    """
    with _opened(path) as image:
        return image.mode in ("L", "I") or image.mode.startswith("I;16")


def image_shape(path: StrPath) -> tuple[int, int]:
    """Returns the (height, width) of an image, turned upright, in pixels from its header, decoding nothing.

    Raises:
      InputError: the file is missing, no image, or damaged in its header.
    """
    with _opened(path) as image:
        return image.size if _orientation(image) in _SIDEWAYS else image.size[::-1]


def common_shape(
    paths: Sequence[StrPath], shape_of: Sequence[Callable[[StrPath], tuple[int, int]]] = ()
) -> tuple[int, int]:
    """Returns the common (height, width) of an image and its mask and depth map, from their headers.

    Args:
      paths: of the files, that of the image first.
      shape_of: for each the function that reads its shape; () is `image_shape` for all.

    Raises:
      InputError: they differ, or a file is missing or damaged.
    """
    shapes = [read(path) for path, read in zip(paths, shape_of or [image_shape] * len(paths), strict=True)]
    image = shapes[0]
    for path, other in zip(paths[1:], shapes[1:], strict=True):
        if image == other:
            continue
        turned, advice = "", "bring both to one size"
        if image == other[::-1] and _is_sideways(paths[0]):
            turned = f" once it is turned as its EXIF data say, from {other[0]}x{other[1]}"
            advice = "turn the former too, or remove the orientation from the image's EXIF data"
        raise InputError(
            f"{path} is {other[0]}x{other[1]} pixels (height x width) but its image {paths[0]} is "
            f"{image[0]}x{image[1]}{turned}; {advice}."
        )
    return image


def _is_sideways(path: StrPath) -> bool:
    with contextlib.suppress(InputError), _opened(path) as image:  # of TIFF files, Pillow reads some alone
        # A TIFF file is turned by Pillow, which gives its orientation all the same.
        return (image.getexif() if image.format == "TIFF" else _exif(image)).get(_ORIENTATION) in _SIDEWAYS
    return False


def read_list(path: StrPath) -> list[tuple[int, str]]:
    """Reads the lines of a text file that lists files.

    Args:
      path: the file, UTF-8, with line ends of any system.

    Returns:
      (line number from 1, stripped text) of each line that is not blank.

    Raises:
      InputError: the file is missing or not text.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} cannot be read as a list of files ({_reason(error)}); "
            "give a UTF-8 text file with one entry a line."
        ) from error
    lines = ((number, line.strip()) for number, line in enumerate(text.splitlines(), start=1))
    return [(number, line) for number, line in lines if line]


def fingerprint(paths: Iterable[StrPath]) -> str:
    """Returns a digest of files' names, sizes and times of change, which differs once one was edited.

    Raises:
      InputError: a file is missing, or its folder cannot be read.
    """
    digest = hashlib.sha256()
    for path in paths:
        try:
            status = os.stat(path)
        except OSError as error:
            raise InputError(f"{path} is missing ({error.strerror}); correct the path or restore the file.") from error
        entry = (os.path.basename(path), status.st_size, status.st_mtime_ns)
        digest.update(repr(entry).encode())
    return digest.hexdigest()


def _exif(image: Image.Image) -> Image.Exif:
    """Returns the EXIF data that are read with the header; empty if they are damaged, as viewers take them."""
    exif = Image.Exif()
    with contextlib.suppress(Exception):  # which Pillow raises of almost any kind
        exif.load(image.info.get("exif", b""))
    return exif


def _orientation(image: Image.Image) -> int:
    """Returns the orientation that Pillow has left to do: it turns TIFF files by itself."""
    return 1 if image.format == "TIFF" else _exif(image).get(_ORIENTATION, 1)


def _upright(image: Image.Image) -> Image.Image:
    method = _UPRIGHT.get(_orientation(image))
    return image if method is None else image.transpose(method)


def _to_8_bits(values: np.ndarray, maximum: int) -> np.ndarray:
    """Maps uint16 values to 255 * v / maximum, rounded, and all above `maximum` to 255."""
    values = np.minimum(values, maximum).astype(np.uint32)
    return ((255 * values + maximum // 2) // maximum).astype(np.uint8)


@functools.cache
def _warn_of_dark_images(folder: str, advice: str) -> None:
    _log.warning(
        "%s holds images of 16 bits that use no more than a sixteenth of their range, as of 12 bits, and come out "
        "almost black; %s.",
        folder,
        advice,
    )


def _as_uint16(image: Image.Image, path: StrPath) -> np.ndarray:
    values = np.array(_upright(image))
    if values.min(initial=0) < 0 or values.max(initial=0) > 65535:
        raise InputError(f"{path} holds values of 32 bits; save it with 8 or 16 bits.")
    return values.astype(np.uint16)


def require_file(path: StrPath) -> None:
    """Refuses what is no file.

    Raises:
      InputError: there is nothing, or something else, at `path`.
    """
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            raise InputError(f"{path} does not exist; correct the path or restore the file.") from error
        raise InputError(f"{path} is damaged or cannot be read ({_reason(error)}); copy or export it again.") from error
    if not stat.S_ISREG(mode):
        # To open a named pipe waits until another program writes to it.
        raise InputError(f"{path} is a folder, a pipe or a device and no file; remove it, or put an image there.")


@contextlib.contextmanager
def _opened(path: StrPath) -> Iterator[Image.Image]:
    """Opens an image, and turns whatever Pillow raises until it is closed into an InputError."""
    require_file(path)
    try:
        with Image.open(path, formats=_FORMATS) as image:
            yield image
    except (InputError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise InputError(
            f"{path} claims to have more than {limit} pixels; "
            "cut it into smaller images, or replace it if its header is damaged."
        ) from error
    except UnidentifiedImageError as error:
        if os.path.getsize(path) == 0:
            raise InputError(f"{path} is empty (0 bytes); copy or export it again.") from error
        if os.fspath(path).lower().endswith((".tif", ".tiff")):
            raise InputError(
                f"{path} is no TIFF file of one gray value or three colours a pixel; {_EXACTLY}, or save it as RGB."
            ) from error
        raise InputError(
            f"{path} is not an image that can be read; give a PNG, JPEG, TIFF, BMP or WebP file."
        ) from error
    except Exception as error:  # on damaged files Pillow's decoders raise almost any built-in one
        raise InputError(f"{path} is damaged or cannot be read ({_reason(error)}); copy or export it again.") from error


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
