"""Depth in metres, with NaN where it was not measured."""

from __future__ import annotations

import numpy as np

_MILLIMETRES = 1000
# What SUN RGB-D's toolbox cuts depth off at, in metres.
_SUNRGBD_MAX = 8.0


def to_metres(depth: np.ndarray, one_metre: float = _MILLIMETRES) -> np.ndarray:
    """Returns depth in metres, NaN where it is 0, not measured.

    Args:
      depth: numbers [H, W].
      one_metre: the number that stands for one metre.

    Returns:
      float32 [H, W].
    """
    metres = depth.astype(np.float32) / np.float32(one_metre)
    metres[depth == 0] = np.nan
    return metres


def sunrgbd_to_metres(depth: np.ndarray) -> np.ndarray:
    """Returns depth in metres from SUN RGB-D's files, as its toolbox reads them.

    They hold millimetres whose 16 bits are rotated to the left by three places. All above 8 m becomes 8 m.

    Args:
      depth: uint16 [H, W], as it is stored; 0 is not measured.

    Returns:
      float32 [H, W], NaN where it is not measured.
    """
    return np.minimum(to_metres(depth >> 3 | depth << 13), np.float32(_SUNRGBD_MAX))


def holds_rotated_millimetres(depth: np.ndarray) -> bool:
    """Tells whether values can be SUN RGB-D's, of a sensor for rooms: most are below 16 m.

    Of others the three lowest bits, which become the highest ones, would be as good as random.
    """
    measured = depth[depth > 0]
    near = (measured >> 3 | measured << 13) < 16 * _MILLIMETRES
    return not measured.size or float(near.mean()) > 0.5


def join_depth(image: np.ndarray, metres: np.ndarray) -> np.ndarray:
    """Returns an RGB image, uint8 [H, W, 3], and its depth, float32 [H, W], as one: float32 [H, W, 4]."""
    return np.concatenate([image.astype(np.float32), metres[..., np.newaxis]], axis=-1)
