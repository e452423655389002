"""Draws the confusion matrix of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from segnet_jax.visualize.style import INK, OUTLINE, PAPER, line_height, load_font

_MARGIN = 12
_SMALLEST_CELL, _LARGEST_CELL, _WIDTH = 28, 56, 1100
_EMPTY = (226, 226, 226)
_FULL = np.array((8, 64, 129))


def row_shares(confusion: np.ndarray) -> np.ndarray:
    """Divides each row by its sum: which share of a class's pixels was predicted as which.

    Args:
      confusion: int64 [K, K], rows ground truth, columns prediction.

    Returns:
      float64 [K, K]; rows of classes without pixels are NaN.
    """
    totals = confusion.sum(axis=1, keepdims=True)
    return np.divide(confusion, totals, out=np.full(confusion.shape, np.nan), where=totals > 0)


def draw_confusion(confusion: np.ndarray, names: Sequence[str], title: str) -> Image.Image:
    """Draws the shares of `row_shares` in %, rounded; what rounds to 0 is left empty.

    At the right stands the share of each class in the labelled pixels. The row of a class without pixels is gray.

    Args:
      confusion: int64 [K, K], rows ground truth, columns prediction.
      names: the K class names.
      title: the first line above the matrix.

    Returns:
      RGB.
    """
    shares = row_shares(confusion)
    totals = confusion.sum(axis=1)
    pixels = [f"{100 * total / totals.sum():.1f}" if total else "none" for total in totals]
    cell = int(np.clip(_WIDTH // len(names), _SMALLEST_CELL, _LARGEST_CELL))
    heading, letters, numbers = load_font(18), load_font(min(cell // 3 + 5, 17)), load_font(cell // 3 + 3)
    explanation = "% of the pixels of a true class (row) by predicted class (column)"
    line, first_line = line_height(letters), line_height(heading)
    longest = int(max(map(letters.getlength, names))) + 10
    left, top = _MARGIN + line + longest + 6, _MARGIN + first_line + 2 * line + longest
    right, bottom = left + cell * len(names), top + cell * len(names)
    end = right + int(max(letters.getlength(text) for text in (*pixels, "pixels, %"))) + 10
    width = max(end, *(_MARGIN + int(font.getlength(s)) for s, font in ((title, heading), (explanation, letters))))
    picture = Image.new("RGB", (width + _MARGIN, bottom + _MARGIN), PAPER)
    draw = ImageDraw.Draw(picture)
    draw.text((_MARGIN, _MARGIN), title, INK, heading)
    draw.text((_MARGIN, _MARGIN + first_line), explanation, INK, letters)
    draw.text(((left + right) / 2, _MARGIN + first_line + 1.5 * line), "prediction", INK, letters, anchor="mm")
    draw.text((end, top - line / 2), "pixels, %", INK, letters, anchor="rm")
    upright = _upright("ground truth", letters)
    picture.paste(upright, (_MARGIN, (top + bottom - upright.height) // 2))
    for k, name in enumerate(names):
        middle = int((k + 0.5) * cell)
        draw.text((left - 6, top + middle), name, INK, letters, anchor="rm")
        draw.text((end, top + middle), pixels[k], INK, letters, anchor="rm")
        upright = _upright(name, letters)
        picture.paste(upright, (left + middle - upright.width // 2, top - 6 - upright.height))
    for row, column in np.ndindex(*shares.shape):
        share = shares[row, column]
        x, y = left + column * cell, top + row * cell
        color = _EMPTY if np.isnan(share) else tuple(np.rint(255 + (_FULL - 255) * share).astype(int).tolist())
        draw.rectangle((x, y, x + cell, y + cell), color, _EMPTY)
        if share > 0.005:
            text = PAPER if share > 0.5 else INK
            draw.text((x + cell / 2, y + cell / 2), f"{100 * share:.0f}", text, numbers, anchor="mm")
    for k in range(len(names)):
        draw.rectangle((left + k * cell, top + k * cell, left + (k + 1) * cell, top + (k + 1) * cell), None, OUTLINE)
    return picture


def _upright(text: str, font: ImageFont.FreeTypeFont) -> Image.Image:
    """Returns a text that reads from below to above."""
    picture = Image.new("RGB", (int(np.ceil(font.getlength(text))), line_height(font)), PAPER)
    ImageDraw.Draw(picture).text((0, picture.height / 2), text, INK, font, anchor="lm")
    return picture.transpose(Image.Transpose.ROTATE_90)
