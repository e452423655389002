"""Finds the images and masks of a split in a user's folder, and pairs them up."""

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from segnet_jax.data import image_files
from segnet_jax.data.band_files import TIFF_SUFFIXES
from segnet_jax.data.faults import refuse
from segnet_jax.errors import InputError

SPLITS = ("train", "val", "test")

_MASK_SUFFIXES = (".png", ".tif", ".tiff", ".bmp")

# What people call the two folders, in lower case; the first name of each is taken before any other.
_IMAGE_FOLDERS = ("images", "image", "imgs", "img", "jpegimages", "leftimg8bit", "image_2")
_MASK_FOLDERS = (
    *("masks", "mask", "annotations", "annotation", "anns", "ann", "labels", "label"),
    *("segmentationclass", "gtfine", "semantic", "semantic_rgb"),
)

# Cityscapes': leftImg8bit/train/aachen/a_leftImg8bit.png has the mask gtFine/train/aachen/a_gtFine_labelIds.png.
_CITYSCAPES_IMAGE, _CITYSCAPES_MASK = "_leftImg8bit", "_gtFine_labelIds"

_log = logging.getLogger("segnet_jax")


@dataclass(frozen=True)
class Files:
    """The files of one example.

    Attributes:
      name: the image's path in its folder, without its ending; in a flat folder its stem.
      mask: its mask.
      images: of each modality its file.
    """

    name: str
    mask: Path
    images: tuple[Path, ...]


@dataclass(frozen=True)
class _Folders:
    """Where the examples of a split lie; `is_split` says that no examples of other splits do.

    `others` are the folders of the modalities but the first, whose folder is `images`, by their names.
    """

    images: Path
    masks: Path
    others: dict[str, Path]
    is_split: bool


def find_files(root: Path, split: str, val_fraction: float, mask_suffix: str, modalities: Sequence[str]) -> list[Files]:
    """Returns the files of a split, sorted or as listed; `Folder` describes the layouts.

    Within `faults.collected` files without a counterpart and faulty lines of a list are left out.

    Raises:
      InputError: the layout or split is unknown, a file has no counterpart, or the split is empty.
      OSError: a folder cannot be read.
    """
    folders = _find_folders(root, split, modalities)
    images = _files_by_name(folders.images, image_files.IMAGE_SUFFIXES)
    masks = _files_by_name(folders.masks, _MASK_SUFFIXES)
    if not images:
        raise InputError(f"{folders.images} holds no image; add some, or correct the root.")
    if all(name.endswith(_CITYSCAPES_IMAGE) for name in images):
        images = {name.removesuffix(_CITYSCAPES_IMAGE): path for name, path in images.items()}
        if not mask_suffix and any(name.endswith(_CITYSCAPES_MASK) for name in masks):
            mask_suffix = _CITYSCAPES_MASK
    lists = [] if folders.is_split else _find_lists(root)
    if lists:
        # What no list names may lie there unpaired.
        images = _listed_images(folders.images, split, lists, images)
        wanted = {name + mask_suffix for name in images}
        masks = {name: path for name, path in masks.items() if name in wanted}
    _refuse_unpaired(folders, images, masks, mask_suffix)
    images = {name: path for name, path in images.items() if name + mask_suffix in masks}
    if not lists and not folders.is_split:
        images = _hashed_images(root, split, images, val_fraction)
    others = [_find_others(name, folder, list(images)) for name, folder in folders.others.items()]
    return [
        Files(name, masks[name + mask_suffix], (path, *(other[name] for other in others)))
        for name, path in images.items()
        if all(name in other for other in others)
    ]


def find_mask_suffix(root: Path, split: str, modalities: Sequence[str]) -> str:
    """Returns what the names of a split's masks add to those of its images in most cases, such as "_mask".

    Raises:
      InputError: the layout or split is unknown.
      OSError: a folder cannot be read.
    """
    folders = _find_folders(root, split, modalities)
    images = _files_by_name(folders.images, image_files.IMAGE_SUFFIXES)
    if all(name.endswith(_CITYSCAPES_IMAGE) for name in images):
        return ""
    return _commonest_suffix(images, _files_by_name(folders.masks, _MASK_SUFFIXES))[0]


