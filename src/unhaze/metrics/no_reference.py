"""Metrics that look at the restored picture alone."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from unhaze.metrics.functional.entropy import entropy
from unhaze.metrics.functional.fade import fade_details
from unhaze.metrics.functional.niqe import niqe_details
from unhaze.metrics.functional.piqe import piqe
from unhaze.metrics.metric import Metric, MetricInfo

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["FADE", "NIQE", "PIQE", "Entropy"]


def _info(name: str, color_space: str, source: str, limits: tuple[float, float]) -> MetricInfo:
    return MetricInfo(
        name=name,
        higher_is_better=False,
        needs_target=False,
        needs_hazy=False,
        differentiable=False,
        color_space=color_space,
        source=source,
        range=limits,
    )


class NIQE(Metric):
    """Distance to the statistics of pristine pictures."""

    info = _info(
        "niqe",
        "grey, 8 bit (MATLAB rgb2gray)",
        "Mittal et al., IEEE Signal Processing Letters 2013; UT Austin release, with the flat-area rule",
        (0.0, math.inf),
    )

    def score(self, preds: Tensor, target: Tensor | None = None, *, hazy: Tensor | None = None) -> Tensor:
        """See :meth:`Metric.score`; (B, 3, H, W) ``preds`` to (B,)."""
        return niqe_details(preds).value


class PIQE(Metric):
    """Share and strength of visible distortion."""

    info = _info(
        "piqe", "grey, 8 bit (OpenCV)", "Venkatanath et al., NCC 2015; MATLAB piqe as ported by pypiqe", (0.0, 100.0)
    )

    def score(self, preds: Tensor, target: Tensor | None = None, *, hazy: Tensor | None = None) -> Tensor:
        """See :meth:`Metric.score`; (B, 3, H, W) ``preds`` to (B,)."""
        return piqe(preds)


class FADE(Metric):
    """Perceived fog density."""

    info = _info(
        "fade",
        "RGB, HSV saturation and grey, 8 bit",
        "Choi et al., IEEE TIP 2015; UT Austin release, with the flat-area rule",
        (0.0, math.inf),
    )

    def score(self, preds: Tensor, target: Tensor | None = None, *, hazy: Tensor | None = None) -> Tensor:
        """See :meth:`Metric.score`; (B, 3, H, W) ``preds`` to (B,)."""
        return fade_details(preds).value


class Entropy(Metric):
    """How evenly the grey values are used."""

    info = MetricInfo(
        name="entropy",
        higher_is_better=True,
        needs_target=False,
        needs_hazy=False,
        differentiable=False,
        color_space="grey, 8 bit (MATLAB rgb2gray)",
        source="Shannon, Bell System Technical Journal 1948; MATLAB entropy",
        range=(0.0, 8.0),
        unit="bit",
    )

    def score(self, preds: Tensor, target: Tensor | None = None, *, hazy: Tensor | None = None) -> Tensor:
        """See :meth:`Metric.score`; (B, 3, H, W) ``preds`` to (B,)."""
        return entropy(preds)
