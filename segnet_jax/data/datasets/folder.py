"""A data set of a user's own images and masks, in two folders."""

import contextlib
import functools
import hashlib
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from segnet_jax.data import image_files
from segnet_jax.data.class_table import VOID, ClassTable
from segnet_jax.data.datasets.folder_layout import SPLITS, find_files
from segnet_jax.data.preprocessing import RGB, RGBD
from segnet_jax.errors import InputError

_log = logging.getLogger("segnet_jax")


class Folder:
    """One split of a folder with images and masks.

    Two layouts are recognised:

    - `images/` and `masks/` in the root. `train.txt`, `val.txt` and `test.txt`, there or in PASCAL VOC's
      `ImageSets/Segmentation`, list the images of each split, a name or file name a line; without them an image is in
      "val" if a hash of its name falls below `val_fraction`, else in "train", so that a file added later moves no
      other one. Neighbouring frames of a video are better split by lists.
    - `train/images/` and `train/masks/`, or `images/train/` and `masks/train/`, the same for `val` and `test`.

    The folders may have other usual names, such as `img` and `labels`, if only one in a place has such a name, and
    they may have subfolders. Images are JPEG, PNG, BMP, TIFF or WebP files. The mask of `images/a.jpg` is
    `masks/a<mask_suffix>.png` (or TIFF or BMP), that of `images/b/a.jpg` is `masks/b/a<mask_suffix>.png`; each is a
    gray or palette file of class ids or an RGB file of class colours, of the image's size. Cityscapes' names pair up
    too. With `depth` there is a third folder beside them: the depth map of `images/a.jpg` is `depth/a.png`, a gray
    file of 8 or 16 bits and of the image's size, and becomes the fourth channel of the image, see
    `image_files.read_depth`.

    Attributes, beside those of `Dataset`:
      names: of every image its path in its folder, without ending, sorted or as listed.
    """

    def __init__(
        self,
        root: image_files.StrPath,
        split: str,
        class_table: ClassTable | None,
        val_fraction: float = 0.1,
        mask_suffix: str = "",
        depth: bool = False,
        depth_max: int = 65535,
        image_max: int = 65535,
    ) -> None:
        """Finds the files of the split and checks that they pair up.

        Args:
          root: the folder of the data.
          split: "train", "val" or "test".
          class_table: the classes; None gives an error that proposes a table from the masks of all splits.
          val_fraction: the share of validation images, 0 to below 1, if nothing else splits them.
          mask_suffix: what a mask's name adds to its image's stem, such as "_mask".
          depth: whether images have a depth map as their fourth channel.
          depth_max: the value of 16-bit depth maps that becomes 255, 1 to 65535, in their own unit.
          image_max: the same of 16-bit images.

        Raises:
          InputError: the layout or split is unknown, a folder cannot be read, a file has no
            counterpart or one of another size, two images share a name, the split is empty, or
            there is no class table.
        """
        if split not in SPLITS:
            raise InputError(f"There is no split {split!r}; use one of {', '.join(SPLITS)}.")
        root = Path(root)
        self.name = root.resolve().name
        self.split = split
        try:
            files = find_files(root, split, val_fraction, mask_suffix, depth)
        except OSError as error:
            raise InputError(
                f"{error.filename or root} cannot be read ({error.strerror}); correct its permissions, or the root."
            ) from error
        if class_table is None:
            masks = [entry.mask for entry in files]
            for other in SPLITS:
                with contextlib.suppress(InputError):
                    masks += [entry.mask for entry in find_files(root, other, val_fraction, mask_suffix, depth=False)]
            raise InputError(_propose_classes([str(mask) for mask in dict.fromkeys(masks)]))
        self.class_table = class_table
        self.names = [entry.name for entry in files]
        self.modalities = RGBD if depth else RGB
        self._paths = [(str(entry.image), str(entry.mask)) for entry in files]
        self._depths, self._depth_max = [str(entry.depth) for entry in files if entry.depth], depth_max
        self._image_max = image_max
        columns = [*zip(*self._paths, strict=True), *([self._depths] if depth else [])]
        with ThreadPoolExecutor() as pool:
            self._shapes = list(pool.map(image_files.common_shape, zip(*columns, strict=True)))

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        image = image_files.read_image(self._paths[index][0], self._image_max)
        if self._depths:
            image = np.dstack([image, image_files.read_depth(self._depths[index], self._depth_max)])
        return {"image": image, "label": self.label(index), "name": self.names[index]}

    def label(self, index: int) -> np.ndarray:
        """Reads the label alone, uint8 [H, W]."""
        path = self._paths[index][1]
        mask = image_files.read_mask(path)
        if mask.ndim == 2:
            return self.class_table.ids_to_labels(mask, path)
        return self.class_table.colors_to_labels(mask, path)

    def shape(self, index: int) -> tuple[int, int]:
        """Returns the (height, width) of an image, which the constructor has read."""
        return self._shapes[index]

    def fingerprint(self) -> str:
        """Returns a digest that changes when a file of the split does, or the value that becomes 255."""
        digest = image_files.fingerprint(path for pair in self._paths for path in pair)
        if self._depths:
            parts = (digest, image_files.fingerprint(self._depths), str(self._depth_max))
            digest = hashlib.sha256(" ".join(parts).encode()).hexdigest()
        return digest if self._image_max == 65535 else f"{digest} {self._image_max}"


def _propose_classes(masks: Sequence[str]) -> str:
    """Returns an error message that proposes a class table with all that the masks hold."""
    found: set[int] = set()
    is_indexed = image_files.read_mask(masks[0]).ndim == 2
    with ThreadPoolExecutor() as pool:
        for values in pool.map(functools.partial(_values_of, is_indexed=is_indexed), masks):
            found.update(values)
    if len(found) > VOID + 1:
        return (
            f"{masks[0]} and the next {len(masks) - 1} masks hold {len(found)} different "
            f"{'ids' if is_indexed else 'colours'}, too many for classes; give masks that were saved without smoothing "
            "or lossy compression, one id or colour a class."
        )
    # 255 is void by custom, unless it is all there is beside 0.
    void = {VOID} if is_indexed and len(found) > 2 else set()
    entries: list[dict[str, object]]
    if is_indexed:
        entries = [{"name": f"class_{i}", "id": i} for i in sorted(found - void)]
        entries += [{"name": "void", "id": i, "ignored": True} for i in sorted(found & void)]
    else:
        colors = [(code >> 16, code >> 8 & 255, code & 255) for code in sorted(found)]
        entries = [{"name": f"class_{i}", "color": color} for i, color in enumerate(colors)]
    table = "".join(f"    {entry},\n".replace("'", '"') for entry in entries)
    return (
        f"The list of classes is empty; put this one, from {masks[0]} and {len(masks) - 1} more "
        'masks, into the config, with better names, and with "ignored": True where pixels are to '
        f"count in neither training nor scores:\nconfig.data.classes = (\n{table})"
    )


def _values_of(path: str, is_indexed: bool) -> list[int]:
    """Returns the ids or the colours (as 24 bits) of a mask; none if it is of the other kind, up to 1000."""
    mask = image_files.read_mask(path)
    if (mask.ndim == 2) != is_indexed:
        return []
    codes = mask if is_indexed else mask @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    return np.unique(codes)[:1000].tolist()
