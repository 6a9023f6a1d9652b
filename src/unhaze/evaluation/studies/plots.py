"""Curves over levels of haze, as SVG or PNG.

A file is a function of the result, down to the bytes, for one set of installed versions.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from unhaze.errors import MissingDependencyError, UnknownNameError, UsageError
from unhaze.evaluation.studies.spread import Spread

if TYPE_CHECKING:
    from unhaze.evaluation.studies.consistency import Consistency, Measure
    from unhaze.evaluation.studies.divergence import Divergence

__all__ = [
    "FORMATS",
    "MEASURE_LABELS",
    "Curve",
    "Panel",
    "draw_curves",
    "plot_consistency",
    "plot_divergence",
]

FORMATS = ("svg", "png")

MEASURE_LABELS: dict[Measure, str] = {
    "relative": "relative L2 distance",
    "cosine": "1 - cosine",
    "scene": "distance / distance to another scene",
}

_COLUMNS = 4


@dataclass(frozen=True, slots=True)
class Curve:
    """One line of a panel: a label, and a spread for each level."""

    label: str
    points: Sequence[Spread]


@dataclass(frozen=True, slots=True)
class Panel:
    """One set of axes."""

    title: str
    curves: Sequence[Curve]


def plot_consistency(result: Consistency, measure: Measure, format: str = "svg") -> bytes:
    """One panel per probe and one curve per stage, with bootstrap intervals; all panels have one scale.

    Controls share a panel.

    Raises:
        MissingDependencyError: matplotlib is not installed.
        UsageError: There is nothing to draw, or no such format.
    """
    curves: dict[str, list[Curve]] = {}
    for stage in result.stages:
        points = [stage.spread(measure, level) for level in range(len(result.betas))]
        if not all(math.isnan(point.mean) for point in points):
            panel = "controls made by hand" if stage.weights == "none" else stage.probe
            curves.setdefault(panel, []).append(Curve(stage.stage, points))
    panels = [Panel(name, found) for name, found in curves.items()]
    return draw_curves(result.betas, MEASURE_LABELS[measure], panels, format, shared=True)


def plot_divergence(result: Divergence, format: str = "svg") -> bytes:
    """One panel per definition and one curve per estimator, with bootstrap intervals.

    Raises:
        MissingDependencyError: matplotlib is not installed.
        UsageError: There is nothing to draw, or no such format.
    """
    from unhaze.evaluation.studies.divergence import DEFINITIONS

    levels = range(len(result.betas))
    panels = [
        Panel(
            definition,
            [Curve(each.name, [each.spread(definition, level) for level in levels]) for each in result.estimators],
        )
        for definition in DEFINITIONS
    ]
    return draw_curves(result.betas, "KL(clear || hazy) [nat]", panels, format, shared=False)


def draw_curves(
    betas: Sequence[float], label: str, panels: Sequence[Panel], format: str = "svg", *, shared: bool
) -> bytes:
    """Panels of curves over the scattering coefficient.

    Args:
        betas: Scattering coefficients [1/m].
        label: Label of the vertical axes.
        panels: At least one.
        format: ``"svg"`` or ``"png"``.
        shared: Whether all panels have one vertical scale.

    Raises:
        MissingDependencyError: matplotlib is not installed.
        UsageError: There is nothing to draw, or no such format.
    """
    if format not in FORMATS:
        raise UnknownNameError("format of plots", format, FORMATS)
    if not panels:
        raise UsageError("There is nothing to draw; measure at least one source.")
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingDependencyError("matplotlib", "eval", "draw curves") from error
    columns = min(_COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(3.4 * columns, 3.0 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=shared).ravel()
    for axes, panel in zip(grid, panels, strict=False):
        _draw(axes, betas, panel)
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    for axes in grid[: len(panels)][-columns:]:
        axes.tick_params(labelbottom=True)  # also above a place that is left empty
    figure.supxlabel("scattering coefficient [1/m]", fontsize=9)
    figure.supylabel(label, fontsize=9)
    stream = io.BytesIO()
    # text stays text, which is small; the salt makes identifiers the same in every run
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "unhaze", "font.sans-serif": ["DejaVu Sans"]}):
        metadata = {"Date": None} if format == "svg" else {"Software": None}
        figure.savefig(stream, format=format, dpi=100, metadata=metadata)
    # the same drawing to a tenth of a point and without indentation, in half the bytes
    return (
        re.sub(rb"\n +", b"\n", re.sub(rb"(\d\.\d)\d+", rb"\1", stream.getvalue()))
        if format == "svg"
        else stream.getvalue()
    )


def _draw(axes: Any, betas: Sequence[float], panel: Panel) -> None:
    import matplotlib as mpl

    colors = mpl.colormaps["viridis"]
    for number, curve in enumerate(panel.curves):
        color = colors(0.92 * number / max(1, len(panel.curves) - 1))
        axes.plot(betas, [p.mean for p in curve.points], lw=1.2, color=color, label=curve.label)
        if not any(math.isnan(p.low) for p in curve.points):
            lows, highs = ([getattr(p, side) for p in curve.points] for side in ("low", "high"))
            axes.fill_between(betas, lows, highs, color=color, alpha=0.2, lw=0)
    axes.set_title(panel.title, fontsize=9, parse_math=False)
    axes.set_ylim(bottom=0)
    axes.locator_params(nbins=4)
    axes.tick_params(labelsize=7)
    axes.legend(fontsize=6, frameon=False, labelspacing=0.2)
