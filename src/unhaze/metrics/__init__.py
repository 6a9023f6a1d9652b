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

from importlib import import_module
from typing import TYPE_CHECKING, Any

from unhaze.catalog import Catalog

if TYPE_CHECKING:
    from unhaze.metrics.metric import Metric, MetricInfo

__all__ = ["Metric", "MetricInfo", "create_metric", "list_metrics", "metric_info"]

_HOME = {"Metric": "unhaze.metrics.metric", "MetricInfo": "unhaze.metrics.metric"}

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
        "niqe": "unhaze.metrics.no_reference:NIQE",
        "piqe": "unhaze.metrics.no_reference:PIQE",
        "fade": "unhaze.metrics.no_reference:FADE",
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


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'unhaze.metrics' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
