"""Builds data sets, batches and normalisation from a configuration."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from typing import Any

import jax
import ml_collections
import numpy as np

from segnet_jax.data import pipeline, preprocessing
from segnet_jax.data.augment import Augmentation
from segnet_jax.data.class_table import ClassTable
from segnet_jax.data.class_weights import cached_label_statistics, class_weights
from segnet_jax.data.dataset import Dataset, Subset
from segnet_jax.data.datasets.camvid import Camvid
from segnet_jax.data.datasets.folder import Folder
from segnet_jax.data.datasets.synthetic import SyntheticScenes
from segnet_jax.data.masking import Masking
from segnet_jax.data.preprocessing import RGB, RGBD
from segnet_jax.data.records.reader import Records
from segnet_jax.errors import InputError
from segnet_jax.runtime.files import user_cache_dir
from segnet_jax.runtime.processes import share_of
from segnet_jax.runtime.sharding import to_devices

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


def build_dataset(config: ml_collections.ConfigDict, split: str) -> Dataset:
    """A split of the configured data set, or the first images of it."""
    data = config.data
    dataset = create_dataset(
        data.name,
        split,
        root=os.path.expanduser(data.root),
        classes=data.classes,
        val_fraction=data.val_fraction,
        mask_suffix=data.mask_suffix,
        depth=data.depth,
        depth_max=data.depth_max,
        scene_size=tuple(data.scene_size),
        train_scenes=data.train_scenes,
        eval_scenes=data.eval_scenes,
        seed=config.seed,
    )
    if not len(dataset):
        raise InputError(f"The split {split!r} of {data.name} is empty; give it images, or name another split.")
    return Subset(dataset, data.max_images) if data.max_images else dataset


def build_masking(config: ml_collections.ConfigDict, modalities: Sequence[int]) -> Masking | None:
    """What is missing from training images of these modalities; None if nothing is."""
    return Masking(**config.masking.to_dict(), num_modalities=len(modalities)) or None


def build_class_weights(config: ml_collections.ConfigDict, dataset: Dataset) -> np.ndarray:
    """The configured class weights, float32 [K], from the labels of the training split `dataset`."""
    statistics = None
    if config.loss.class_weights in ("median_frequency", "inverse_frequency"):
        statistics = cached_label_statistics(dataset, user_cache_dir() / "label_statistics")
    return class_weights(
        config.loss.class_weights, statistics, dataset.class_table, power=config.loss.class_weight_power
    )


def build_normalization(config: ml_collections.ConfigDict, modalities: Sequence[int] = RGB) -> preprocessing.Normalize:
    """The configured normalisation, a function of uint8 images of these modalities."""
    return preprocessing.create_normalization(config.preprocessing, tuple(modalities))


def build_train_batches(
    config: ml_collections.ConfigDict, dataset: Dataset, devices: Sequence[jax.Device], first_step: int
) -> Generator[dict[str, jax.Array], None, None]:
    """Training batches on `devices`, those of all processes, from the one after `first_step` on."""
    data = config.data
    share = share_of(devices)
    batches = pipeline.train_batches(
        dataset,
        batch_size=config.train.batch_size,
        seed=config.seed,
        augmentation=Augmentation(**config.augment.to_dict()),
        first_step=first_step,
        with_replacement=config.train.with_replacement,
        image_size=data.image_size,
        num_workers=data.num_workers,
        num_threads=data.num_threads,
        process_index=share.index,
        process_count=share.count,
    )
    return to_devices(batches, devices)
