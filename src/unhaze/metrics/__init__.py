"""Scores for restored pictures, each with its convention named.

:mod:`unhaze.metrics.functional` has them as functions of batches; the classes here gather the values of many batches.

>>> from unhaze.metrics import create_metric, metric_info
>>> metric_info("psnr").higher_is_better
True
>>> import torch
>>> psnr = create_metric("psnr")
>>> psnr.update(torch.full((1, 3, 8, 8), 0.5), torch.full((1, 3, 8, 8), 0.6))
>>> round(psnr.compute(), 2)
20.0
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unhaze.catalog import Catalog
from unhaze.lazy import loads_on_use

if TYPE_CHECKING:
    from unhaze.metrics.damage import ChromaShift, Clipped, LightnessChange, Ring
    from unhaze.metrics.full_reference import (
        CIEDE2000,
        LPIPS,
        MSSSIM,
        PSNR,
        PSNRY,
        SSIM,
        SSIMY,
        RealnessIndex,
        SSIMBasicSR,
        SSIMDCMPNet,
        SSIMDehazeFormer,
        SSIMZeroPadded,
        VisibilityIndex,
    )
    from unhaze.metrics.metric import Metric, MetricInfo
    from unhaze.metrics.no_reference import BRISQUE, FADE, MUSIQ, NIMA, NIQE, PIQE, Entropy

__all__ = [
    "BRISQUE",
    "CIEDE2000",
    "FADE",
    "LPIPS",
    "MSSSIM",
    "MUSIQ",
    "NIMA",
    "NIQE",
    "PIQE",
    "PSNR",
    "PSNRY",
    "SSIM",
    "SSIMY",
    "ChromaShift",
    "Clipped",
    "Entropy",
    "LightnessChange",
    "Metric",
    "MetricInfo",
    "RealnessIndex",
    "Ring",
    "SSIMBasicSR",
    "SSIMDCMPNet",
    "SSIMDehazeFormer",
    "SSIMZeroPadded",
    "VisibilityIndex",
    "create_metric",
    "list_metrics",
    "metric_info",
]

__getattr__ = loads_on_use(
    __name__,
    {
        "Metric": "unhaze.metrics.metric",
        "MetricInfo": "unhaze.metrics.metric",
        "CIEDE2000": "unhaze.metrics.full_reference",
        "ChromaShift": "unhaze.metrics.damage",
        "Clipped": "unhaze.metrics.damage",
        "Entropy": "unhaze.metrics.no_reference",
        "FADE": "unhaze.metrics.no_reference",
        "LPIPS": "unhaze.metrics.full_reference",
        "LightnessChange": "unhaze.metrics.damage",
        "MSSSIM": "unhaze.metrics.full_reference",
        "NIQE": "unhaze.metrics.no_reference",
        "PIQE": "unhaze.metrics.no_reference",
        "PSNR": "unhaze.metrics.full_reference",
        "PSNRY": "unhaze.metrics.full_reference",
        "Ring": "unhaze.metrics.damage",
        "SSIM": "unhaze.metrics.full_reference",
        "SSIMBasicSR": "unhaze.metrics.full_reference",
        "SSIMDCMPNet": "unhaze.metrics.full_reference",
        "SSIMDehazeFormer": "unhaze.metrics.full_reference",
        "SSIMY": "unhaze.metrics.full_reference",
        "SSIMZeroPadded": "unhaze.metrics.full_reference",
        "VisibilityIndex": "unhaze.metrics.full_reference",
        "RealnessIndex": "unhaze.metrics.full_reference",
        "ClipIQA": "unhaze.metrics.no_reference",
        "MUSIQ": "unhaze.metrics.no_reference",
        "NIMA": "unhaze.metrics.no_reference",
        "BRISQUE": "unhaze.metrics.no_reference",
    },
)

# name -> subclass of Metric
_CATALOG = Catalog(
    "metric",
    {
        "psnr": "unhaze.metrics.full_reference:PSNR",
        "psnr_y": "unhaze.metrics.full_reference:PSNRY",
        "ssim": "unhaze.metrics.full_reference:SSIM",
        "ssim_basicsr_rgb": "unhaze.metrics.full_reference:SSIMBasicSR",
        "ssim_dcmpnet": "unhaze.metrics.full_reference:SSIMDCMPNet",
        "ssim_dehazeformer": "unhaze.metrics.full_reference:SSIMDehazeFormer",
        "ssim_pytorch_ssim": "unhaze.metrics.full_reference:SSIMZeroPadded",
        "ssim_y": "unhaze.metrics.full_reference:SSIMY",
        "ms_ssim": "unhaze.metrics.full_reference:MSSSIM",
        "ciede2000": "unhaze.metrics.full_reference:CIEDE2000",
        "lpips": "unhaze.metrics.full_reference:LPIPS",
        "ri": "unhaze.metrics.full_reference:RealnessIndex",
        "vi": "unhaze.metrics.full_reference:VisibilityIndex",
        "niqe": "unhaze.metrics.no_reference:NIQE",
        "brisque": "unhaze.metrics.no_reference:BRISQUE",
        "clip_iqa": "unhaze.metrics.no_reference:ClipIQA",
        "musiq": "unhaze.metrics.no_reference:MUSIQ",
        "nima": "unhaze.metrics.no_reference:NIMA",
        "piqe": "unhaze.metrics.no_reference:PIQE",
        "fade": "unhaze.metrics.no_reference:FADE",
        "entropy": "unhaze.metrics.no_reference:Entropy",
        "clipped": "unhaze.metrics.damage:Clipped",
        "chroma_shift": "unhaze.metrics.damage:ChromaShift",
        "lightness_change": "unhaze.metrics.damage:LightnessChange",
        "ring": "unhaze.metrics.damage:Ring",
    },
    group="unhaze.metrics",
    fits=lambda target: hasattr(target, "info") and hasattr(target, "create"),
)


def list_metrics() -> list[str]:
    """All names that :func:`create_metric` takes, sorted. Needs no torch."""
    return _CATALOG.names()


def metric_info(name: str) -> MetricInfo:
    """What a metric measures and what it needs.

    Raises:
        UnknownNameError: No metric has this name.
        MissingDependencyError: torch is not installed.
    """
    info: MetricInfo = _CATALOG.load(name).info
    return info


def create_metric(name: str, **options: Any) -> Metric:
    """A new metric without any values yet.

    Args:
        name: One of :func:`list_metrics`.
        **options: What its class takes: ``weights`` for ``lpips``, ``identical`` for ``psnr`` and ``psnr_y``.

    Raises:
        UnknownNameError: No metric has this name.
        UsageError: The metric has no such option.
        MissingDependencyError: torch is not installed.
        WeightsNotFoundError: The metric needs weights that are not there.
    """
    metric: Metric = _CATALOG.load(name).create(**options)
    return metric
