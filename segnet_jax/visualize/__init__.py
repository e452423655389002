"""Pictures: of labels and predictions here, of a run's curves, confusion matrix and class scores in its modules."""

from segnet_jax.visualize.label_maps import colorize, heat_map, mark_errors, overlay, rgb_of, save_label_png
from segnet_jax.visualize.picture_file import save_picture
from segnet_jax.visualize.sheet import overlay_with_legend, picture_grid, prediction_sheet

__all__ = [
    "colorize",
    "heat_map",
    "mark_errors",
    "overlay",
    "overlay_with_legend",
    "picture_grid",
    "prediction_sheet",
    "rgb_of",
    "save_label_png",
    "save_picture",
]
