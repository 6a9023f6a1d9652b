"""What studies of many small trainings share: scenes of places apart, intervals over seeds, and scores as dots."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from math import sqrt
from pathlib import Path
from typing import Any
from unittest.mock import patch

__all__ = ["interval", "scenes_of_places", "write_dots"]

SCENE_SIDE = 256  # [px], long side of a scene; views are much smaller

Panel = Mapping[str, Sequence[float]]  # variant to the scores of its seeds; the first is the reference


@contextmanager
def scenes_of_places() -> Iterator[None]:
    """While it lasts, ``synthetic`` has the scenes with depth of whole places, read once, and each sample made once.

    A place is trained on or judged on, never both (``unhaze.default.scenes``): frames of one place look alike.
    """
    from unhaze.data.synthetic.dataset import SyntheticDataset
    from unhaze.data.synthetic.scenes import SceneBank

    made: dict[Any, Any] = {}
    make = SyntheticDataset.at

    def at(self: SyntheticDataset, index: int, epoch: int = 0) -> Any:
        key = (self.split, self.seed, self.size, self.config, index, epoch)
        if key not in made:
            made[key] = make(self, index, epoch)
        return made[key]

    with patch.object(SceneBank, "load", _load_places), patch.object(SyntheticDataset, "at", at):
        yield


@cache
def _load_places(folder: str | Path, split: str) -> Any:
    from unhaze.data.synthetic.scenes import SceneBank
    from unhaze.default.scenes import SOURCES, read_scene, scene_names

    groups = {"room": "rgbd", "road": "camvid"}
    return SceneBank(
        replace(read_scene(Path(folder), name, each.kind, SCENE_SIDE), group=groups[each.kind])
        for each in SOURCES
        if each.split == split and each.kind in groups
        for name in scene_names(Path(folder), each)
    )


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and half the width of its 95 % interval by Student's t; NaN of less than two values."""
    from scipy.stats import t

    count, mean = len(values), sum(values) / len(values)
    if count < 2:
        return mean, float("nan")
    deviation = sqrt(sum((value - mean) ** 2 for value in values) / (count - 1))
    return mean, float(t.ppf(0.975, count - 1)) * deviation / sqrt(count)


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
