"""Draws the authors' networks at random, writes them as Caffe does, and computes them as Caffe does, by NumPy alone."""

import struct
from dataclasses import dataclass, field

import numpy as np
from hypothesis import strategies as st

from tests.helpers.numpy_layers import convolve, pool, unpool


@dataclass
class Layer:
    """A layer of a prototxt: its weights are Caffe's, kernels OIHW."""

    name: str
    type: str
    bottom: tuple[str, ...] = ()
    top: tuple[str, ...] = ()
    blobs: list[np.ndarray] = field(default_factory=list)
    mask_of: str = ""  # of Upsample: whose size it restores


class Net:
    """A network that is built layer by layer, each on top of the last."""

    def __init__(self, seed=0):
        self.layers, self.last, self.channels = [], "data", 3
        self.rng = np.random.default_rng(seed)

    def add(self, name, kind, tops=(), bottoms=(), **rest):
        tops = tops or (self.last,)
        self.layers.append(Layer(name, kind, (self.last, *bottoms), tops, **rest))
        self.last = tops[0]

    def conv(self, name, features, size):
        scale = np.sqrt(2 / (self.channels * size * size))
        kernel = self.rng.normal(size=(features, self.channels, size, size)) * scale
        self.add(name, "Convolution", (name,), blobs=[kernel, self.rng.normal(size=features) * 0.3])
        self.channels = features

    def norm(self, name, first):
        """Adds a BN layer in inference: scale and shift, of the authors' shapes; the first tames values up to 255."""
        scale = self.rng.uniform(0.7, 1.4, (1, self.channels, 1, 1)) / (100 if first else 1)
        self.add(f"{name}_bn", "BN", blobs=[scale, self.rng.normal(size=scale.shape) * 0.3])


def vgg_net(classes, *, width=4, dropout=(), classifier="conv1_1_D", extra=False, seed=0):
    """Returns SegNet as in the authors' prototxts, with `width` features in place of 64."""
    net = Net(seed)
    depths = {1: 2, 2: 2, 3: 3, 4: 3, 5: 3}

    def unit(name, features):
        net.conv(name, features, 3)
        net.norm(name, first=name == "conv1_1")
        net.add(name.replace("conv", "relu"), "ReLU")

    def drop(place):
        if place in dropout:
            net.add(f"{place}_drop", "Dropout")

    for stage, depth in depths.items():
        for i in range(1, depth + 1):
            unit(f"conv{stage}_{i}", width * min(8, 2 ** (stage - 1)))
            drop(f"conv{stage}_{i}")
        net.add(f"pool{stage}", "Pooling", (f"pool{stage}", f"pool{stage}_mask"))
        drop(f"pool{stage}")
    for stage in (5, 4, 3, 2, 1):
        net.add(
            f"upsample{stage}", "Upsample", (f"pool{stage}_D",), (f"pool{stage}_mask",), mask_of=f"pool{stage}_mask"
        )
        for i in range(depths[stage], 0, -1):
            if (stage, i) == (1, 1) and not extra:
                break
            inner = max(1, stage - 1) if i == 1 else stage
            unit(f"conv{stage}_{i}_D", width * min(8, 2 ** (inner - 1)))
            drop(f"conv{stage}_{i}_D")
    net.conv(classifier, classes, 3)
    net.add("prob", "Softmax", ("prob",))
    return net


def basic_net(classes, *, width=4, dropout=False, classifier="conv_classifier", seed=0):
    """Returns SegNet-Basic as in the authors' prototxts, with `width` features in place of 64."""
    net = Net(seed)
    net.add("norm", "LRN", ("norm",))
    for stage in (1, 2, 3, 4):
        net.conv(f"conv{stage}", width, 7)
        net.norm(f"conv{stage}", first=stage == 1)
        net.add(f"relu{stage}", "ReLU")
        net.add(f"pool{stage}", "Pooling", (f"pool{stage}", f"pool{stage}_mask"))
        if dropout and stage > 2:
            net.add(f"encdrop{stage}", "Dropout")
    for stage in (4, 3, 2, 1):
        net.add(f"upsample{stage}", "Upsample", (f"up{stage}",), (f"pool{stage}_mask",), mask_of=f"pool{stage}_mask")
        net.conv(f"conv_decode{stage}", width, 7)
        net.norm(f"conv_decode{stage}", first=False)
        if dropout and stage > 2:
            net.add(f"decdrop{stage}", "Dropout")
    net.conv(classifier, classes, 1)
    net.add("prob", "Softmax", ("prob",))
    return net


def with_statistics(net, seed=9):
    """Returns BN's arrays as [scale, shift, mean, variance], in place; the variances are those of raw 8-bit values."""
    rng = np.random.default_rng(seed)
    for layer in net.layers:
        if layer.type == "BN":
            scale, shift = layer.blobs
            var = rng.uniform(0.5, 2.0, scale.shape)
            layer.blobs = [scale * np.sqrt(var), shift, rng.normal(size=scale.shape) * 0.3, var]
    return net


