"""Finds the files of SUN RGB-D, in the toolbox's layout or in one of those that others have made of it."""

from __future__ import annotations

import contextlib
import functools
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from segnet_jax.data.datasets.rgbd_scene import RgbdScene, listed_scenes
from segnet_jax.data.matlab_files import MatlabArrays, read_texts
from segnet_jax.errors import InputError

SOURCE = "https://rgbd.cs.princeton.edu"
"""The page where SUN RGB-D is obtained."""

SEGMENTATION = "SUNRGBD2Dseg.seglabel"
"""Where the toolbox has its labels of 37 classes."""

_SIZES = {"train": 5285, "test": 5050, "train_half": 2666, "val": 2619}
# By split, where the toolbox lists its scenes.
_SPLIT_LISTS = {
    "train": "alltrain",
    "test": "alltest",
    "train_half": "trainvalsplit.train",
    "val": "trainvalsplit.val",
}
_TOOLBOX = ("traintestSUNRGBD", "Metadata")
_SENSORS = ("kv1", "kv2", "realsense", "xtion")

_log = logging.getLogger("segnet_jax")


@dataclass(frozen=True)
class SunRgbdFiles:
    """Holds what is found of a split.

    Attributes:
      scenes: the images.
      held: the class set of the label files.
      labels: the toolbox's labels, at the scenes' `place`; None if each scene has a file.
    """

    scenes: list[RgbdScene]
    held: str
    labels: MatlabArrays | None = None


def find_files(root: Path, split: str, class_set: str, with_depth: bool, raw_depth: bool) -> SunRgbdFiles:
    """Finds the images of a split, in `root` or in a folder directly below it.

    Args:
      root: the folder of the data.
      split: "train" or "test"; "train_half" and "val" are the halves of "train" in the toolbox.
      class_set: "37" or "13".
      with_depth: whether depth is asked for.
      raw_depth: whether it is to be as it was measured, which the toolbox alone has.

    Raises:
      InputError: the layout or the split is not known, or a file is missing or damaged.
    """
    if split not in _SIZES:
        raise InputError(f"SUN RGB-D has no split {split!r}; use one of {', '.join(_SIZES)}.")
    if not root.is_dir():
        raise InputError(f"{root} is not a folder; set data.root to that of SUN RGB-D, obtained from {SOURCE}")
    folders = [root, *_subfolders(root)]
    toolbox = next((f for f in [*folders, *map(_nested, folders)] if any((f / n).is_dir() for n in _TOOLBOX)), None)
    images = next((f / "SUNRGBD" for f in folders if any((f / "SUNRGBD" / s).is_dir() for s in _SENSORS)), None)
    if toolbox is None:
        found = _other_files(folders, split, class_set, with_depth, raw_depth)
        if found is not None:
            return found
    if toolbox or images:
        toolbox, images = toolbox or root / "SUNRGBDtoolbox", images or root / "SUNRGBD"
        return _toolbox_files(toolbox, images, split, ("depth" if raw_depth else "depth_bfx") * with_depth)
    raise InputError(
        f"{root} holds no {split} split of SUN RGB-D with {class_set} classes in a known layout (docs/datasets.md has "
        f"them); the data set is obtained from {SOURCE}"
    )


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir())


def _nested(folder: Path) -> Path:
    # Some programs unpack an archive into a folder of its name.
    return folder / "SUNRGBDtoolbox"


def _toolbox_files(toolbox: Path, images: Path, split: str, depth: str) -> SunRgbdFiles:
    """Finds a split in the order of SUNRGBDMeta.mat, which is that of the labels; depth in folders of that name."""
    meta = toolbox / "Metadata" / "SUNRGBDMeta.mat"
    list_file = toolbox / "traintestSUNRGBD" / "allsplit.mat"
    (listed,) = read_texts(list_file, SOURCE, _SPLIT_LISTS[split])
    labels = MatlabArrays(toolbox / "Metadata" / "SUNRGBD2Dseg.mat", SOURCE)
    colors, depths = _described(meta, meta.stat().st_mtime_ns if meta.is_file() else 0)
    if not len(colors) == len(depths) == labels.num_cells(SEGMENTATION):
        raise InputError(
            f"{meta} describes {len(colors)} images and {labels.path} holds {labels.num_cells(SEGMENTATION)} labels; "
            f"get both from {SOURCE}"
        )
    missing, scenes = {_place(path) for path in listed}, []
    for number, (color, depth_path) in enumerate(zip(colors, depths, strict=True)):
        scene = _place(color).rsplit("/", 2)[0]
        if scene in missing:
            missing.remove(scene)
            depth_file = str(images / scene / depth / Path(depth_path).name) if depth else ""
            scenes.append(RgbdScene(scene, str(images / _place(color)), depth_file, place=number))
    if missing:
        raise InputError(
            f"{meta} lacks {min(missing)} ({len(missing)} scenes in all) of the split {split!r} in {list_file}; get "
            f"both from {SOURCE}"
        )
    return SunRgbdFiles(scenes, "37", labels)


