"""Writes small data sets in CamVid's two layouts."""

import numpy as np
from PIL import Image

SKY, ROAD, WALL, ANIMAL = (128, 128, 128), (128, 64, 128), (64, 192, 0), (64, 128, 64)
FRAMES = {
    "0001TP_006690": "train",
    "0001TP_008520": "train",
    "0001TP_008550": "test",
    "0006R0_f00930": "train",
    "0016E5_07920": "train",
    "0016E5_07959": "val",
    "0016E5_08159": "val",
    "0016E5_08190": "train",
    "Seq05VD_f00000": "test",
    "Seq05VD_f05100": "test",
}


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def write_tutorial(root, split="train", names=("0001TP_006690", "0016E5_08640"), prefix="/SegNet/CamVid/", size=(4, 6)):
    """The tutorial's layout; image i is filled with 10 i, label i with i, and void in its first pixel."""
    lines = []
    for index, name in enumerate(names):
        save(root / split / f"{name}.png", np.full((*size, 3), 10 * index, np.uint8))
        label = np.full(size, index, np.uint8)
        label[0, 0] = 11
        save(root / f"{split}annot" / f"{name}.png", label)
        lines.append(f"{prefix}{split}/{name}.png {prefix}{split}annot/{name}.png\n")
    (root / f"{split}.txt").write_text("".join(lines))
    return root


def write_native(root, frames=FRAMES, label=None):
    """Cambridge's layout, 2x2 pixels a frame."""
    if label is None:
        label = np.array([[SKY, ROAD], [WALL, ANIMAL]], np.uint8)
    for name in frames:
        save(root / "701_StillsRaw_full" / f"{name}.png", np.zeros((2, 2, 3), np.uint8))
        save(root / "LabeledApproved_full" / f"{name}_L.png", label)
    return root
