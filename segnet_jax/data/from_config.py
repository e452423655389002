"""Builds data sets, batches and normalisation from a configuration."""

from __future__ import annotations

import functools
import logging
import operator
import os
from collections.abc import Callable, Generator, Sequence
from typing import Any

import jax
import ml_collections
import numpy as np

from segnet_jax.config import mixture_components
from segnet_jax.data import pipeline, preprocessing
from segnet_jax.data.augment import Augmentation
from segnet_jax.data.channel_statistics import cached_channel_statistics
from segnet_jax.data.class_map import Mapped
from segnet_jax.data.class_table import ClassTable
from segnet_jax.data.class_weights import cached_label_statistics, class_weights, expected_statistics
from segnet_jax.data.color_changes import ColorChanges
from segnet_jax.data.dataset import Dataset, Resized, Subset, modalities_of, modality_names_of
from segnet_jax.data.datasets.camvid import Camvid
from segnet_jax.data.datasets.cityscapes import Cityscapes
from segnet_jax.data.datasets.folder import Folder
from segnet_jax.data.datasets.kitti import Kitti
from segnet_jax.data.datasets.nyuv2 import NYUV2_CLASS_SETS, Nyuv2
from segnet_jax.data.datasets.pascal_voc import PascalVoc
from segnet_jax.data.datasets.sunrgbd import SUNRGBD_CLASS_SETS, SunRgbd
from segnet_jax.data.datasets.synthetic import SyntheticScenes
from segnet_jax.data.image_files import read_image
from segnet_jax.data.masking import Masking
from segnet_jax.data.mixture import Mixture
from segnet_jax.data.modality_files import read_modalities
from segnet_jax.data.preprocessing import RGB
from segnet_jax.data.records.reader import Records
from segnet_jax.errors import InputError
from segnet_jax.runtime.files import user_cache_dir
from segnet_jax.runtime.processes import share_of
from segnet_jax.runtime.sharding import to_devices

_log = logging.getLogger("segnet_jax")


def build_dataset(config: ml_collections.ConfigDict, split: str, *, at_own_size: bool = False) -> Dataset:
    """Returns a split of the configured data set, or the first `data.max_images` images of it.

    Where `data.resize` is not stretch, its examples come at `data.image_size`. Where training images are stretched, the
    log says so. With `at_own_size` neither is done, as records hold images at their own size, for training at any. Of a
    mixture, `split` stands for each data set's own, where that is the training or the evaluation split.

    Raises:
      InputError: for an unknown name, or whatever is wrong with the data.
    """
    data = config.data
    if data.name == "mixture":
        if at_own_size:
            raise InputError(
                "A mixture has no records of its own; prepare each of its data sets, and name these records."
            )
        keys = {data.eval_split: "eval_split", data.train_split: "train_split"}
        return _build_mixture(config, split, keys.get(split))
    if data.name not in DATASETS:
        raise InputError(f"data.name={data.name!r} is not known; choose one of {', '.join((*DATASETS, 'mixture'))}.")
    build, settings = DATASETS[data.name]
    if "data.root" in settings and not data.root:
        raise InputError(f"data.name={data.name} needs data.root, the folder that holds it.")
    if data.class_set and "data.class_set" not in settings:
        raise InputError(f"data.name={data.name} has no class sets to choose from; leave data.class_set empty.")
    dataset = build(config, split)
    if not len(dataset):
        raise InputError(f"The split {split!r} of {data.name} is empty; give it images, or name another split.")
    if data.image_size and not at_own_size:
        if data.resize != "stretch":
            dataset = Resized(dataset, tuple(data.image_size), data.resize)
        elif split == data.train_split:
            _report_stretch(dataset, tuple(data.image_size))
    return Subset(dataset, data.max_images) if data.max_images else dataset


