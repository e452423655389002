"""A data set of a user's own images and masks, in two folders."""

import hashlib
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from segnet_jax.data import image_files
from segnet_jax.data.class_table import VOID, ClassTable
from segnet_jax.data.preprocessing import RGB, RGBD
from segnet_jax.errors import InputError

SPLITS = ("train", "val", "test")

_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
_MASK_SUFFIXES = (".png",)
_DEPTH_SUFFIXES = (".png",)

_log = logging.getLogger("segnet_jax")


class Folder:
    """One split of a folder with images and masks.

    Two layouts are recognised:

    - `images/` and `masks/` in the root. `train.txt`, `val.txt` and `test.txt` list the images of
      each split, a stem or file name a line; without them an image is in "val" if a hash of its
      stem falls below `val_fraction`, else in "train", so that a file added later moves no other
      one. Neighbouring frames of a video are better split by lists.
    - `train/images/` and `train/masks/`, the same for `val` and `test`.

    Images are JPEG, PNG, BMP, TIFF or WebP files. The mask of `images/a.jpg` is
    `masks/a<mask_suffix>.png`; each is a gray or palette file of class ids or an RGB file of class
    colours, of the image's size. With `depth` there is a third folder beside them: the depth map of
    `images/a.jpg` is `depth/a.png`, a gray file of 8 or 16 bits and of the image's size, and becomes
    the fourth channel of the image, see `image_files.read_depth`.

    Attributes, beside those of `Dataset`:
      names: the stem of every image, sorted or as listed.
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
    ) -> None:
        """Finds the files of the split and checks that they pair up.

        Args:
          root: the folder of the data.
          split: "train", "val" or "test".
          class_table: the classes; None gives an error that proposes a table from the masks.
          val_fraction: the share of validation images, 0 to below 1, if nothing else splits them.
          mask_suffix: what a mask's name adds to its image's stem, such as "_mask".
          depth: whether images have a depth map as their fourth channel.
          depth_max: the value of 16-bit depth maps that becomes 255, 1 to 65535, in their own unit.

        Raises:
          InputError: the layout or split is unknown, a folder cannot be read, a file has no
            counterpart or one of another size, two images share a stem, the split is empty, or
            there is no class table.
        """
        if split not in SPLITS:
            raise InputError(f"There is no split {split!r}; use one of {', '.join(SPLITS)}.")
        root = Path(root)
        self.name = root.resolve().name
        self.split = split
        try:
            pairs = _find_pairs(root, split, val_fraction, mask_suffix)
            depths = _find_depths(_folder_of(root, split), [image for image, _ in pairs]) if depth else []
        except OSError as error:
            raise InputError(
                f"{error.filename or root} cannot be read ({error.strerror}); correct its permissions, or the root."
            ) from error
        self.names = [Path(image).stem for image, _ in pairs]
        self.modalities = RGBD if depth else RGB
        self._paths = [(str(image), str(mask)) for image, mask in pairs]
        self._depths, self._depth_max = [str(path) for path in depths], depth_max
        if class_table is None:
            raise InputError(_propose_classes([mask for _, mask in self._paths]))
        self.class_table = class_table
        columns = [*zip(*self._paths, strict=True), *([self._depths] if depth else [])]
        with ThreadPoolExecutor() as pool:
            self._shapes = list(pool.map(image_files.common_shape, zip(*columns, strict=True)))

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        image = image_files.read_image(self._paths[index][0])
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
        """Returns a digest that changes when a file of the split or `depth_max` does."""
        digest = image_files.fingerprint(path for pair in self._paths for path in pair)
        if not self._depths:
            return digest
        parts = (digest, image_files.fingerprint(self._depths), str(self._depth_max))
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def _find_pairs(root: Path, split: str, val_fraction: float, mask_suffix: str) -> list[tuple[Path, Path]]:
    """Returns the (image, mask) paths of a split."""
    folder = _folder_of(root, split)
    images = _files_by_stem(folder / "images", _IMAGE_SUFFIXES)
    masks = _files_by_stem(folder / "masks", _MASK_SUFFIXES)
    if not images:
        raise InputError(f"{folder / 'images'} holds no image; add some, or correct the root.")
    lists = [name for name in SPLITS if (root / f"{name}.txt").is_file()]
    if folder == root and lists:
        # What no list names may lie there unpaired.
        images = _listed_images(root, split, lists, images)
        wanted = {stem + mask_suffix for stem in images}
        masks = {stem: path for stem, path in masks.items() if stem in wanted}
    _refuse_unpaired(folder, images, masks, mask_suffix)
    if folder == root and not lists:
        images = _hashed_images(root, split, images, val_fraction)
    return [(path, masks[stem + mask_suffix]) for stem, path in images.items()]


def _find_depths(folder: Path, images: Sequence[Path]) -> list[Path]:
    """Returns the depth map of each image; those of other images may lie there too."""
    depths = _files_by_stem(folder / "depth", _DEPTH_SUFFIXES)
    bare = [f"{image.stem}.png" for image in images if image.stem not in depths]
    if bare:
        raise InputError(
            f"{folder / 'depth'} lacks {_some(bare)}, one for each image; add what is missing, or set data.depth=False."
        )
    return [depths[image.stem] for image in images]


def _folder_of(root: Path, split: str) -> Path:
    """Returns the folder that holds the images and masks folders of a split."""
    if not root.is_dir():
        raise InputError(f"{root} is not a folder; set the root of the data to an existing one.")
    if (root / "images").is_dir():
        return root
    present = [name for name in SPLITS if (root / name / "images").is_dir()]
    if not present:
        raise InputError(
            f"{root} holds {_some(sorted(os.listdir(root)))}; it needs the folders images and "
            "masks, or else train/images, train/masks, val/images and val/masks."
        )
    if split not in present:
        raise InputError(
            f"{root / split / 'images'} does not exist; add it, or use a split that does ({', '.join(present)})."
        )
    return root / split


def _files_by_stem(folder: Path, suffixes: Sequence[str]) -> dict[str, Path]:
    """Returns the files of a folder with one of the suffixes, by stem, sorted."""
    if not folder.is_dir():
        raise InputError(f"{folder} does not exist; add this folder.")
    files: dict[str, Path] = {}
    for name in sorted(os.listdir(folder)):
        path = folder / name
        if name.startswith(".") or path.suffix.lower() not in suffixes:
            continue
        if path.stem in files:
            raise InputError(
                f"{path} and {files[path.stem].name} differ only in their ending, so they would "
                "share a mask or an image; rename or remove one of them."
            )
        files[path.stem] = path
    return files


def _listed_images(root: Path, split: str, lists: Sequence[str], images: dict[str, Path]) -> dict[str, Path]:
    """Returns the images that the split's list names, in its order."""
    if split not in lists:
        raise InputError(
            f"{root / split}.txt does not exist; add it, or use a split that has a list ({', '.join(lists)})."
        )
    chosen = _read_stems(root, split, images)
    if not chosen:
        raise InputError(f"{root / split}.txt lists no image; write one stem or file name a line.")
    if split != "train" and "train" in lists:
        shared = sorted(set(chosen) & set(_read_stems(root, "train", images)))
        if shared:
            message = "%s and train.txt share %d images (%s): scores will look better than they are."
            _log.warning(message, root / f"{split}.txt", len(shared), _some(shared))
    return {stem: images[stem] for stem in chosen}


