"""Metrics that look at the restored picture alone."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

from unhaze.metrics.functional._common import check_images
from unhaze.metrics.functional.brisque import brisque
from unhaze.metrics.functional.clip_iqa import clip_iqa, load_clip_iqa
from unhaze.metrics.functional.entropy import entropy
from unhaze.metrics.functional.fade import fade_details
from unhaze.metrics.functional.musiq import load_musiq, musiq
from unhaze.metrics.functional.nima import load_nima, nima
from unhaze.metrics.functional.niqe import niqe_details
from unhaze.metrics.functional.piqe import piqe
from unhaze.metrics.metric import Metric, MetricInfo

if TYPE_CHECKING:
    import os

    from torch import Tensor

__all__ = ["BRISQUE", "FADE", "MUSIQ", "NIMA", "NIQE", "PIQE", "ClipIQA", "Entropy"]


def _info(
    name: str, color_space: str, source: str, limits: tuple[float, float], *, higher_is_better: bool = False
) -> MetricInfo:
    return MetricInfo(
        name=name,
        higher_is_better=higher_is_better,
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


class BRISQUE(Metric):
    """Distortion as people judged it in the LIVE database."""

    info = _info(
        "brisque",
        "grey, 8 bit (MATLAB rgb2gray)",
        "Mittal et al., IEEE TIP 2012; UT Austin release, with the flat-area rule",
        (-math.inf, math.inf),
    )

    def score(self, preds: Tensor, target: Tensor | None = None, *, hazy: Tensor | None = None) -> Tensor:
        """See :meth:`Metric.score`; (B, 3, H, W) ``preds`` to (B,)."""
        return brisque(preds)


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


class RatingMetric(Metric):
    """Rating by a network that people's ratings taught, with weights that are the user's own.

    Attributes:
        load: Gives the network of a file, by default of the one that its environment variable names.
        rate: (B, 3, H, W) pictures and the network to (B,) ratings.
    """

    load: ClassVar[Any]
    rate: ClassVar[Any]

    def __init__(self, *, weights: str | os.PathLike[str] | None = None) -> None:
        super().__init__()
        self.network = self.load(weights)

    def score(self, preds: Tensor, target: Tensor | None = None, *, hazy: Tensor | None = None) -> Tensor:
        """See :meth:`Metric.score`; (B, 3, H, W) ``preds`` to (B,)."""
        self.network.to(check_images(preds).device)
        rated: Tensor = self.rate(preds, self.network)
        return rated


class MUSIQ(RatingMetric):
    """Rating by a network that learnt from KonIQ-10k.

    Args:
        weights: Path of ``musiq_koniq_ckpt-e95806b9.pth``; by default what the environment variable
            ``UNHAZE_MUSIQ_WEIGHTS`` names.

    Raises:
        WeightsNotFoundError: The file is not there, or is another one.
    """

    info = _info(
        "musiq",
        "RGB",
        "Ke et al., ICCV 2021; port and weights of IQA-PyTorch, KonIQ-10k",
        (-math.inf, math.inf),
        higher_is_better=True,
    )

    load = staticmethod(load_musiq)
    rate = staticmethod(musiq)


class ClipIQA(RatingMetric):
    """How much more a picture looks like a good image than like a bad one, to CLIP.

    Args:
        weights: Path of OpenAI's ``RN50.pt``; by default what the environment variable ``UNHAZE_CLIP_IQA_WEIGHTS``
            names.

    Raises:
        WeightsNotFoundError: The file is not there, or is another one.
    """

    info = _info(
        "clip_iqa",
        "RGB",
        "Wang, Chan and Loy, AAAI 2023; the five pairs of texts of IQA-PyTorch, CLIP's ResNet-50",
        (0.0, 1.0),
        higher_is_better=True,
    )

    load = staticmethod(load_clip_iqa)
    rate = staticmethod(clip_iqa)


class NIMA(RatingMetric):
    """Rating by a network that learnt from AVA.

    Args:
        weights: Path of ``NIMA_VGG16_ava-dc4e8265.pth``; by default what the environment variable
            ``UNHAZE_NIMA_WEIGHTS`` names.

    Raises:
        WeightsNotFoundError: The file is not there, or is another one.
    """

    info = _info(
        "nima",
        "RGB, 224 px",
        "Talebi and Milanfar, IEEE TIP 2018; VGG16 and weights of IQA-PyTorch, AVA",
        (1.0, 10.0),
        higher_is_better=True,
    )

    load = staticmethod(load_nima)
    rate = staticmethod(nima)
