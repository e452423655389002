"""A split of image files and label files, and the folder that holds them."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segnet_jax.data import faults, image_files
from segnet_jax.data.datasets.class_set import ClassSet
from segnet_jax.errors import InputError

_log = logging.getLogger("segnet_jax")


class PairedFiles:
    """One split of a data set, an image file and a label file for each example; one class for each data set.

    Attributes, beside those of `Dataset`:
      title: the data set's name, for messages.
      page: where it is obtained.
      names: of the examples, in order.
    """

    name: str
    title: str
    page: str

    def __init__(self, folder: Path, split: str, pairs: Mapping[str, tuple[Path, Path]], classes: ClassSet) -> None:
        """Reads the sizes of the files.

        Args:
          folder: that holds them, for messages.
          split: its name.
          pairs: the image and the label file by the example's name.
          classes: that labels are read in.

        Raises:
          InputError: there are no pairs, a file is missing, or a label of another size than its image.
        """
        if not pairs:
            raise InputError(
                f"{folder} holds no image of the {split} split of {self.title}; complete it, or get it at {self.page}."
            )
        missing = [path for pair in pairs.values() for path in pair if not path.is_file()]
        if missing:
            error = InputError(
                f"{missing[0]} cannot be found ({len(missing)} files of the split are missing); complete "
                f"{self.title}, which is obtained at {self.page}."
            )
            faults.refuse(error, [f"{path} cannot be found." for path in missing])
            pairs = {name: pair for name, pair in pairs.items() if not set(pair) & set(missing)}
        self.split = split
        self.class_table = classes.class_table
        self._classes = classes
        examples = [(name, str(image), str(label)) for name, (image, label) in pairs.items()]
        kept, self._shapes = faults.with_shapes(examples, lambda example: self._shape_of(example[1:]))
        self.names = [name for name, *_ in kept]
        self._paths = [(image, label) for _, image, label in kept]

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        image = image_files.read_image(self._paths[index][0])
        return {"image": image, "label": self.label(index), "name": self.names[index]}

    def label(self, index: int) -> np.ndarray:
        """Reads the label alone, uint8 [H, W]."""
        path = self._paths[index][1]
        return self._classes.to_labels(self._read_mask(path), path)

    def shape(self, index: int) -> tuple[int, int]:
        """Returns the (height, width) of an image, which the constructor has read."""
        return self._shapes[index]

    def fingerprint(self) -> str:
        """Returns a digest that changes when a file of the split does."""
        return image_files.fingerprint(path for pair in self._paths for path in pair)

    def _read_mask(self, path: str) -> np.ndarray:
        return image_files.read_mask(path)

    def _shape_of(self, pair: tuple[str, str]) -> tuple[int, int]:
        return image_files.common_shape(pair)

    @classmethod
    def _refuse_split(cls, split: str, splits: Sequence[str], unlabelled: str = "") -> None:
        """Refuses a split that there is not; `unlabelled` is one whose labels were never published."""
        if split == unlabelled:
            raise InputError(
                f"The labels of the {split} images of {cls.title} are not public, to train on or to score; "
                f"use {' or '.join(splits)}, or segment them with python -m segnet_jax.predict."
            )
        if split not in splits:
            raise InputError(f"{cls.title} has no split {split!r}; use one of {', '.join(splits)}.")

    @classmethod
    def _find_folder(cls, root: Path, layouts: Sequence[Sequence[str]]) -> tuple[Path, int]:
        """Returns the folder with the files, `root` or one at most two below, and the number of its layout.

        Args:
          root: where to look.
          layouts: of each the folders that make it, such as "training/image_2".

        Raises:
          InputError: there is none, or there are several.
        """
        if not root.is_dir():
            raise InputError(f"{root} is not a folder; set data.root to the folder of {cls.title}.")
        below = _folders_in(root)
        for folders in ([root], below, [deeper for path in below for deeper in _folders_in(path)]):
            found = [
                (folder, number)
                for folder in folders
                for number, layout in enumerate(layouts)
                if all(os.path.isdir(folder / name) for name in layout)
            ]
            if len(found) > 1:
                raise InputError(
                    f"{root} holds {cls.title} more than once, in {' and '.join(str(path) for path, _ in found)}; set "
                    "data.root to one of them."
                )
            if found:
                return found[0]
        needed = ", or else ".join(" and ".join(layout) for layout in layouts)
        raise InputError(
            f"{root} does not hold {cls.title}, whose folders are {needed}; set data.root to the folder that holds "
            f"them, or get the data at {cls.page}."
        )

    @classmethod
    def _report_size(cls, folder: Path, split: str, found: int, whole: int) -> None:
        if 0 < found < whole:
            _log.warning(
                "%s holds only %d of the %d labelled images of %s (%s).", folder, found, whole, cls.title, split
            )


def _folders_in(folder: Path) -> list[Path]:
    try:
        return sorted(Path(entry.path) for entry in os.scandir(folder) if entry.is_dir())
    except PermissionError:  # as of lost+found, where a disk holds nothing but the data
        return []
