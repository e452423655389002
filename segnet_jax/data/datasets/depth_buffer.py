"""Depth buffer of planar polygons, in the image of a pinhole camera."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

_Point = tuple[float, float]


class DepthBuffer:
    """Depth buffer of planar surfaces, painted one over the other, the last on top.

    The inverse distance of a plane is an affine function of the pixel, so three numbers give that of all its pixels.

    Args:
      size: width and height of the image in pixels.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self._numbers = Image.new("I", size, 0)
        self._pen = ImageDraw.Draw(self._numbers)
        # Offset, slope to the right, slope downwards, smallest and greatest; number 0 is where nothing was painted.
        self._planes: list[tuple[float, ...]] = [(0.0,) * 5]

    def polygon(self, points: Sequence[_Point], distances: Sequence[float]) -> None:
        """Paints a plane with these corners, in pixels, and their distances, above 0."""
        inverse = 1 / np.asarray(distances)
        corners = np.column_stack([np.ones(len(points)), np.asarray(points)])
        plane = np.linalg.lstsq(corners, inverse, rcond=None)[0]
        self._pen.polygon(points, fill=len(self._planes))
        self._planes.append((*plane.tolist(), float(inverse.min()), float(inverse.max())))

    def ellipse(self, box: tuple[float, float, float, float], distance: float) -> None:
        """Paints an ellipse that faces the camera, in a box of left, upper, right and lower pixel."""
        self._pen.ellipse(box, fill=len(self._planes))
        self._planes.append((1 / distance, 0.0, 0.0, 1 / distance, 1 / distance))

    def distances(self, step: int = 1) -> np.ndarray:
        """Returns the distance of every `step`th pixel from `step // 2` on, float64 [H, W], infinite at first."""
        rows, columns = np.indices(self._numbers.size[::-1])[:, step // 2 :: step, step // 2 :: step]
        offset, across, down, low, high = np.moveaxis(
            np.asarray(self._planes)[np.asarray(self._numbers)[rows, columns]], -1, 0
        )
        inverse = np.clip(offset + across * (columns + 0.5) + down * (rows + 0.5), low, high)
        return np.divide(1.0, inverse, out=np.full(inverse.shape, np.inf), where=inverse > 0)
