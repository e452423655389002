"""Reads image files, label files and lists of them.

An EXIF orientation is ignored for images and masks alike: annotation tools write masks for the pixels as they are
stored, and turning only one of the two would tear the pair apart.
"""

import hashlib
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from segnet_jax.errors import InputError

StrPath = str | os.PathLike[str]

# Pillow's warnings of odd metadata and large sizes are of no use to the user, and silencing them around each call
# instead would not be thread-safe.
warnings.filterwarnings("ignore", module=r"PIL\.")


def read_image(path: StrPath) -> np.ndarray:
    """Reads an image as RGB, whatever its mode.

    Gray is repeated, palettes and CMYK are converted, alpha is dropped, and 16-bit values are cut
    to their upper 8 bits.

    Args:
      path: the file; of several frames the first is read.

    Returns:
      uint8 [H, W, 3].

    Raises:
      InputError: the file is missing, damaged or no image, or holds other than 8- or 16-bit values.
    """
    with _opened(path) as image:
        if image.mode == "I" or image.mode.startswith("I;16"):
            gray = (_as_uint16(image, path) >> 8).astype(np.uint8)
            return np.repeat(gray[..., np.newaxis], 3, axis=2)
        if image.mode == "F":
            raise InputError(f"{path} holds floating-point values; save it with 8 bits a channel.")
        image.info.pop("transparency", None)  # a palette's would only set off a warning
        return np.array(image.convert("RGB"))


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
        if image.format == "JPEG":
            raise InputError(f"{path} is a JPEG file, whose compression alters labels; export the mask as PNG.")
        mode = image.mode
        if mode == "I" or mode.startswith("I;16"):
            return _as_uint16(image, path)
        pixels = np.array(image)
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


def read_depth(path: StrPath, depth_max: int = 65535) -> np.ndarray:
    """Reads a depth map with 8 bits.

    The values of a file of 8 bits are taken as they are. Of 16 bits the value d becomes `255 * d / depth_max`, rounded,
    and all above `depth_max` become 255.

    Args:
      path: the file, a gray PNG of 8 or 16 bits.
      depth_max: the 16-bit value that becomes 255, 1 to 65535, in the unit of the file.

    Returns:
      uint8 [H, W].

    Raises:
      InputError: the file is missing, damaged, or another kind of image.
    """
    with _opened(path) as image:
        if image.format == "PNG" and image.mode == "L":
            return np.array(image)
        if image.format == "PNG" and (image.mode == "I" or image.mode.startswith("I;16")):
            values = np.minimum(_as_uint16(image, path), depth_max).astype(np.uint32)
            return ((255 * values + depth_max // 2) // depth_max).astype(np.uint8)
        raise InputError(
            f"{path} is a {image.format} file of the mode {image.mode} and no depth map; save it as a gray PNG of 8 or "
            "16 bits, one channel and no palette."
        )


def image_shape(path: StrPath) -> tuple[int, int]:
    """Returns the (height, width) of an image in pixels from its header, decoding nothing.

    Raises:
      InputError: the file is missing, no image, or damaged in its header.
    """
    with _opened(path) as image:
        return image.height, image.width


def common_shape(paths: Sequence[StrPath]) -> tuple[int, int]:
    """Returns the common (height, width) of an image and its mask and depth map, from their headers.

    Raises:
      InputError: they differ, or a file is missing or damaged.
    """
    image = image_shape(paths[0])
    for path in paths[1:]:
        other = image_shape(path)
        if image == other:
            continue
        advice = "bring both to one size"
        if image == other[::-1]:
            advice = "the image may be stored turned, its EXIF data saying so; save it upright"
        raise InputError(
            f"{path} is {other[0]}x{other[1]} pixels (height x width) but its image {paths[0]} is "
            f"{image[0]}x{image[1]}; {advice}."
        )
    return image


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


def _as_uint16(image: Image.Image, path: StrPath) -> np.ndarray:
    values = np.array(image)
    if values.min(initial=0) < 0 or values.max(initial=0) > 65535:
        raise InputError(f"{path} holds values of 32 bits; save it with 8 or 16 bits.")
    return values.astype(np.uint16)


@contextmanager
def _opened(path: StrPath) -> Iterator[Image.Image]:
    """Opens an image, and turns whatever Pillow raises until it is closed into an InputError."""
    try:
        with Image.open(path) as image:
            yield image
    except (InputError, MemoryError):
        raise
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; correct the path or restore the file.") from error
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise InputError(
            f"{path} claims to have more than {limit} pixels; "
            "cut it into smaller images, or replace it if its header is damaged."
        ) from error
    except UnidentifiedImageError as error:
        if os.path.getsize(path) == 0:
            raise InputError(f"{path} is empty (0 bytes); copy or export it again.") from error
        raise InputError(
            f"{path} is not an image that can be read; give a PNG, JPEG, TIFF, BMP or WebP file."
        ) from error
    except Exception as error:  # on damaged files Pillow's decoders raise almost any built-in one
        raise InputError(f"{path} is damaged or cannot be read ({_reason(error)}); copy or export it again.") from error


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
