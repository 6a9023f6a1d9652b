"""Pictures about scores: scatter plots, error maps, sheets of the worst and best cases.

All files are functions of their arguments, down to the bytes, for one set of installed versions.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from unhaze.errors import MissingDependencyError, UsageError

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

__all__ = [
    "ERROR_SCALE",
    "ScatterPanel",
    "SheetRow",
    "encode_png",
    "error_map",
    "picture_sheet",
    "scatter_plot",
    "to_pixels",
]

Pixels = NDArray[np.uint8]

ERROR_SCALE = 0.25
"""Mean absolute error of RGB, in [0, 1], that the brightest colour of an error map stands for."""

_PANEL_WIDTH, _GAP, _TEXT_HEIGHT = 256, 8, 18
_PAPER, _INK = (255, 255, 255), (20, 20, 20)


@dataclass(frozen=True, slots=True)
class ScatterPanel:
    """One metric of a scatter plot: (N,) scores of the first and the second run on the same pictures."""

    title: str
    first: Sequence[float]
    second: Sequence[float]
    higher_is_better: bool


@dataclass(frozen=True, slots=True)
class SheetRow:
    """One picture of a sheet: a caption, and (H, W, 3) uint8 panels with their headings, in order."""

    caption: str
    panels: Sequence[tuple[str, Pixels]]


def scatter_plot(first: str, second: str, panels: Sequence[ScatterPanel]) -> bytes:
    """Scores of two runs, picture against picture, as a PNG file.

    Points above the diagonal are higher for the second run; the title says which side is better.

    Args:
        first: Label of the run on the horizontal axis.
        second: Label of the run on the vertical axis.
        panels: One per metric.

    Raises:
        MissingDependencyError: matplotlib is not installed.
        UsageError: There is nothing to draw.
    """
    if not panels:
        raise UsageError("A scatter plot needs at least one metric that both runs have.")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingDependencyError("matplotlib", "eval", "draw scatter plots") from error
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(4.2 * columns, 4.2 * rows), layout="constrained")
    FigureCanvasAgg(figure)  # no global state of pyplot, no display
    figure.subplots(rows, columns, squeeze=False)
    for axes, panel in zip(figure.axes, panels, strict=False):
        _draw_scatter(axes, panel, first, second)
    for axes in figure.axes[len(panels) :]:
        axes.set_visible(False)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=100, metadata={"Software": None})
    return stream.getvalue()


def error_map(restored: Tensor, target: Tensor) -> Pixels:
    """Where a result differs from its target.

    Args:
        restored: (1, 3, H, W) RGB in [0, 1].
        target: The same shape.

    Returns:
        (H, W, 3) uint8 RGB: mean absolute error over the channels, dark for 0, bright yellow from
        :data:`ERROR_SCALE` up.
    """
    import cv2

    error = (restored - target).abs().mean(dim=1)[0].numpy()
    levels = (np.clip(error / ERROR_SCALE, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
    colored = cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)
    return np.ascontiguousarray(colored[..., ::-1]).astype(np.uint8, copy=False)


def to_pixels(picture: Tensor) -> Pixels:
    """(1, 3, H, W) in [0, 1] to (H, W, 3) uint8, rounded half up."""
    levels = (picture[0].clamp(0.0, 1.0) * 255.0 + 0.5).floor().numpy()
    return np.ascontiguousarray(levels.transpose(1, 2, 0)).astype(np.uint8)


def picture_sheet(title: str, rows: Sequence[SheetRow]) -> bytes:
    """A sheet of pictures, one row per case, as a PNG file.

    Args:
        title: Printed on top.
        rows: At least one; every panel is scaled to one width.

    Raises:
        UsageError: There is no row.
    """
    from PIL import Image, ImageDraw, ImageFont

    if not rows:
        raise UsageError("A picture sheet needs at least one picture.")
    font = ImageFont.load_default(13)
    strips = []
    for row in rows:
        panels = []
        for _, pixels in row.panels:
            picture = Image.fromarray(pixels)
            height = max(1, round(picture.height * _PANEL_WIDTH / picture.width))
            panels.append(picture.resize((_PANEL_WIDTH, height), Image.Resampling.LANCZOS))
        strips.append((row, panels))
    columns = max(len(panels) for _, panels in strips)
    width = columns * (_PANEL_WIDTH + _GAP) + _GAP
    heights = [2 * _TEXT_HEIGHT + max(panel.height for panel in panels) + _GAP for _, panels in strips]
    sheet = Image.new("RGB", (width, _TEXT_HEIGHT + 2 * _GAP + sum(heights)), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP, _GAP), title, _INK, font)
    top = _TEXT_HEIGHT + 2 * _GAP
    for (row, panels), height in zip(strips, heights, strict=True):
        draw.text((_GAP, top), row.caption, _INK, font)
        for index, ((heading, _), panel) in enumerate(zip(row.panels, panels, strict=True)):
            left = _GAP + index * (_PANEL_WIDTH + _GAP)
            draw.text((left, top + _TEXT_HEIGHT), heading, _INK, font)
            sheet.paste(panel, (left, top + 2 * _TEXT_HEIGHT))
        top += height
    return _png(sheet)


def encode_png(pixels: Pixels) -> bytes:
    """(H, W, 3) uint8 RGB as a PNG file."""
    from PIL import Image

    return _png(Image.fromarray(pixels))


def _png(picture: Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def _draw_scatter(axes: Any, panel: ScatterPanel, first: str, second: str) -> None:
    one, two = np.asarray(panel.first), np.asarray(panel.second)
    low, high = float(min(one.min(), two.min())), float(max(one.max(), two.max()))
    margin = 0.05 * (high - low) or 1.0
    limits = (low - margin, high + margin)
    axes.plot(limits, limits, color="0.6", linewidth=1, zorder=1)
    axes.scatter(one, two, s=14, alpha=0.6, linewidths=0, color="#2a6f97", zorder=2)
    axes.set_xlim(limits)
    axes.set_ylim(limits)
    axes.set_aspect("equal")
    axes.set_xlabel(first, parse_math=False)
    axes.set_ylabel(second, parse_math=False)
    better = "above" if panel.higher_is_better else "below"
    axes.set_title(f"{panel.title}: {second} is better {better} the line", fontsize=9, parse_math=False)
