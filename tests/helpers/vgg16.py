"""Draws VGG16 at random, in the file format of the real one."""

import numpy as np
from safetensors.numpy import save_file

# VGG16's convolutions: the prototxt's name, torchvision's number, features in and out.
LAYERS = [
    ("conv1_1", 0, 3, 64),
    ("conv1_2", 2, 64, 64),
    ("conv2_1", 5, 64, 128),
    ("conv2_2", 7, 128, 128),
    ("conv3_1", 10, 128, 256),
    ("conv3_2", 12, 256, 256),
    ("conv3_3", 14, 256, 256),
    ("conv4_1", 17, 256, 512),
    ("conv4_2", 19, 512, 512),
    ("conv4_3", 21, 512, 512),
    ("conv5_1", 24, 512, 512),
    ("conv5_2", 26, 512, 512),
    ("conv5_3", 28, 512, 512),
]


def random_layers(narrow=1):
    """Returns VGG16 with features divided by `narrow`, as torchvision stores it: OIHW kernels and biases, float16."""
    rng = np.random.default_rng(0)
    tensors = {}
    for _, number, fan_in, fan_out in LAYERS:
        fan_in, fan_out = max(3, fan_in // narrow), fan_out // narrow
        kernel = rng.standard_normal((fan_out, fan_in, 3, 3), np.float32) * np.float32(np.sqrt(2 / (9 * fan_in)))
        tensors[f"features.{number}.weight"] = kernel.astype(np.float16)
        tensors[f"features.{number}.bias"] = (0.1 * rng.standard_normal(fan_out)).astype(np.float16)
    return tensors


def write(path, tensors):
    save_file(tensors, path)
    return path
