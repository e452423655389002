"""The data sets, by name."""

from __future__ import annotations

import collections
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from segnet_jax.data.camvid import Camvid
from segnet_jax.data.classes import ClassTable
from segnet_jax.data.folder import Folder
from segnet_jax.data.pipeline import Dataset
from segnet_jax.data.records import Records
from segnet_jax.data.synthetic import SyntheticScenes
from segnet_jax.errors import InputError
from segnet_jax.preprocessing import RGBD

_log = logging.getLogger("segnet_jax")

DATASETS = ("synthetic", "camvid", "folder", "records")


def create_dataset(
    name: str,
    split: str,
    *,
    root: str = "",
    classes: Sequence[Any] = (),
    val_fraction: float = 0.1,
    mask_suffix: str = "",
    depth: bool = False,
    depth_max: int = 65535,
    scene_size: tuple[int, int] = (90, 120),
    train_scenes: int = 1000,
    eval_scenes: int = 100,
    seed: int = 0,
) -> Dataset:
    """One split of a data set.

    Args:
      name: one of `DATASETS`.
      split: "train", "val" or "test"; of `folder` and `records`, whatever it has.
      root: the folder of all but `synthetic`; of `records` also gs://BUCKET/FOLDER.
      classes: the class table of `folder`, as `ClassTable.from_config` takes it. `records` have their own; one that is
        given must be the same.
      val_fraction: of `folder`: share of the images for validation where it has no split files.
      mask_suffix: of `folder`: what a mask's name adds to its image's.
      depth: of `folder` and `synthetic`: whether images have a fourth channel. `records` have what they were made of;
        with True they must have it.
      depth_max: of `folder`: the value of 16-bit depth maps that becomes 255.
      scene_size: (height, width) of `synthetic`, in pixels.
      train_scenes: number of training scenes of `synthetic`.
      eval_scenes: number of scenes in each of its other splits.
      seed: of `synthetic`.

    Raises:
      InputError: for an unknown name, or whatever is wrong with the data.
    """
    if name == "synthetic":
        length = train_scenes if split == "train" else eval_scenes
        return SyntheticScenes(split, scene_size, length, seed, depth)
    if name not in DATASETS:
        raise InputError(f"data.name={name!r} is not known; choose one of {', '.join(DATASETS)}.")
    if not root:
        raise InputError(f"data.name={name} needs data.root, the folder that holds it.")
    if name == "camvid":
        if depth:
            raise InputError(
                "data.depth=True needs depth maps, which camvid has not; set it to False or use data.name=folder."
            )
        return Camvid(root, split)
    class_table = ClassTable.from_config("folder", classes) if classes else None
    if name == "records":
        records = Records(root, split, class_table)
        if depth and records.modalities != RGBD:
            raise InputError(
                f"data.depth=True, but the records in {root} were prepared without depth; prepare them again with it, "
                "or set data.depth=False."
            )
        return records
    return Folder(root, split, class_table, val_fraction, mask_suffix, depth, depth_max)


def check_examples(dataset: Dataset) -> None:
    """Reads every example of a data set that lies in files, so that a bad file shows before training, not during it.

    Raises:
      InputError: the first file that is damaged, or label that the class table lacks, by file, value and pixel.
    """
    if isinstance(dataset, SyntheticScenes):
        return
    _log.info("Reading the %d images and labels of %s (%s) once.", len(dataset), dataset.name, dataset.split)

    def read(index: int) -> None:
        dataset[index]

    with ThreadPoolExecutor() as pool:
        collections.deque(pool.map(read, range(len(dataset))), maxlen=0)
