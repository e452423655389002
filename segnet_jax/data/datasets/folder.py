"""A data set of a user's own images and masks, in two folders."""

import hashlib
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segnet_jax.data import faults, image_files
from segnet_jax.data.class_table import ClassTable
from segnet_jax.data.datasets.folder_layout import SPLITS, find_files
from segnet_jax.data.modality_files import ModalityFiles, files_like, join
from segnet_jax.errors import InputError


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
    too.

    Each of the `modalities` but "rgb", which is `images/`, has a folder of its name, with a file for each image, of its
    name and size: that of `images/a.jpg` is `depth/a.png`. Without "rgb", "bands" is `images/`. "depth" is a gray PNG
    file of 8 or 16 bits, see `image_files.read_depth`, or a TIFF file, and becomes one channel. Any other becomes one
    channel if the first file is gray, which all must be then, else three; but TIFF files that are more than pictures
    of 8 bits, and all of "bands", are read exactly, with as many channels as they have bands, see `modality_files`. The
    channels of an image are those of the modalities in their order; the first takes the place of `images/` in all that
    is said above. Images are uint8, or float32 with NaN for what is missing if a modality has such values.

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
        modalities: Sequence[str] = ("rgb",),
        depth_max: int = 65535,
        image_max: int = 65535,
        depth_missing: int = -1,
    ) -> None:
        """Finds the files of the split and checks that they pair up.

        Args:
          root: the folder of the data.
          split: "train", "val" or "test".
          class_table: the classes; None gives an error that names the command which finds them.
          val_fraction: the share of validation images, 0 to below 1, if nothing else splits them.
          mask_suffix: what a mask's name adds to its image's stem, such as "_mask".
          modalities: the names of one or more.
          depth_max: the value of 16-bit depth maps that becomes 255, 1 to 65535, in their own unit.
          image_max: the same of all other 16-bit files that are not read exactly.
          depth_missing: the value of depth maps that means a missing one, 0 to 65535; -1 has none.

        Raises:
          InputError: the layout or split is unknown, a folder cannot be read, a file has no counterpart or one of
            another size or with other bands, two images share a name, the split is empty, or there is no class table.
        """
        if split not in SPLITS:
            raise InputError(f"There is no split {split!r}; use one of {', '.join(SPLITS)}.")
        root = Path(root)
        self.name = root.resolve().name
        self.split = split
        try:
            files = find_files(root, split, val_fraction, mask_suffix, modalities)
        except OSError as error:
            raise InputError(
                f"{error.filename or root} cannot be read ({error.strerror}); correct its permissions, or the root."
            ) from error
        if class_table is None:
            raise InputError(
                "The list of classes is empty; write one into the configuration, or let python -m "
                f"segnet_jax.data.check --root={shlex.quote(str(root))} --write=mine.py look at all masks and write a "
                "configuration."
            )
        self.class_table = class_table
        self.modality_names = tuple(modalities)
        settings = {"image_max": image_max, "depth_max": depth_max, "depth_missing": depth_missing}
        self._files = [
            _files_like(name, [str(entry.images[i]) for entry in files], settings) for i, name in enumerate(modalities)
        ]
        self.modalities = tuple(files.channels for files in self._files)
        self.value_types = tuple(files.dtype for files in self._files)
        first_shape, *other_shapes = (files.shape for files in self._files)
        readers = (first_shape, image_files.image_shape, *other_shapes)
        files, self._shapes = faults.with_shapes(
            files, lambda x: image_files.common_shape((x.images[0], x.mask, *x.images[1:]), readers)
        )
        self.names = [entry.name for entry in files]
        self._masks = [str(entry.mask) for entry in files]
        self._images = [tuple(map(str, entry.images)) for entry in files]

    def __len__(self) -> int:
        return len(self._masks)

    def __getitem__(self, index: int) -> dict[str, Any]:
        parts = [files.read(path) for files, path in zip(self._files, self._images[index], strict=True)]
        return {"image": join(parts, self.modality_names), "label": self.label(index), "name": self.names[index]}

    def label(self, index: int) -> np.ndarray:
        """Reads the label alone, uint8 [H, W]."""
        path = self._masks[index]
        mask = image_files.read_mask(path)
        if mask.ndim == 2:
            return self.class_table.ids_to_labels(mask, path)
        return self.class_table.colors_to_labels(mask, path)

    def shape(self, index: int) -> tuple[int, int]:
        """Returns the (height, width) of an image, which the constructor has read."""
        return self._shapes[index]

    def fingerprint(self) -> str:
        """Returns a digest that changes when a file of the split does, or how its values are read."""
        paths = (path for images, mask in zip(self._images, self._masks, strict=True) for path in (*images, mask))
        settings = [str(files.maximum) + (f" {files.missing}" if files.missing >= 0 else "") for files in self._files]
        parts = (image_files.fingerprint(paths), *settings)
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def _files_like(name: str, paths: Sequence[str], settings: Mapping[str, int]) -> ModalityFiles:
    """Returns how the files of a modality are read, by the first of them, or of those that can be read."""
    for path in paths[:-1]:
        try:
            return files_like(name, path, **settings)
        except InputError as error:
            faults.refuse(error)
    return files_like(name, paths[-1], **settings)
