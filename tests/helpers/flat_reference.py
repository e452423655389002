"""Convolves and pools one image by NumPy and in loops, as a reference."""

import numpy as np


def convolve(x, kernel):
    """Convolves at the same size with stride 1: [H, W, C] and [k, k, C, F] to float64 [H, W, F]."""
    half, (height, width, _) = kernel.shape[0] // 2, x.shape
    padded = np.pad(x, ((half, half), (half, half), (0, 0)))
    total = np.zeros((height, width, kernel.shape[-1]))
    for i, j in np.ndindex(kernel.shape[:2]):
        total += padded[i : i + height, j : j + width] @ kernel[i, j]
    return total


def pool(x):
    """Pools 2x2 in ceil mode: the values, and the flat index in `x` of each, as Caffe stores it, [h, w, C] both."""
    height, width, depth = x.shape
    pooled = np.zeros((-(-height // 2), -(-width // 2), depth))
    places = np.zeros(pooled.shape, int)
    for row, column, channel in np.ndindex(pooled.shape):
        window = x[2 * row : 2 * row + 2, 2 * column : 2 * column + 2, channel]
        i, j = np.unravel_index(window.argmax(), window.shape)
        pooled[row, column, channel] = window[i, j]
        places[row, column, channel] = np.ravel_multi_index((2 * row + i, 2 * column + j, channel), x.shape)
    return pooled, places