def _read_stems(root: Path, split: str, images: dict[str, Path]) -> list[str]:
    path = root / f"{split}.txt"
    stem_of_file = {image.name: stem for stem, image in images.items()}
    stems: dict[str, int] = {}
    for number, line in image_files.read_list(path):
        entry = line.replace("\\", "/").split("/")[-1]
        stem = stem_of_file.get(entry, entry)
        if stem not in images:
            raise InputError(
                f"Line {number} of {path} names {line!r}, which is not in {root / 'images'}; "
                "correct the line or add the image."
            )
        if stem in stems:
            raise InputError(
                f"Line {number} of {path} names {line!r} again, after line {stems[stem]}; remove one of them."
            )
        stems[stem] = number
    return list(stems)


def _hashed_images(root: Path, split: str, images: dict[str, Path], val_fraction: float) -> dict[str, Path]:
    """Returns the images that a hash of their stem puts into the split."""
    if split == "test":
        raise InputError(
            f"{root} has no test split; list its images in {root / 'test.txt'}, those of the other "
            "splits in train.txt and val.txt."
        )
    chosen = {s: path for s, path in images.items() if _hashed_split(s, val_fraction) == split}
    if not chosen:
        raise InputError(
            f"{split} gets none of the {len(images)} images of {root} with val_fraction "
            f"{val_fraction}; change val_fraction, or list the images of each split in "
            f"{root / 'train.txt'} and val.txt."
        )
    return chosen