def build_eval_dataset(config: ml_collections.ConfigDict) -> Dataset:
    """Returns the split to evaluate on: of a mixture that of its first data set or of all, see `eval.mixture`.

    Raises:
      InputError: as `build_dataset`.
    """
    data = config.data
    if data.name != "mixture":
        return build_dataset(config, data.eval_split)
    mixture = _build_mixture(config, data.eval_split, "eval_split", first=config.eval.mixture == "first")
    return mixture.datasets[0] if len(mixture.datasets) == 1 else mixture


def _build_mixture(config: ml_collections.ConfigDict, split: str, key: str | None, *, first: bool = False) -> Mixture:
    """Builds a split of a mixture: of each data set, or the `first` alone, the one of that name or its own `key`."""
    components = mixture_components(config)[: 1 if first else None]
    datasets = [build_dataset(part.config, part.config.data[key] if key else split) for part in components]
    table = ClassTable.from_entries("mixture", config.data.classes) if config.data.classes else datasets[0].class_table
    mapped = [
        _in_classes(dataset, table, part.class_map, f"data.mixture[{number}]")
        for number, (dataset, part) in enumerate(zip(datasets, components, strict=True))
    ]
    weights = [part.weight for part in components if part.weight is not None]
    return Mixture(mapped, split, weights or None)


def _in_classes(dataset: Dataset, table: ClassTable, pairs: Sequence[tuple[str, str]], where: str) -> Dataset:
    """Returns a data set of a mixture in the mixture's classes."""
    names = dataset.class_table.names
    if not pairs and names != table.names:
        raise InputError(
            f"{where}: the classes of {dataset.name} ({', '.join(names)}) are not those of the mixture "
            f"({', '.join(table.names)}); map them by its class_map, pairs of a class of it and one of the mixture."
        )
    if not pairs and dataset.class_table == table:
        return dataset
    return Mapped(dataset, table, pairs or [(name, name) for name in names], f"{where}: class_map")


def _report_stretch(dataset: Dataset, size: tuple[int, ...]) -> None:
    """Says if `size` changes the ratio of width and height, by more than the 2 % of which it may be rounding."""
    for height, width in map(dataset.shape, range(len(dataset))):
        ratio = width / height * size[0] / size[1]
        if not 0.98 < ratio < 1.02:
            _log.warning(
                "Images of %s, such as one of %dx%d (height x width), are resized to data.image_size, %dx%d, in which "
                "all appears %.2f times as %s; data.resize=fit or crop keeps proportions.",
                *(dataset.name, height, width, *size, max(ratio, 1 / ratio), "narrow" if ratio > 1 else "wide"),
            )
            return


def configured_splits(config: ml_collections.ConfigDict) -> tuple[str, str]:
    """Returns the names of the splits that are trained and evaluated on."""
    return config.data.train_split, config.data.eval_split


