"""Draws label maps: in colours, as overlays, as PNG files with a palette, and on sheets beside their images."""

from __future__ import annotations

import functools
import io
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from segnet_jax.data.class_table import VOID, ClassTable
from segnet_jax.runtime.files import write_atomically, write_errors

_TILE_SIZE = 480
_GUTTER = 4
_MARGIN = 12
_HEADING_SIZES = range(22, 8, -1)
_GRID_FONT_SIZE = 15
_LEGEND_SIZES = range(12, 20)
_PAPER = (255, 255, 255)
_INK = (32, 32, 32)
_OUTLINE = (128, 128, 128)
_HEADINGS: tuple[str, ...] = ("image", "ground truth", "prediction", "overlay")
# From little to much: each colour is lighter than the one before, so that it reads in gray too.
_HEAT = np.array([(0, 0, 12), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)])


def rgb_of(image: np.ndarray) -> np.ndarray:
    """Returns the first three channels of an image [H, W, channels]; of fewer the first, three times."""
    return image[..., :3] if image.shape[-1] >= 3 else np.repeat(image[..., :1], 3, axis=-1)


def colorize(label: np.ndarray, class_table: ClassTable) -> np.ndarray:
    """Paints a label map in its classes' colours.

    Args:
      label: integers [H, W]; whatever is outside 0..K-1, VOID among it, gets the void colour.
      class_table: the classes.

    Returns:
      uint8 [H, W, 3] RGB.
    """
    colors = np.vstack([class_table.colors, np.array([class_table.void_color], np.uint8)])
    return colors[np.where(_is_class(label, class_table), label, class_table.num_classes)]


def overlay(image: np.ndarray, label: np.ndarray, class_table: ClassTable, alpha: float = 0.5) -> np.ndarray:
    """Blends a label map's colours into the image; void pixels show the image alone.

    Args:
      image: uint8 [H, W, 3] RGB.
      label: integers [H, W], as in `colorize`.
      class_table: the classes.
      alpha: share of the class colour, 0..1.

    Returns:
      uint8 [H, W, 3] RGB.

    Raises:
      ValueError: if the sizes differ.
    """
    _check_sizes(image, label)
    blend = (1 - alpha) * image + alpha * colorize(label, class_table)
    painted = _is_class(label, class_table)[..., None]
    return np.where(painted, np.rint(blend), image).astype(np.uint8)


def heat_map(values: np.ndarray, greatest: float) -> np.ndarray:
    """Paints numbers from black (0) over purple, red and orange to light yellow (`greatest` and above).

    Args:
      values: numbers [H, W].
      greatest: the value at the upper end; where it is 0, everything is black.

    Returns:
      uint8 [H, W, 3] RGB.
    """
    share = np.clip(values / greatest, 0, 1) if greatest > 0 else np.zeros(values.shape)
    places = np.linspace(0, 1, len(_HEAT))
    channels = [np.interp(share, places, _HEAT[:, channel]) for channel in range(3)]
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)


def save_label_png(label: np.ndarray, path: str | os.PathLike[str], class_table: ClassTable) -> None:
    """Writes a label map as a PNG of labels that viewers show in the class colours; the file appears when it is whole.

    Args:
      label: integers [H, W], 0..K-1 or VOID.
      path: the file to write, in an existing folder.
      class_table: the classes, whose colours become the palette (mode P); VOID and unused entries get the void colour.

    Raises:
      ValueError: if the label holds another value.
      InputError: if the file cannot be written.
    """
    stray = label[~_is_class(label, class_table) & (label != VOID)]
    if stray.size:
        raise ValueError(f"label value {stray.flat[0]} is neither VOID nor one of {class_table.num_classes} classes.")
    palette = np.full((256, 3), class_table.void_color, np.uint8)
    palette[: class_table.num_classes] = class_table.colors
    picture = Image.fromarray(label.astype(np.uint8))
    picture.putpalette(palette.tobytes())
    save_picture(picture, path)


def save_picture(picture: Image.Image, path: str | os.PathLike[str]) -> None:
    """Writes a picture, in the format of the file's suffix; the file appears when it is whole.

    Raises:
      InputError: if the file cannot be written.
    """
    content = io.BytesIO()
    picture.save(content, Image.registered_extensions()[Path(path).suffix.lower()])
    with write_errors(path, advice="choose a file in an existing folder that has room"):
        write_atomically(Path(path), content.getvalue())


