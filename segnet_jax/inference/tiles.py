"""Large images by overlapping tiles, in little memory and without seams."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from segnet_jax.errors import InputError

# Tiles begin at whole windows of the coarsest pooling: the network's windows then lie as in the whole image.
UNIT = 32


def blend_tiles(
    score: Callable[[np.ndarray], np.ndarray], image: np.ndarray, *, tile: int, overlap: int
) -> Iterator[tuple[int, np.ndarray]]:
    """Yields the scores of an image from top to bottom, in bands, from those of its tiles.

    Where tiles overlap, the scores go over from one to the other in the middle half of the overlap, linearly; the
    outer quarters, which a tile's border reaches first, are not used. So away from the border the result is that of the
    whole image wherever a score depends on no pixel further than a quarter of the overlap.

    Args:
      score: from an image, [h, w, channels], to scores, float32 [h, w, K].
      image: [H, W, channels].
      tile: side of the tiles in pixels, a multiple of `UNIT`.
      overlap: of neighbouring tiles in pixels, a multiple of `UNIT`, at most half of `tile`.

    Yields:
      (top, scores): the first row of a band and its scores, float32 [rows, W, K].

    Raises:
      InputError: if tile or overlap are out of range.
    """
    if tile < 2 * UNIT or tile % UNIT or overlap % UNIT or not 0 < overlap <= tile // 2:
        raise InputError(
            f"Tiles of {tile} with an overlap of {overlap} pixels do not fit: give multiples of {UNIT}, the overlap at "
            "least that and at most half a tile, such as 1024 and 256."
        )
    height, width = image.shape[:2]
    rows, columns = (_spans(length, tile, overlap) for length in (height, width))
    carried = None
    for top, bottom in rows:
        vertical = _weights(top, bottom, height, overlap)[:, None, None]
        band: np.ndarray | None = None
        for left, right in columns:
            scores = np.asarray(score(image[top:bottom, left:right]))
            if band is None:
                band = np.zeros((bottom - top, width, scores.shape[-1]), np.float32)
            band[:, left:right] += scores * (vertical * _weights(left, right, width, overlap)[:, None])
        assert band is not None
        if carried is not None:
            band[:overlap] += carried
        if bottom == height:
            yield top, band
        else:
            yield top, band[:-overlap]
            carried = band[-overlap:].copy()


def _spans(length: int, tile: int, overlap: int) -> list[tuple[int, int]]:
    """Returns the (start, stop) of the tiles along an axis; the last one may be smaller."""
    starts = range(0, max(1, length - overlap), tile - overlap)
    return [(start, min(start + tile, length)) for start in starts]


def _weights(start: int, stop: int, length: int, overlap: int) -> np.ndarray:
    """Returns the share of a tile in each of its pixels along an axis, float32; neighbours' shares add up to 1."""
    ramp = np.clip((np.arange(overlap) + 0.5 - overlap / 4) / (overlap / 2), 0, 1)
    weights = np.ones(stop - start, np.float32)
    if start > 0:
        weights[:overlap] *= ramp
    if stop < length:
        weights[-overlap:] *= ramp[::-1]
    return weights