def dataset_settings(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """Returns the values that make the configured data set, besides its files and classes, by their keys."""
    data = config.data
    keys = ["data.name", *DATASETS[data.name][1]]
    if tuple(data.modalities) != ("rgb",):
        of_depth = ["data.depth_max"] + ["data.depth_missing"] * (data.depth_missing >= 0)
        keys += ["data.modalities"] + of_depth * (data.name == "folder" and "depth" in data.modalities)
    keys += ["data.max_images"] * bool(data.max_images)
    return {key: operator.attrgetter(key)(config) for key in keys}


def _synthetic(config: ml_collections.ConfigDict, split: str) -> Dataset:
    data = config.data
    length = data.train_scenes if split == "train" else data.eval_scenes
    if tuple(data.modalities) not in (("rgb",), ("rgb", "depth")):
        raise InputError(
            f"data.modalities={data.modalities!r}, but synthetic draws ('rgb',) and ('rgb', 'depth') alone."
        )
    return SyntheticScenes(split, tuple(data.scene_size), length, config.seed, "depth" in data.modalities)


def _camvid(config: ml_collections.ConfigDict, split: str) -> Dataset:
    _require_rgb(config)
    return Camvid(_root(config), split)


def _cityscapes(config: ml_collections.ConfigDict, split: str) -> Dataset:
    _require_rgb(config)
    return Cityscapes(_root(config), split, config.data.class_set)


def _kitti(config: ml_collections.ConfigDict, split: str) -> Dataset:
    _require_rgb(config)
    return Kitti(_root(config), split, config.data.class_set, config.data.val_fraction)


def _pascal_voc(config: ml_collections.ConfigDict, split: str) -> Dataset:
    _require_rgb(config)
    return PascalVoc(_root(config), split)


def _require_rgb(config: ml_collections.ConfigDict) -> None:
    data = config.data
    if tuple(data.modalities) != ("rgb",):
        raise InputError(
            f"data.modalities={data.modalities!r}, but {data.name} has ('rgb',) alone; others need data.name=folder."
        )


def _folder(config: ml_collections.ConfigDict, split: str) -> Dataset:
    data = config.data
    table = _class_table(config)
    return Folder(
        _root(config),
        split,
        table,
        val_fraction=data.val_fraction,
        mask_suffix=data.mask_suffix,
        modalities=data.modalities,
        depth_max=data.depth_max,
        image_max=data.image_max,
        depth_missing=data.depth_missing,
    )


def _sunrgbd(config: ml_collections.ConfigDict, split: str) -> Dataset:
    data = config.data
    class_set = data.class_set or SUNRGBD_CLASS_SETS[0]
    scale, start = data.depth_scale, data.label_start
    return SunRgbd(_root(config), split, class_set, data.modalities, data.raw_depth, scale, start)


def _nyuv2(config: ml_collections.ConfigDict, split: str) -> Dataset:
    data = config.data
    class_set = data.class_set or NYUV2_CLASS_SETS[0]
    scale, start = data.depth_scale, data.label_start
    return Nyuv2(_root(config), split, class_set, data.modalities, data.raw_depth, scale, start)


def _records(config: ml_collections.ConfigDict, split: str) -> Dataset:
    records = Records(_root(config), split, _class_table(config))
    if tuple(config.data.modalities) not in (("rgb",), records.modality_names):
        raise InputError(
            f"data.modalities={config.data.modalities!r}, but the records in {_root(config)} were prepared with "
            f"{records.modality_names!r}; set these, or prepare them again."
        )
    return records


def _root(config: ml_collections.ConfigDict) -> str:
    return os.path.expanduser(config.data.root)


def _class_table(config: ml_collections.ConfigDict) -> ClassTable | None:
    return ClassTable.from_entries("folder", config.data.classes) if config.data.classes else None


_OF_ROOMS = ("data.root", "data.class_set", "data.raw_depth", "data.depth_scale", "data.label_start")

DATASETS: dict[str, tuple[Callable[[ml_collections.ConfigDict, str], Dataset], tuple[str, ...]]] = {
    "synthetic": (_synthetic, ("seed", "data.scene_size", "data.train_scenes", "data.eval_scenes")),
    "camvid": (_camvid, ("data.root",)),
    "cityscapes": (_cityscapes, ("data.root", "data.class_set")),
    "folder": (_folder, ("data.root", "data.val_fraction", "data.mask_suffix", "data.image_max")),
    "sunrgbd": (_sunrgbd, _OF_ROOMS),
    "nyuv2": (_nyuv2, _OF_ROOMS),
    "kitti": (_kitti, ("data.root", "data.class_set", "data.val_fraction")),
    "pascal_voc": (_pascal_voc, ("data.root",)),
    "records": (_records, ("data.root",)),
}
"""By name, the function that builds a split from a configuration, and the keys that it always reads."""


def build_masking(config: ml_collections.ConfigDict, modalities: Sequence[int]) -> Masking | None:
    """Returns the configured masking of training images of these modalities, or None without masking."""
    return Masking(**config.masking.to_dict(), num_modalities=len(modalities)) or None


def build_class_weights(config: ml_collections.ConfigDict, dataset: Dataset) -> np.ndarray:
    """Returns the configured class weights, float32 [K], from the labels of the training split `dataset`."""
    statistics = None
    if config.loss.class_weights in ("median_frequency", "inverse_frequency"):
        cache = user_cache_dir() / "label_statistics"
        if isinstance(dataset, Mixture):
            parts = [cached_label_statistics(part, cache) for part in dataset.datasets]
            statistics = expected_statistics(parts, list(map(len, dataset.datasets)), dataset.weights)
        else:
            statistics = cached_label_statistics(dataset, cache)
    return class_weights(
        config.loss.class_weights, statistics, dataset.class_table, power=config.loss.class_weight_power
    )


def build_statistics(config: ml_collections.ConfigDict, dataset: Dataset) -> preprocessing.ChannelStatistics | None:
    """Returns what the configured normalisation has to know of the training split, computed once; None: nothing.

    Raises:
      InputError: if the normalisation is not for such images, or an example cannot be read.
    """
    modalities, names = modalities_of(dataset), modality_names_of(dataset)
    if not preprocessing.needs_statistics(config.preprocessing, modalities, names):
        return None
    return cached_channel_statistics(dataset, user_cache_dir() / "channel_statistics")


def build_normalization(
    config: ml_collections.ConfigDict,
    modalities: Sequence[int] = RGB,
    names: Sequence[str] = ("rgb",),
    statistics: preprocessing.ChannelStatistics | None = None,
) -> preprocessing.Normalize:
    """Returns the configured normalisation, see `preprocessing.create_normalization`."""
    return preprocessing.create_normalization(config.preprocessing, tuple(modalities), tuple(names), statistics)


def build_reader(config: ml_collections.ConfigDict, names: Sequence[str]) -> Callable[[str], np.ndarray]:
    """Returns what reads an image of these modalities from one file, as `folder` does."""
    data = config.data
    if tuple(names) == ("rgb",):
        return functools.partial(read_image, maximum=data.image_max)
    return functools.partial(
        read_modalities,
        tuple(names),
        image_max=data.image_max,
        depth_max=data.depth_max,
        depth_missing=data.depth_missing,
    )


def build_augmentation(
    config: ml_collections.ConfigDict, modalities: Sequence[tuple[str, int]] = (("rgb", 3),)
) -> Augmentation:
    """Returns the configured changes of training images, whose channels are `modalities`: of each name and number.

    Raises:
      InputError: for a value out of range.
    """
    fields = config.augment
    colors = ColorChanges(
        brightness=fields.brightness,
        contrast=fields.contrast,
        saturation=fields.saturation,
        hue=fields.hue,
        gamma=fields.gamma,
        blur=fields.blur,
        noise=fields.noise,
    )
    return Augmentation(
        scale=fields.scale,
        crop_size=fields.crop_size,
        flip=fields.flip,
        class_crops=fields.class_crops,
        colors=colors,
        modalities=tuple(modalities),
    )


def build_host_batches(
    config: ml_collections.ConfigDict,
    dataset: Dataset,
    *,
    batch_size: int,
    first_step: int = 0,
    process_index: int = 0,
    process_count: int = 1,
) -> Generator[pipeline.Batch, None, None]:
    """Yields training batches as NumPy arrays, see `pipeline.train_batches`."""
    data = config.data
    modalities = tuple(zip(modality_names_of(dataset), modalities_of(dataset), strict=True))
    return pipeline.train_batches(
        dataset,
        batch_size=batch_size,
        seed=config.seed,
        augmentation=build_augmentation(config, modalities),
        first_step=first_step,
        with_replacement=config.train.with_replacement,
        image_size=data.image_size,
        num_workers=data.num_workers,
        num_threads=data.num_threads,
        process_index=process_index,
        process_count=process_count,
    )


def build_train_batches(
    config: ml_collections.ConfigDict, dataset: Dataset, devices: Sequence[jax.Device], first_step: int
) -> Generator[dict[str, jax.Array], None, None]:
    """Yields training batches on `devices`, those of all processes, from the one after `first_step` on."""
    share = share_of(devices)
    batches = build_host_batches(
        config,
        dataset,
        batch_size=config.train.batch_size,
        first_step=first_step,
        process_index=share.index,
        process_count=share.count,
    )
    return to_devices(batches, devices)
