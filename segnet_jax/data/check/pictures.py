"""Draws the contact sheets and the chart of the classes."""

from __future__ import annotations

import numpy as np
from PIL import Image

from segnet_jax.data.check.summary import SplitSummary, Summary
from segnet_jax.data.dataset import Dataset, modality_names_of
from segnet_jax.data.resize import resize
from segnet_jax.visualize import overlay, picture_grid, rgb_of
from segnet_jax.visualize.class_shares import draw_class_shares

_EXAMPLES, _PAIRS = 12, 3
_TILE = 280  # pixels, the longer side
_NAME = 36


def draw_sheet(dataset: Dataset, split: SplitSummary) -> Image.Image | None:
    """Draws some images of a split beside their overlays; None if it has no example without a fault.

    They are spread over the split, but for those that it takes to show every class that occurs, if they suffice.
    """
    if not split.readable:
        return None
    tiles, captions = [], []
    is_rgb = modality_names_of(dataset)[0] == "rgb"
    for place in choose_examples(np.array(split.occurs), _EXAMPLES):
        example = dataset[split.readable[place]]
        picture, label, name = rgb_of(example["image"], is_rgb), example["label"], example["name"]
        factor = min(1.0, _TILE / max(label.shape))
        size = tuple(max(1, round(length * factor)) for length in label.shape)
        reduced = resize({"image": picture, "label": label}, size)
        tiles += [reduced["image"], overlay(reduced["image"], reduced["label"], dataset.class_table)]
        captions += [name if len(name) <= _NAME else f"…{name[1 - _NAME :]}", ""]
    columns = 2 * min(_PAIRS, len(tiles) // 2)
    rows = -(-len(tiles) // columns)
    missing = rows * columns - len(tiles)
    cells: list[np.ndarray | None] = [*tiles, *[None] * missing]
    captions += [""] * missing
    starts = range(0, len(cells), columns)
    return picture_grid(
        [cells[start : start + columns] for start in starts],
        ("image", "labels") * (columns // 2),
        [captions[start : start + columns] for start in starts],
        dataset.class_table,
    )


def choose_examples(occurs: np.ndarray, count: int) -> list[int]:
    """Returns up to `count` examples, in order: such that every class occurs, and then spread evenly.

    Args:
      occurs: bool [N, K], whether each class occurs in each of the examples.
      count: at least 1.
    """
    length = len(occurs)
    chosen: list[int] = []
    missing = occurs.any(axis=0)
    while missing.any() and len(chosen) < count:
        best = int((occurs & missing).sum(axis=1).argmax())
        chosen.append(best)
        missing &= ~occurs[best]
    for place in np.linspace(0, length - 1, min(count, length)).round().astype(int).tolist():
        if len(chosen) < count and place not in chosen:
            chosen.append(place)
    return sorted(chosen)


def draw_classes(summary: Summary) -> Image.Image:
    """Draws each class's share of the pixels and of the images in each split; raises InputError without matplotlib."""
    splits = summary.splits.values()
    return draw_class_shares(
        summary.class_table.names,
        {split.name: (100 * split.shares()).tolist() for split in splits},
        {split.name: (100 * split.images[:-1] / max(split.sizes.total(), 1)).tolist() for split in splits},
        f"{summary.name}: {', '.join(f'{split.name} {split.examples}' for split in splits)} images",
    )
