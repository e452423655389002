"""Computes the layers of the networks for one image by NumPy, straight from their definitions, as a reference."""

import numpy as np


def convolve(x, kernel, padding=None, dilation=1):
    """Convolves with stride 1: [H, W, C] and [k, k, C, F] to float64 [H', W', F]; without `padding` H' = H."""
    reach = dilation * (kernel.shape[0] - 1)
    border = reach // 2 if padding is None else padding
    padded = np.pad(x, ((border, border), (border, border), (0, 0)))
    height, width = padded.shape[0] - reach, padded.shape[1] - reach
    total = np.zeros((height, width, kernel.shape[-1]))
    for i, j in np.ndindex(kernel.shape[:2]):
        total += padded[dilation * i : dilation * i + height, dilation * j : dilation * j + width] @ kernel[i, j]
    return total


def deconvolve(x, kernel, stride=1):
    """Convolves transposed, without a crop: [H, W, C] and [k, k, C, F] to [stride * (H - 1) + k, ..., F]."""
    (height, width, _), size = x.shape, kernel.shape[0]
    total = np.zeros((stride * (height - 1) + size, stride * (width - 1) + size, kernel.shape[-1]))
    for i, j in np.ndindex(size, size):
        total[i : i + stride * height : stride, j : j + stride * width : stride] += x @ kernel[i, j]
    return total


def pool(x):
    """Pools 2x2 in ceil mode: the values, and the flat index in `x` of each, as Caffe stores it, [h, w, C] both."""
    height, width, depth = x.shape
    padded = np.pad(x, ((0, height % 2), (0, width % 2), (0, 0)), constant_values=-np.inf)
    corners = np.stack([padded[i::2, j::2] for i in (0, 1) for j in (0, 1)])
    i, j = np.divmod(corners.argmax(axis=0), 2)
    row, column, channel = np.indices(i.shape)
    return corners.max(axis=0), np.ravel_multi_index((2 * row + i, 2 * column + j, channel), x.shape)


def unpool(x, places, shape):
    """Puts every value back at its flat index, among zeros: [h, w, C] to `shape`."""
    unpooled = np.zeros(shape)
    unpooled.flat[places.ravel()] = x.ravel()
    return unpooled


def interpolate(x, factor, size, *, align_corners=False):
    """Interpolates the rows and columns of [..., H, W, C] to `size`; the outermost values go on."""
    for axis, length in zip((-3, -2), size, strict=True):
        places = np.arange(length) / factor if align_corners else (np.arange(length) + 0.5) / factor - 0.5
        x = np.apply_along_axis(lambda line, places=places: np.interp(places, np.arange(line.size), line), axis, x)
    return x


class NumpyLayers:
    """The layers of a network in evaluation, by name, in float64; maps are [H, W, C]."""

    def __init__(self, variables):
        self.params, self.stats = variables["params"], variables.get("batch_stats", {})

    def array(self, name, leaf):
        return np.asarray(self.params[name][leaf], np.float64)

    def conv(self, x, name, **options):
        return self._with_bias(convolve(x, self.array(name, "kernel"), **options), name)

    def deconv(self, x, name, stride=1):
        return self._with_bias(deconvolve(x, self.array(name, "kernel"), stride), name)

    def norm(self, x, name):
        """Applies BatchNorm `name`_bn if there is one."""
        norm = f"{name}_bn"
        if norm not in self.stats:
            return x
        mean, var = (np.asarray(self.stats[norm][key], np.float64) for key in ("mean", "var"))
        return (x - mean) / np.sqrt(var + 1e-5) * self.array(norm, "scale") + self.array(norm, "bias")

    def unit(self, x, name, **options):
        """Applies convolution, BatchNorm if there is one, and ReLU."""
        return np.maximum(self.norm(self.conv(x, name, **options), name), 0)

    def _with_bias(self, x, name):
        return x + self.array(name, "bias") if "bias" in self.params[name] else x