def overlay_with_legend(
    image: np.ndarray, label: np.ndarray, class_table: ClassTable, alpha: float = 0.5
) -> Image.Image:
    """Draws an `overlay` above a legend of the classes that occur in it; the arguments are those of `overlay`."""
    picture = Image.fromarray(overlay(image, label, class_table, alpha))
    shown = np.unique(label[_is_class(label, class_table)])
    legend = _legend(
        class_table, max(picture.width, 160), has_void=not _is_class(label, class_table).all(), shown=shown
    )
    sheet = Image.new("RGB", (max(picture.width, legend.width), picture.height + legend.height + 2 * _GUTTER), _PAPER)
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
    """Draws image, ground truth, prediction, overlay and, if given, uncertainty side by side, a row per image.

    The overlay shows the prediction in the image. A legend below names the colours; those of the uncertainty are the
    same in the whole sheet. Small images are enlarged by a whole factor, large ones reduced, to fit 480x480 pixels.

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
    has_void = any(not _is_class(m, class_table).all() for m in (*labels, *predictions))
    legend = functools.partial(_legend, class_table, has_void=has_void, greatest=greatest)
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
    legend = None if class_table is None else functools.partial(_legend, class_table, has_void=True)
    return _lay_out(tiles, headings, _font(_GRID_FONT_SIZE), captions, legend)


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
    line = _line_height(font)
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
    sheet = Image.new("RGB", (width + 2 * _MARGIN, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    lefts = [_MARGIN + column * (column_width + _GUTTER) for column in range(len(headings))]
    for left, heading in zip(lefts, headings, strict=True):
        draw.text((left + column_width / 2, (_MARGIN + line) / 2), heading, _INK, font, anchor="mm")
    top = _MARGIN + line
    for number, row in enumerate(rows):
        for column, (left, tile) in enumerate(zip(lefts, row, strict=True)):
            if tile is not None:
                sheet.paste(tile, (left + (column_width - tile.width) // 2, top))
            if captions:
                middle = (left + column_width / 2, top + tile_heights[number] + line / 2)
                draw.text(middle, captions[number][column], _INK, font, anchor="mm")
        top += row_heights[number]
    if footer is not None:
        sheet.paste(footer, (_MARGIN, bottom + _MARGIN))
    return sheet


def _enlarged(picture: np.ndarray) -> Image.Image:
    """Returns a small picture enlarged by a whole factor, about 240 pixels long; another one as it is."""
    image = Image.fromarray(rgb_of(picture))
    factor = max(1, _TILE_SIZE // 2 // max(image.size))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def _is_class(label: np.ndarray, class_table: ClassTable) -> np.ndarray:
    return (label >= 0) & (label < class_table.num_classes)


def _check_sizes(image: np.ndarray, *labels: np.ndarray) -> None:
    for label in labels:
        if image.shape != (*label.shape, 3):
            raise ValueError(f"the image is {image.shape}, its label or prediction {label.shape}.")


def _prediction_tiles(
    image: np.ndarray, label: np.ndarray, prediction: np.ndarray, class_table: ClassTable, more: Sequence[np.ndarray]
) -> list[Image.Image]:
    """Returns one tile per heading, all of one size; `more` are uint8 [H, W, 3]."""
    image = rgb_of(image)
    _check_sizes(image, label, prediction, *(picture[..., 0] for picture in more))
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
            (overlay(image, prediction, class_table), smooth),
            *((picture, smooth) for picture in more),
        )
    ]


def _legend(
    class_table: ClassTable,
    width: int,
    *,
    has_void: bool,
    greatest: float | None = None,
    shown: Iterable[int] | None = None,
) -> Image.Image:
    """Draws colour chips with names in as many equal columns as fit, and below a heat map's scale up to `greatest`.

    `shown` are the classes to name; None names all.
    """
    classes = range(class_table.num_classes) if shown is None else shown
    entries = [(class_table.names[k], tuple(class_table.colors[k].tolist())) for k in classes]
    if has_void:
        entries.append(("void", class_table.void_color))
    # Sheets are looked at whole, so the text grows with them.
    font = _font(_LEGEND_SIZES[min(width // 160, len(_LEGEND_SIZES) - 1)])
    line = _line_height(font)
    chip = line - 8
    longest = max(font.getlength(name) for name, _ in entries)
    columns = max(1, min(len(entries), int(width / (chip + longest + 24))))
    # Filling whole rows from the top keeps the order of the table readable from left to right.
    rows = -(-len(entries) // columns)
    legend = Image.new("RGB", (width, (rows + (greatest is not None)) * line), _PAPER)
    draw = ImageDraw.Draw(legend)
    for index, (name, color) in enumerate(entries):
        left, top = index % columns * (width // columns), index // columns * line
        draw.rectangle((left, top + 4, left + chip, top + 4 + chip), color, _OUTLINE)
        draw.text((left + chip + 8, top + line / 2), name, _INK, font, anchor="lm")
    if greatest is not None:
        ramp = heat_map(np.tile(np.linspace(0, 1, 6 * chip), (chip, 1)), 1.0)
        top, right = rows * line, ramp.shape[1]
        legend.paste(Image.fromarray(ramp), (0, top + 4))
        text = f"uncertainty 0 to {greatest:.2g} (variance of the probabilities, mean over classes)"
        draw.text((right + 8, top + line / 2), text, _INK, font, anchor="lm")
    return legend


def _fitting_font(headings: Sequence[str], width: int) -> ImageFont.FreeTypeFont:
    """Returns the largest heading font that keeps every heading within `width` pixels, or the smallest."""
    for size in _HEADING_SIZES:
        font = _font(size)
        if max(map(font.getlength, headings)) <= width:
            break
    return font


def _font(size: int) -> ImageFont.FreeTypeFont:
    return cast(ImageFont.FreeTypeFont, ImageFont.load_default(size=size))


def _line_height(font: ImageFont.FreeTypeFont) -> int:
    return sum(font.getmetrics()) + 4