def forward(net, rgb):
    """Computes the classifier's output, float64 [H, W, outputs], of an RGB image, uint8 [H, W, 3], as Caffe does."""
    tops = {"data": rgb[..., ::-1].astype(np.float64)}  # cv2 reads BGR, 0 to 255
    sizes = {}
    for layer in net.layers:
        x = tops[layer.bottom[0]]
        if layer.type == "Convolution":
            kernel, bias = layer.blobs
            x = convolve(x, kernel.astype(np.float32).astype(np.float64).transpose(2, 3, 1, 0)) + bias.ravel()
            logits = x
        elif layer.type == "BN":
            scale, shift, *statistics = (blob.ravel() for blob in layer.blobs)
            if statistics:
                x = (x - statistics[0]) / np.sqrt(statistics[1] + 1e-9)
            x = x * scale + shift
        elif layer.type == "ReLU":
            x = np.maximum(x, 0)
        elif layer.type == "LRN":
            squares = np.pad(x * x, ((0, 0), (0, 0), (2, 2)))
            total = sum(squares[..., i : i + x.shape[-1]] for i in range(5))
            x = x / (1 + 1e-4 / 5 * total) ** 0.75
        elif layer.type == "Pooling":
            sizes[layer.top[1]] = x.shape
            x, tops[layer.top[1]] = pool(x)
        elif layer.type == "Upsample":
            x = unpool(x, tops[layer.bottom[1]], sizes[layer.mask_of])
        tops[layer.top[0]] = x  # Dropout and Softmax change no logits
    return logits


def varint(value):
    """Encodes a number, seven bits a byte."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def message(number, content):
    """Encodes a field of bytes."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def blob(array, *, packed=True, double=False, old=False):
    """Encodes an array: values in one field or one each, float32 or float64, and the shape in either form."""
    values = np.ascontiguousarray(array, "<f8" if double else "<f4")
    number = 8 if double else 5
    if packed:
        data = message(number, values.tobytes())
    else:
        data = b"".join(varint(number << 3 | (1 if double else 5)) + v.tobytes() for v in values.ravel())
    if old:
        shape = (1,) * (4 - values.ndim) + values.shape
        return b"".join(varint(i << 3) + varint(n) for i, n in enumerate(shape, 1)) + data
    dims = b"".join(map(varint, values.shape))
    if not packed:
        return message(7, b"".join(b"\x08" + varint(n) for n in values.shape)) + data
    return message(7, message(1, dims)) + data


def caffemodel(layers, **options):
    """Encodes layers as a NetParameter, with a name and fields that weights do not need."""
    out = message(1, b"VGG_ILSVRC_16_layer") + varint(5 << 3) + b"\x01"
    for layer in layers:
        body = message(1, layer.name.encode()) + message(2, layer.type.encode())
        body += b"".join(message(3, name.encode()) for name in layer.bottom)
        body += b"".join(message(4, name.encode()) for name in layer.top)
        body += b"".join(message(7, blob(array, **options)) for array in layer.blobs)
        body += varint(10 << 3) + b"\x01"  # phase
        if layer.type == "Dropout":
            body += message(108, varint(1 << 3 | 5) + struct.pack("<f", 0.5))
        out += message(100, body)
    return out


def old_caffemodel(tensors):
    """Encodes arrays by layer as the older message has them, as VGG16's file does."""
    out = message(1, b"VGG_ILSVRC_16_layers")
    for name, arrays in tensors.items():
        body = message(2, b"below") + message(4, name.encode()) + varint(5 << 3) + b"\x04"
        out += message(2, body + b"".join(message(6, blob(array, old=True)) for array in arrays))
    return out


def prototxt(net, *, size=(360, 480), training=False):
    """Writes the network's definition, in the authors' style."""
    dims = "".join(f"input_dim: {n}\n" for n in (1, 3, *size))
    out = [f'name: "VGG_ILSVRC_16_layer" # a comment {{\ninput: "data"\n{dims}']
    for layer in net.layers:
        body = "".join(f'  bottom: "{name}"\n' for name in layer.bottom)
        body += "".join(f'  top: "{name}"\n' for name in layer.top)
        if layer.type == "Convolution":
            fillers = 'weight_filler {\n      type: "msra"\n    }'
            body += f"  convolution_param {{\n    {fillers}\n    num_output: {len(layer.blobs[0])}\n    pad: 1\n  }}\n"
        if layer.type == "BN":
            mode = "" if training else "bn_mode: INFERENCE\n\t"
            body += f"  bn_param {{\n\t{mode}scale_filler {{ type: 'constant' value: 1 }}\n }}\n"
        if layer.type == "Dropout":
            body += "  dropout_param {\n    sample_weights_test: true\n    dropout_ratio: 0.5\n  }\n"
        out.append(f'layer {{\n{body}  name: "{layer.name}"\n  type: "{layer.type}"\n}}\n')
    return "".join(out)


@st.composite
def damaged(draw, content):
    """Draws a file with flipped bits, most near its beginning where the structure is dense, and perhaps cut."""
    damaged = bytearray(content)
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.one_of(st.integers(0, min(400, len(content) - 1)), st.integers(0, len(content) - 1)))
        damaged[at] ^= 1 << draw(st.integers(0, 7))
    return bytes(damaged[: draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))])