def _hashed_split(stem: str, val_fraction: float) -> str:
    digest = hashlib.sha256(stem.encode("utf-8", "surrogateescape")).digest()
    return "val" if int.from_bytes(digest[:8]) < val_fraction * 2**64 else "train"


def _refuse_unpaired(folder: Path, images: dict[str, Path], masks: dict[str, Path], mask_suffix: str) -> None:
    wanted = {stem + mask_suffix: path.name for stem, path in images.items()}
    bare = [name for stem, name in wanted.items() if stem not in masks]
    spare = [path.name for stem, path in masks.items() if stem not in wanted]
    if not bare and not spare:
        return
    faults = [f"no mask for {_some(bare)}"] if bare else []
    faults += [f"no image for {_some(spare)}"] if spare else []
    advice = "add what is missing or move the rest elsewhere"
    suffix = _common_suffix(images, folder / "masks")
    if bare and suffix is not None and suffix != mask_suffix:
        advice = f'set mask_suffix to "{suffix}"'
    elif not masks and os.listdir(folder / "masks"):
        advice = f"save the masks as PNG files, such as {next(iter(wanted))}.png"
    raise InputError(
        f"{folder} holds {len(images)} images and {len(masks)} masks that do not pair up, with "
        f"{' and '.join(faults)}; {advice}."
    )


def _common_suffix(images: dict[str, Path], masks: Path) -> str | None:
    """Returns the suffix that masks' names add to the stems of all images, or None if there is none."""
    stems = set(_files_by_stem(masks, _MASK_SUFFIXES))
    first = min(images)
    for candidate in sorted(stem.removeprefix(first) for stem in stems if stem.startswith(first)):
        if all(stem + candidate in stems for stem in images):
            return candidate
    return None


def _propose_classes(masks: Sequence[str]) -> str:
    """Returns an error message that proposes a class table, made from the first masks."""
    masks = masks[:20]
    pixels = [image_files.read_mask(path) for path in masks]
    if pixels[0].ndim == 2:
        kind = "ids"
        ids = sorted({int(v) for mask in pixels if mask.ndim == 2 for v in np.unique(mask)})
        # 255 is void by custom, unless it is all there is beside 0.
        void = {VOID} if len(ids) > 2 else set()
        entries = [{"name": f"class_{i}", "id": i} for i in ids if i not in void]
        entries += [{"name": "void", "id": i, "ignored": True} for i in ids if i in void]
    else:
        kind = "colours"
        weights = np.array([1 << 16, 1 << 8, 1], np.uint32)
        codes = {int(v) for mask in pixels if mask.ndim == 3 for v in np.unique(mask @ weights)}
        colors = [(code >> 16, code >> 8 & 255, code & 255) for code in sorted(codes)]
        entries = [{"name": f"class_{i}", "color": color} for i, color in enumerate(colors)]
    if len(entries) > VOID:
        return (
            f"{masks[0]} and the next {len(masks) - 1} masks hold {len(entries)} different {kind}, "
            "too many for classes; give masks that were saved without smoothing or lossy "
            "compression, one id or colour a class."
        )
    table = "".join(f"    {entry},\n".replace("'", '"') for entry in entries)
    return (
        f"The list of classes is empty; put this one, from {masks[0]} and {len(masks) - 1} more "
        'masks, into the config, with better names, and with "ignored": True where pixels are to '
        f"count in neither training nor scores:\nconfig.data.classes = (\n{table})"
    )


def _some(names: Sequence[str]) -> str:
    """Formats the first names of a list, and the number of the others."""
    if len(names) <= 3:
        return ", ".join(names) or "nothing"
    return f"{', '.join(names[:3])} and {len(names) - 3} more"
