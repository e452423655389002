"""Draws sheets: images beside their labels and predictions, with headings and a legend."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from segnet_jax.data.class_table import ClassTable, Color
from segnet_jax.visualize.label_maps import (
    WRONG_COLOR,
    check_sizes,
    colorize,
    heat_map,
    is_class,
    mark_errors,
    overlay,
    rgb_of,
)
from segnet_jax.visualize.style import INK, OUTLINE, PAPER, line_height, load_font

_TILE_SIZE = 480
_GUTTER = 4
_MARGIN = 12
_HEADING_SIZES = range(22, 8, -1)
_GRID_FONT_SIZE = 15
_LEGEND_SIZES = range(12, 20)
_HEADINGS: tuple[str, ...] = ("image", "ground truth", "prediction", "errors", "overlay")


def overlay_with_legend(
    image: np.ndarray, label: np.ndarray, class_table: ClassTable, alpha: float = 0.5
) -> Image.Image:
    """Draws an `overlay` above a legend of the classes that occur in it; the arguments are those of `overlay`."""
    picture = Image.fromarray(overlay(image, label, class_table, alpha))
    shown = np.unique(label[is_class(label, class_table)])
    more = () if is_class(label, class_table).all() else (_void(class_table),)
    legend = _legend(class_table, max(picture.width, 160), more, shown=shown)
    sheet = Image.new("RGB", (max(picture.width, legend.width), picture.height + legend.height + 2 * _GUTTER), PAPER)
    sheet.paste(picture, (0, 0))
    sheet.paste(legend, (0, picture.height + _GUTTER))
    return sheet


def prediction_sheet(
    images: Sequence[np.ndarray],
    labels: Sequence[np.ndarray],
    predictions: Sequence[np.ndarray],
    class_table: ClassTable,
    uncertainties: Sequence[np.ndarray] = (),
) -> Image.Image:
    """Draws image, ground truth, prediction, errors, overlay and, if given, uncertainty side by side, a row per image.

    The errors are the wrong pixels, marked in a pale image; the overlay shows the prediction in the image. A legend
    below names the colours; those of the uncertainty are the same in the whole sheet. Small images are enlarged by a
    whole factor, large ones reduced, to fit 480x480 pixels.

    Args:
      images: uint8 [H, W, 3] RGB, or [H, W, 1] gray, each; sizes may differ between the images.
      labels: integers [H, W] each.
      predictions: integers [H, W] each.
      class_table: the classes.
      uncertainties: numbers [H, W] each, at least 0; () leaves the column out.

    Returns:
      The sheet, RGB.

    Raises:
      ValueError: if there is no image, or the numbers or the sizes of what belongs together do not agree.
    """
    headings, greatest = _HEADINGS, None
    heat_maps: list[list[np.ndarray]] = [[] for _ in images]
    if len(uncertainties):
        headings = (*_HEADINGS, "uncertainty")
        greatest = float(max(uncertainty.max() for uncertainty in uncertainties))
        heat_maps = [[heat_map(uncertainty, greatest)] for uncertainty in uncertainties]
    rows = [
        _prediction_tiles(image, label, prediction, class_table, more)
        for image, label, prediction, more in zip(images, labels, predictions, heat_maps, strict=True)
    ]
    has_void = any(not is_class(m, class_table).all() for m in (*labels, *predictions))
    more = [*([_void(class_table)] if has_void else []), ("wrong", WRONG_COLOR)]
    legend = functools.partial(_legend, class_table, more=more, greatest=greatest)
    return _lay_out(rows, headings, _fitting_font(headings, max(row[0].width for row in rows)), legend=legend)


def picture_grid(
    rows: Sequence[Sequence[np.ndarray | None]],
    headings: Sequence[str],
    captions: Sequence[Sequence[str]] = (),
    class_table: ClassTable | None = None,
) -> Image.Image:
    """Draws pictures in rows and columns; small ones are enlarged by a whole factor to fit 240x240 pixels.

    Args:
      rows: uint8 [H, W, 3] RGB, or [H, W, 1] gray, each; None leaves the place empty.
      headings: one above each column.
      captions: one below each picture, in rows as the pictures are; () has none.
      class_table: the classes whose colours a legend below names; None has no legend.

    Returns:
      The sheet, RGB.

    Raises:
      ValueError: if a row has another length than the headings.
    """
    tiles = [[None if picture is None else _enlarged(picture) for picture in row] for row in rows]
    legend = None if class_table is None else functools.partial(_legend, class_table, more=[_void(class_table)])
    return _lay_out(tiles, headings, load_font(_GRID_FONT_SIZE), captions, legend)


def _lay_out(
    rows: Sequence[Sequence[Image.Image | None]],
    headings: Sequence[str],
    font: ImageFont.FreeTypeFont,
    captions: Sequence[Sequence[str]] = (),
    legend: Callable[[int], Image.Image] | None = None,
) -> Image.Image:
    """Puts tiles below their headings and above their captions, in columns of one width, and the legend below all.

    The arguments are those of `picture_grid`; `legend` draws at a width in pixels.
    """
    line = line_height(font)
    texts = [*headings, *(text for row in captions for text in row)]
    column_width = max(
        *(tile.width for row in rows for tile in row if tile is not None),
        *(int(np.ceil(font.getlength(text))) + 2 * _GUTTER for text in texts),
    )
    width = len(headings) * (column_width + _GUTTER) - _GUTTER
    footer = None if legend is None else legend(width)
    tile_heights = [max(tile.height for tile in row if tile is not None) for row in rows]
    row_heights = [height + (line if captions else 0) + _GUTTER for height in tile_heights]
    bottom = _MARGIN + line + sum(row_heights) - _GUTTER
    height = bottom + _MARGIN + (0 if footer is None else footer.height + _MARGIN)
    sheet = Image.new("RGB", (width + 2 * _MARGIN, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    lefts = [_MARGIN + column * (column_width + _GUTTER) for column in range(len(headings))]
    for left, heading in zip(lefts, headings, strict=True):
        draw.text((left + column_width / 2, (_MARGIN + line) / 2), heading, INK, font, anchor="mm")
    top = _MARGIN + line
    for number, row in enumerate(rows):
        for column, (left, tile) in enumerate(zip(lefts, row, strict=True)):
            if tile is not None:
                sheet.paste(tile, (left + (column_width - tile.width) // 2, top))
            if captions:
                middle = (left + column_width / 2, top + tile_heights[number] + line / 2)
                draw.text(middle, captions[number][column], INK, font, anchor="mm")
        top += row_heights[number]
    if footer is not None:
        sheet.paste(footer, (_MARGIN, bottom + _MARGIN))
    return sheet


def _enlarged(picture: np.ndarray) -> Image.Image:
    """Returns a small picture enlarged by a whole factor, about 240 pixels long; another one as it is."""
    image = Image.fromarray(rgb_of(picture))
    factor = max(1, _TILE_SIZE // 2 // max(image.size))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def _prediction_tiles(
    image: np.ndarray, label: np.ndarray, prediction: np.ndarray, class_table: ClassTable, more: Sequence[np.ndarray]
) -> list[Image.Image]:
    """Returns one tile per heading, all of one size; `more` are uint8 [H, W, 3]."""
    image = rgb_of(image)
    check_sizes(image, label, prediction, *(picture[..., 0] for picture in more))
    height, width = label.shape
    scale = _TILE_SIZE / max(height, width)
    scale = int(scale) if scale > 1 else scale
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    # Averaging class colours would show colours of no class, so label maps are sampled.
    smooth = Image.Resampling.BOX if scale < 1 else Image.Resampling.NEAREST
    sampled = Image.Resampling.NEAREST
    return [
        Image.fromarray(pixels).resize(size, method)
        for pixels, method in (
            (image, smooth),
            (colorize(label, class_table), sampled),
            (colorize(prediction, class_table), sampled),
            (mark_errors(image, label, prediction, class_table), smooth),
            (overlay(image, prediction, class_table), smooth),
            *((picture, smooth) for picture in more),
        )
    ]


def _legend(
    class_table: ClassTable,
    width: int,
    more: Sequence[tuple[str, Color]],
    *,
    greatest: float | None = None,
    shown: Iterable[int] | None = None,
) -> Image.Image:
    """Draws colour chips with names in as many equal columns as fit, and below a heat map's scale up to `greatest`.

    `more` are named after the classes. `shown` are the classes to name; None names all.
    """
    classes = range(class_table.num_classes) if shown is None else shown
    entries = [(class_table.names[k], tuple(class_table.colors[k].tolist())) for k in classes]
    entries += more
    # Sheets are looked at whole, so the text grows with them.
    font = load_font(_LEGEND_SIZES[min(width // 160, len(_LEGEND_SIZES) - 1)])
    line = line_height(font)
    chip = line - 8
    longest = max(font.getlength(name) for name, _ in entries)
    columns = max(1, min(len(entries), int(width / (chip + longest + 24))))
    # Filling whole rows from the top keeps the order of the table readable from left to right.
    rows = -(-len(entries) // columns)
    legend = Image.new("RGB", (width, (rows + (greatest is not None)) * line), PAPER)
    draw = ImageDraw.Draw(legend)
    for index, (name, color) in enumerate(entries):
        left, top = index % columns * (width // columns), index // columns * line
        draw.rectangle((left, top + 4, left + chip, top + 4 + chip), color, OUTLINE)
        draw.text((left + chip + 8, top + line / 2), name, INK, font, anchor="lm")
    if greatest is not None:
        ramp = heat_map(np.tile(np.linspace(0, 1, 6 * chip), (chip, 1)), 1.0)
        top, right = rows * line, ramp.shape[1]
        legend.paste(Image.fromarray(ramp), (0, top + 4))
        text = f"uncertainty 0 to {greatest:.2g} (variance of the probabilities, mean over classes)"
        draw.text((right + 8, top + line / 2), text, INK, font, anchor="lm")
    return legend


def _void(class_table: ClassTable) -> tuple[str, Color]:
    return "void", class_table.void_color


def _fitting_font(headings: Sequence[str], width: int) -> ImageFont.FreeTypeFont:
    """Returns the largest heading font that keeps every heading within `width` pixels, or the smallest."""
    for size in _HEADING_SIZES:
        font = load_font(size)
        if max(map(font.getlength, headings)) <= width:
            break
    return font
