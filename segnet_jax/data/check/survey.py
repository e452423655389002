"""Looks at all masks of a user's folder, to find which classes it has."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from segnet_jax.data import image_files
from segnet_jax.data.class_table import Color
from segnet_jax.data.datasets.folder_layout import SPLITS, Files, find_files
from segnet_jax.errors import InputError
from segnet_jax.runtime.workers import run_tasks

_PER_TASK = 32
# More values than these are not classes, whatever else is found.
_MANY = 2000

Value = int | Color


@dataclass(eq=False)
class Survey:
    """Holds what the masks of a folder contain.

    Attributes:
      masks: their number, of those that can be read.
      splits: of each split that there is the number of its images.
      sizes: (height, width) of the masks, and how many have each.
      pixels: of each id, a number, and of each colour, a tuple, the number of its pixels.
      inner: of those the ones in blocks of 2x2 equal pixels.
      example: of each kind of masks, "ids" and "colours", one file.
      palette: the colours of the first file that has a palette, by id.
    """

    masks: int = 0
    splits: dict[str, int] = field(default_factory=dict)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    pixels: Counter[Value] = field(default_factory=Counter)
    inner: Counter[Value] = field(default_factory=Counter)
    example: dict[str, Path] = field(default_factory=dict)
    palette: list[Color] = field(default_factory=list)

    def shares(self) -> dict[Value, float]:
        """Returns the share of each value in the pixels of all masks, the greatest first."""
        total = sum(self.pixels.values())
        return {value: count / total for value, count in self.pixels.most_common()}


def find_splits(root: Path, val_fraction: float, mask_suffix: str, modalities: Sequence[str]) -> dict[str, list[Files]]:
    """Returns the files of each split that there is.

    Raises:
      InputError: for the training split, if there is none.
    """
    splits: dict[str, list[Files]] = {}
    for split in SPLITS:
        try:
            if files := find_files(root, split, val_fraction, mask_suffix, modalities):
                splits[split] = files
        except InputError:
            if split == "train":
                raise
    if "train" not in splits:
        raise InputError(f"No image to train on in {root} has a mask; give masks the names of their images.")
    return splits


def survey_masks(splits: dict[str, list[Files]], workers: int, show_progress: bool) -> Survey:
    """Reads all masks of the splits once; those that cannot be read are left out.

    Args:
      splits: of each split its files.
      workers: processes, each of which holds one mask at a time.
      show_progress: whether to show a progress bar on stderr.

    Raises:
      InputError: no mask can be read, or a worker process died.
    """
    survey = Survey(splits={split: len(files) for split, files in splits.items()})
    masks = list(dict.fromkeys(entry.mask for files in splits.values() for entry in files))
    tasks = [functools.partial(_survey_part, masks[i : i + _PER_TASK]) for i in range(0, len(masks), _PER_TASK)]
    with tqdm(total=len(masks), unit=" masks", disable=not show_progress) as bar:
        for part in run_tasks(tasks, workers):
            survey.masks += part.masks
            survey.sizes += part.sizes
            survey.pixels += part.pixels
            survey.inner += part.inner
            survey.example = part.example | survey.example
            survey.palette = survey.palette or part.palette
            bar.update(min(_PER_TASK, len(masks) - bar.n))
            if len(survey.pixels) > _MANY:
                break
    if not survey.masks:
        raise InputError(f"None of the {len(masks)} masks can be read, such as {masks[0]}; save them as PNG files.")
    return survey


def _survey_part(masks: Iterable[Path]) -> Survey:
    survey = Survey()
    for path in masks:
        try:
            mask = image_files.read_mask(path)
        except InputError:
            continue  # named when the examples are read
        survey.masks += 1
        survey.sizes[mask.shape[0], mask.shape[1]] += 1
        is_indexed = mask.ndim == 2
        survey.example.setdefault("ids" if is_indexed else "colours", path)
        if is_indexed and not survey.palette:
            survey.palette = image_files.read_palette(path)
        codes = mask if is_indexed else mask @ np.array([1 << 16, 1 << 8, 1], np.uint32)
        here = codes[1:, 1:]
        inside = (here == codes[:-1, 1:]) & (here == codes[1:, :-1]) & (here == codes[:-1, :-1])
        for counter, values in ((survey.pixels, codes), (survey.inner, here[inside])):
            found, counts = np.unique(values, return_counts=True)
            # Of a photograph the commonest will do.
            order = np.argsort(-counts, kind="stable")[:_MANY]
            for code, count in zip(found[order].tolist(), counts[order].tolist(), strict=True):
                counter[code if is_indexed else (code >> 16, code >> 8 & 255, code & 255)] += count
    return survey
