"""Metrics that compare the restored picture with its hazy input."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from unhaze.metrics.functional.damage import chroma_shift, clipped, lightness_change, ring
from unhaze.metrics.metric import Metric, MetricInfo

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["ChromaShift", "Clipped", "LightnessChange", "Ring"]


def _info(name: str, color_space: str, source: str, largest: float, unit: str = "") -> MetricInfo:
    return MetricInfo(
        name=name,
        higher_is_better=False,
        needs_target=False,
        needs_hazy=True,
        differentiable=False,
        color_space=color_space,
        source=source,
        range=(0.0, largest),
        unit=unit,
    )


class Clipped(Metric):
    """Newly clipped pixels [%]."""

    info = _info("clipped", "RGB, 8 bit", "unhaze: pixels with a channel at 0 or 255 that had none before", 100.0, "%")

    def score(self, preds: Tensor, target: Tensor | None = None, *, hazy: Tensor | None = None) -> Tensor:
        """See :meth:`Metric.score`; (B, 3, H, W) ``preds`` and ``hazy`` to (B,)."""
        return clipped(preds, self._needed(hazy, "hazy"))


class ChromaShift(Metric):
    """Mean CIELAB chroma change."""

    info = _info(
        "chroma_shift",
        "CIELAB (D65) of sRGB",
        "unhaze: mean distance in the (a*, b*) plane to the hazy input",
        math.inf,
    )

    def score(self, preds: Tensor, target: Tensor | None = None, *, hazy: Tensor | None = None) -> Tensor:
        """See :meth:`Metric.score`; (B, 3, H, W) ``preds`` and ``hazy`` to (B,)."""
        return chroma_shift(preds, self._needed(hazy, "hazy"))


class LightnessChange(Metric):
    """Mean change of CIELAB lightness."""

    info = MetricInfo(
        name="lightness_change",
        higher_is_better=True,
        needs_target=False,
        needs_hazy=True,
        differentiable=False,
        color_space="L* of CIELAB (D65) of sRGB",
        source="unhaze: mean of L* less that of the hazy input; negative is darker",
        range=(-100.0, 100.0),
    )

    def score(self, preds: Tensor, target: Tensor | None = None, *, hazy: Tensor | None = None) -> Tensor:
        """See :meth:`Metric.score`; (B, 3, H, W) ``preds`` and ``hazy`` to (B,)."""
        return lightness_change(preds, self._needed(hazy, "hazy"))


class Ring(Metric):
    """False edges in fog and sky."""

    info = _info(
        "ring",
        "L* of CIELAB (D65) of sRGB, long side 512",
        "unhaze: 99th percentile of new slopes of brightness where the hazy input is smooth",
        math.inf,
    )

    def score(self, preds: Tensor, target: Tensor | None = None, *, hazy: Tensor | None = None) -> Tensor:
        """See :meth:`Metric.score`; (B, 3, H, W) ``preds`` and ``hazy`` to (B,)."""
        return ring(preds, self._needed(hazy, "hazy"))