@functools.lru_cache(maxsize=1)
def _described(meta: Path, changed: int) -> list[list[str]]:
    """Returns the paths of all images and of their depth; kept, as both splits of a run need them."""
    del changed
    _log.info("Reading %s.", meta)
    return read_texts(meta, SOURCE, "SUNRGBDMeta.rgbpath", "SUNRGBDMeta.depthpath")


def _place(path: str) -> str:
    """Returns a path of the toolbox from the folder SUNRGBD on, whose own disk it names before."""
    parts = [part for part in path.split("/") if part]
    return "/".join(parts[parts.index("SUNRGBD") + 1 :] if "SUNRGBD" in parts else parts)


def _other_files(
    folders: Sequence[Path], split: str, class_set: str, with_depth: bool, raw_depth: bool
) -> SunRgbdFiles | None:
    """Finds a split in one of the layouts that others have made; None if it is in none of these."""
    listed = split if split in ("train", "test") else "train"
    for folder in folders:
        # Whoever wants 13 classes can have them of files with 37, too.
        for held in dict.fromkeys((class_set, "37")):
            scenes = _paired(folder, listed, held, with_depth) or _numbered(folder, listed, held, with_depth)
            if not scenes:
                continue
            if split != listed:
                raise InputError(
                    f"{folder} does not tell which images are in the split {split!r}; use train or test, or get the "
                    f"toolbox's folders from {SOURCE}"
                )
            if with_depth and raw_depth:
                raise InputError(
                    f"{folder} has one kind of depth, and data.raw_depth=True chooses between two; set it to False, or "
                    f"get the toolbox's folders from {SOURCE}"
                )
            if len(scenes) < _SIZES[split]:
                size = _SIZES[split]
                _log.warning(
                    "%s holds only %d of the %d images of SUN RGB-D's %s split.", folder, len(scenes), size, split
                )
            return SunRgbdFiles(scenes, held)
    return None


def other_scenes(root: Path, split: str, held: str) -> list[RgbdScene]:
    """Finds the test images of a training split, or the reverse, where label files have `held` classes; or nothing."""
    other = "train" if split == "test" else "test"
    for folder in [root, *_subfolders(root)]:
        with contextlib.suppress(InputError):  # of a split that nobody asked for
            if scenes := _paired(folder, other, held, False) or _numbered(folder, other, held, False):
                return scenes
    return []


def _paired(folder: Path, split: str, held: str, with_depth: bool) -> list[RgbdScene]:
    """Finds image/SPLIT, depth/SPLIT and label37/SPLIT, by a list such as train37.txt or without; or nothing."""
    list_file = folder / f"{split}{held}.txt"
    if list_file.is_file():
        return listed_scenes(list_file, with_depth)
    for name in (f"label{held}", f"semseg-label{held}"):
        images, labels, depth = (folder / kind / split for kind in ("image", name, "depth"))
        if images.is_dir() and labels.is_dir():
            return _by_number(images, labels, 0, depth if with_depth else None)
    return []


def _numbered(folder: Path, split: str, held: str, with_depth: bool) -> list[RgbdScene]:
    """Finds images and labels in folders whose names tell the split, or nothing.

    The images of each split are numbered from 1 on, and so are labels of 13 classes. Labels of 37 classes are in one
    folder: first those of the test images, then those of the training images.
    """
    subfolders = _subfolders(folder)
    own = [f for f in subfolders if split in f.name.lower()]
    images = next((f for f in own if (f / "img-000001.jpg").is_file()), None)
    if held == "13":
        labels, offset = next((f for f in own if (f / "img13labels-000001.png").is_file()), None), 0
    else:
        offset = _SIZES["test"] if split == "train" else 0
        labels = next((f for f in subfolders if (f / f"img-{offset + 1:06d}.png").is_file()), None)
    if images is None or labels is None:
        return []
    depth = next((f for f in own if "depth" in f.name.lower()), folder / f"sunrgbd_{split}_depth")
    return _by_number(images, labels, offset, depth if with_depth else None)


def _by_number(images: Path, labels: Path, offset: int, depth: Path | None) -> list[RgbdScene]:
    """Joins the files of folders by the last number in their names, that of labels being greater by `offset`."""
    images_of, labels_of = _files_of(images, ".jpg"), _files_of(labels, ".png")
    depth_of = {} if depth is None else _files_of(depth, ".png")
    parts = [(labels, labels_of, offset), *([(depth, depth_of, 0)] if depth else [])]
    for folder, files, shift in parts:
        missing = [number + shift for number in images_of if number + shift not in files]
        if missing:
            raise InputError(
                f"{folder} holds no file of the number {missing[0]} ({len(missing)} are missing for the images in "
                f"{images}); complete it, or get it again from {SOURCE}"
            )
    return [
        RgbdScene(path.stem, str(path), str(depth_of.get(number, "")), str(labels_of[number + offset]))
        for number, path in images_of.items()
    ]


def _files_of(folder: Path, suffix: str) -> dict[int, Path]:
    files = ((re.findall(r"\d+", path.stem), path) for path in sorted(folder.glob(f"*{suffix}")))
    return {int(numbers[-1]): path for numbers, path in files if numbers}