def _find_folders(root: Path, split: str, modalities: Sequence[str]) -> _Folders:
    """Returns the folders of a split: ROOT/images, ROOT/images/SPLIT or ROOT/SPLIT/images, and so on."""
    if not root.is_dir():
        raise InputError(f"{root} is not a folder; set the root of the data to an existing one.")
    # The modality that `images` is: without RGB, images can have any bands.
    imaged = "rgb" if "rgb" in modalities else "bands"
    called = _IMAGE_FOLDERS if modalities[0] == imaged else (modalities[0],)
    others = {name: "images" if name == imaged else name for name in modalities[1:]}
    parent, images = root, _folder_called(root, called)
    if images is None:
        present = [name for name in SPLITS if _folder_called(root / name, called)]
        if not present:
            raise InputError(
                f"{root} holds {_some(sorted(os.listdir(root)))}; it needs the folders {called[0]} and "
                f"masks, or else train/{called[0]}, train/masks, val/{called[0]} and val/masks."
            )
        if split not in present:
            raise _no_split(root / split / called[0], present)
        parent = root / split
        images = _folder_called(parent, called)
        assert images is not None
    masks = _folder_called(parent, _MASK_FOLDERS) or parent / "masks"
    if parent == root:
        present = [name for name in SPLITS if (images / name).is_dir()]
        if present and split not in present:
            raise _no_split(images / split, present)
        if present:
            more = {name: parent / folder / split for name, folder in others.items()}
            return _Folders(images / split, masks / split, more, is_split=True)
    return _Folders(images, masks, {name: parent / folder for name, folder in others.items()}, parent != root)


def _no_split(folder: Path, present: Sequence[str]) -> InputError:
    return InputError(f"{folder} does not exist; add it, or use a split that does ({', '.join(present)}).")


def _folder_called(parent: Path, names: Sequence[str]) -> Path | None:
    """Returns the folder in `parent` that has one of the names; None if there is none."""
    if (parent / names[0]).is_dir():
        return parent / names[0]
    paths = sorted(parent.iterdir()) if parent.is_dir() else []
    found = [path for path in paths if path.name.lower() in names and path.is_dir()]
    if len(found) > 1:
        raise InputError(
            f"{parent} holds the folders {_some([path.name for path in found])}, each of which may be {names[0]}; "
            f"rename the right one to {names[0]}."
        )
    return found[0] if found else None


def _files_by_name(folder: Path, suffixes: Sequence[str]) -> dict[str, Path]:
    """Returns the files in a folder and its subfolders that have one of the suffixes, by name, ordered by path."""
    if not folder.is_dir():
        raise InputError(f"{folder} does not exist; add this folder.")
    files: dict[str, Path] = {}
    for parent, subfolders, names in os.walk(folder, onerror=_raise, followlinks=True):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        for path in (Path(parent, name) for name in sorted(names) if not name.startswith(".")):
            if path.suffix.lower() not in suffixes:
                continue
            name = path.relative_to(folder).with_suffix("").as_posix()
            if name in files:
                refuse(
                    InputError(
                        f"{path} and {files[name].name} differ only in their ending, so they would "
                        "share a mask or an image; rename or remove one of them."
                    )
                )
            files.setdefault(name, path)
    return dict(sorted(files.items(), key=lambda item: item[1].as_posix()))


def _raise(error: OSError) -> None:
    raise error


def _find_others(modality: str, folder: Path, names: Sequence[str]) -> dict[str, Path]:
    """Returns the file of each image in the folder of another modality; those of other images may lie there too."""
    if modality == "depth":
        # Pictures of it may lie beside.
        files = _files_by_name(folder, (".png",)) or _files_by_name(folder, TIFF_SUFFIXES)
    else:
        files = _files_by_name(folder, image_files.IMAGE_SUFFIXES)
    bare = [f"{name}.png" for name in names if name not in files]
    if bare:
        error = InputError(
            f"{folder} lacks {_some(bare)}, one for each image; add what is missing, or take {modality} out of "
            "data.modalities."
        )
        refuse(error, [f"{folder / name} is missing; add it, or remove its image." for name in bare])
    return files


def _find_lists(root: Path) -> list[Path]:
    """Returns the split files that there are: in the root, or where PASCAL VOC has them."""
    for folder in (root, root / "ImageSets" / "Segmentation"):
        lists = [folder / f"{name}.txt" for name in SPLITS if (folder / f"{name}.txt").is_file()]
        if lists:
            return lists
    return []


