"""What studies of many small trainings share: scenes that are read once, and scores as dots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

__all__ = ["scenes_read_once", "write_dots"]

Panel = Mapping[str, Sequence[float]]  # variant to the scores of its seeds; the first is the reference


def scenes_read_once() -> AbstractContextManager[Any]:
    """While it lasts, all runs share the scenes; reading them takes longer than many of the runs."""
    from unhaze.data.synthetic.scenes import SceneBank

    return patch.object(SceneBank, "load", cache(SceneBank.load))


def write_dots(path: Path, panels: Mapping[str, Panel], unit: str) -> None:
    """Draw panels side by side into an SVG file: one line per variant, one dot per seed, one panel per network.

    A vertical line marks the mean of each panel's first variant.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    labels = list(dict.fromkeys(label for panel in panels.values() for label in panel))
    places = {label: len(labels) - i for i, label in enumerate(labels)}
    figure = Figure(figsize=(3.2 + 2.2 * len(panels), 0.6 + 0.24 * len(labels)), layout="constrained")
    for i, (title, panel) in enumerate(panels.items()):
        axes = figure.add_subplot(1, len(panels), i + 1)
        first = next(iter(panel.values()))
        axes.axvline(sum(first) / len(first), color="0.7", linewidth=1)
        for label, scores in panel.items():
            axes.plot(scores, [places[label]] * len(scores), "o", markersize=4, color="tab:blue", alpha=0.8)
        axes.set_title(title, fontsize=9)
        axes.set_yticks([places[label] for label in labels], labels if i == 0 else [""] * len(labels), fontsize=8)
        axes.set_ylim(0.4, len(labels) + 0.6)
        axes.tick_params(axis="x", labelsize=8)
        axes.set_xlabel(unit, fontsize=8)
        axes.grid(axis="x", color="0.92")
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "unhaze", "font.sans-serif": ["DejaVu Sans"]}):
        figure.savefig(path, format="svg", metadata={"Date": None})
