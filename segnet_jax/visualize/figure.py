"""Makes figures with matplotlib, which is imported here alone, and only when one is drawn."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from PIL import Image

from segnet_jax.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GRID_COLOR = "#e4e6e8"


def new_figure(width: float, height: float) -> Figure:
    """Returns an empty figure, sizes in inches of 110 pixels; raises InputError if matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError("Plots need matplotlib; install it with pip install -r requirements-report.txt.") from error
    return Figure(figsize=(width, height), dpi=110, layout="constrained")


def style_bars(axes: Any) -> None:
    """Gives axes with bars that lie a pale grid behind them, and takes their frame away."""
    axes.grid(axis="x", color=GRID_COLOR)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="y", length=0)


def style_steps(axes: Any, last_step: int, ticks: int) -> None:
    """Does the same for axes with curves over steps, from 0 on, with at most so many ticks, such as 20k."""
    from matplotlib.ticker import EngFormatter, MaxNLocator

    axes.grid(color=GRID_COLOR)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlim(0, 1.03 * last_step)
    axes.xaxis.set_major_locator(MaxNLocator(ticks, steps=[1, 2, 5, 10], integer=True))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))


def render(figure: Figure) -> Image.Image:
    """Returns a figure as a picture."""
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return Image.open(content).convert("RGB")
