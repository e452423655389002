"""Holds what the pictures have in common: paper, ink and letters."""

from __future__ import annotations

from typing import cast

from PIL import ImageFont

PAPER = (255, 255, 255)
INK = (32, 32, 32)
OUTLINE = (128, 128, 128)


def load_font(size: int) -> ImageFont.FreeTypeFont:
    """Returns the font at a size in pixels."""
    return cast(ImageFont.FreeTypeFont, ImageFont.load_default(size=size))


def line_height(font: ImageFont.FreeTypeFont) -> int:
    """Returns the height of a line in pixels."""
    return sum(font.getmetrics()) + 4