def _listed_images(folder: Path, split: str, lists: Sequence[Path], images: dict[str, Path]) -> dict[str, Path]:
    """Returns the images that the split's list names, in its order."""
    by_split = {path.stem: path for path in lists}
    if split not in by_split:
        path = lists[0].with_name(f"{split}.txt")
        raise InputError(f"{path} does not exist; add it, or use a split that has a list ({', '.join(by_split)}).")
    chosen = _read_names(by_split[split], folder, images)
    if not chosen:
        raise InputError(f"{by_split[split]} lists no image; write one stem or file name a line.")
    if split != "train" and "train" in by_split:
        shared = sorted(set(chosen) & set(_read_names(by_split["train"], folder, images)))
        if shared:
            message = "%s and train.txt share %d images (%s): scores will look better than they are."
            _log.warning(message, by_split[split], len(shared), _some(shared))
    return {name: images[name] for name in chosen}


def _read_names(path: Path, folder: Path, images: dict[str, Path]) -> list[str]:
    """Returns the names of the images that a list holds, each as a path, or an end of one, with or without ending."""
    known = {image.relative_to(folder).as_posix(): name for name, image in images.items()}
    known |= {name: name for name in images}
    names: dict[str, int] = {}
    for number, line in image_files.read_list(path):
        parts = line.replace("\\", "/").split("/")
        ends = ("/".join(parts[start:]) for start in range(len(parts)))
        name = next((known[end] for end in ends if end in known), None)
        where = f"Line {number} of {path} names {line!r}"
        if name is None:
            refuse(InputError(f"{where}, which is not in {folder}; correct the line or add the image."))
        elif name in names:
            refuse(InputError(f"{where} again, after line {names[name]}; remove one of them."))
        else:
            names[name] = number
    return list(names)


def _hashed_images(root: Path, split: str, images: dict[str, Path], val_fraction: float) -> dict[str, Path]:
    """Returns the images that a hash of their name puts into the split."""
    if split == "test":
        raise InputError(
            f"{root} has no test split; list its images in {root / 'test.txt'}, those of the other "
            "splits in train.txt and val.txt."
        )
    chosen = {name: path for name, path in images.items() if _hashed_split(name, val_fraction) == split}
    if not chosen:
        raise InputError(
            f"{split} gets none of the {len(images)} images of {root} with val_fraction "
            f"{val_fraction}; change val_fraction, or list the images of each split in "
            f"{root / 'train.txt'} and val.txt."
        )
    return chosen


def _hashed_split(name: str, val_fraction: float) -> str:
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
    return "val" if int.from_bytes(digest[:8]) < val_fraction * 2**64 else "train"


def _refuse_unpaired(folders: _Folders, images: dict[str, Path], masks: dict[str, Path], mask_suffix: str) -> None:
    wanted = {name + mask_suffix: path.name for name, path in images.items()}
    bare = [name for stem, name in wanted.items() if stem not in masks]
    # With a suffix, files of other kinds may lie beside the masks, as Cityscapes has them.
    spare = [path for stem, path in masks.items() if stem not in wanted and stem.endswith(mask_suffix)]
    if not bare and not spare:
        return
    faults = [f"no mask for {_some(bare)}"] if bare else []
    faults += [f"no image for {_some([path.name for path in spare])}"] if spare else []
    advice = ""
    suffix, count = _commonest_suffix(images, _files_by_name(folders.masks, _MASK_SUFFIXES))
    if suffix != mask_suffix and 2 * count > len(images) and len(bare) == len(images):
        advice = f'set mask_suffix to "{suffix}"'
    elif not masks and os.listdir(folders.masks):
        advice = f"save the masks as PNG files, such as {next(iter(wanted))}.png"
    error = InputError(
        f"{folders.images} holds {len(images)} images and {folders.masks} {len(masks)} masks that do not pair up, with "
        f"{' and '.join(faults)}; {advice or 'add what is missing or move the rest elsewhere'}."
    )
    if advice:
        raise error  # One cause for all of them.
    each = [
        f"{path} has no mask, {folders.masks / (name + mask_suffix)}.png; add it, or move the image elsewhere."
        for name, path in images.items()
        if name + mask_suffix not in masks
    ]
    each += [
        f"{path} is the mask of no image in {folders.images}; add that, or move the mask elsewhere." for path in spare
    ]
    refuse(error, each)


def _commonest_suffix(images: Iterable[str], masks: Iterable[str]) -> tuple[str, int]:
    """Returns what most names of masks add to the name of an image, and how many do; "" if none has one's name."""
    known = set(images)
    suffixes = (name[end:] for name in sorted(masks) for end in range(1, len(name) + 1) if name[:end] in known)
    return next(iter(Counter(suffixes).most_common(1)), ("", 0))


def _some(names: Sequence[str]) -> str:
    """Formats the first names of a list, and the number of the others."""
    if len(names) <= 3:
        return ", ".join(names) or "nothing"
    return f"{', '.join(names[:3])} and {len(names) - 3} more"
