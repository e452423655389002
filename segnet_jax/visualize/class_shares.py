"""Draws how often each class of a data set occurs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from PIL import Image

from segnet_jax.visualize.figure import new_figure, render, style_bars

_COLORS = ("#1f5fa8", "#8fb8de", "#9aa0a6", "#d08c3c")
_HEIGHT = 0.8  # of the bars of a class together


def draw_class_shares(
    names: Sequence[str], pixels: Mapping[str, Sequence[float]], images: Mapping[str, Sequence[float]], title: str
) -> Image.Image:
    """Draws each class's share of the labelled pixels, and of the images that show it, a bar for each split.

    "none" stands where a class does not occur.

    Args:
      names: of the classes.
      pixels: for each split, by name, the share of each class in the labelled pixels, in %.
      images: for the same splits the share of the images in which it occurs, in %.
      title: of the picture.

    Raises:
      InputError: if matplotlib is not installed.
    """
    height = _HEIGHT / len(pixels)
    figure = new_figure(10.0, 1.3 + len(names) * max(0.3, 0.17 * len(pixels)))
    for axes, shares, label in zip(
        figure.subplots(1, 2, sharey=True),
        (pixels, images),
        ("labelled pixels, %", "images that show it, %"),
        strict=True,
    ):
        for number, (split, values) in enumerate(shares.items()):
            places = [k + (number + 0.5) * height - _HEIGHT / 2 for k in range(len(names))]
            bars = axes.barh(places, values, height, color=_COLORS[number % len(_COLORS)], label=split)
            texts = [f"{value:.3g}" if value else "none" for value in values]
            axes.bar_label(bars, texts, padding=3, fontsize=7)
        axes.set_xlim(0, 1.15 * max(1e-9, *(max(values) for values in shares.values())))
        axes.set_xlabel(label)
        style_bars(axes)
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.set_ylim(len(names) - 0.5, -0.5)
    figure.suptitle(title, fontsize=11)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(pixels), frameon=False, fontsize=9)
    return render(figure)
