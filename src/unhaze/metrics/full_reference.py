"""Metrics that compare with the clear picture."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, ClassVar

from unhaze.metrics.functional._common import check_images
from unhaze.metrics.functional.ciede2000 import ciede2000
from unhaze.metrics.functional.lpips import load_lpips, lpips
from unhaze.metrics.functional.ms_ssim import ms_ssim
from unhaze.metrics.functional.psnr import psnr, psnr_y
from unhaze.metrics.functional.ssim import SSIM_CONVENTIONS, ssim
from unhaze.metrics.functional.visibility import ri, vi
from unhaze.metrics.metric import Metric, MetricInfo

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "CIEDE2000",
    "LPIPS",
    "MSSSIM",
    "PSNR",
    "PSNRY",
    "SSIM",
    "SSIMY",
    "RealnessIndex",
    "SSIMBasicSR",
    "SSIMDCMPNet",
    "SSIMDehazeFormer",
    "SSIMZeroPadded",
    "VisibilityIndex",
]


def _info(
    name: str,
    color_space: str,
    source: str,
    limits: tuple[float, float],
    *,
    higher_is_better: bool = True,
    differentiable: bool = True,
    unit: str = "",
) -> MetricInfo:
    return MetricInfo(
        name=name,
        higher_is_better=higher_is_better,
        needs_target=True,
        needs_hazy=False,
        differentiable=differentiable,
        color_space=color_space,
        source=source,
        range=limits,
        unit=unit,
    )


class PSNR(Metric):
    """Peak signal-to-noise ratio over RGB.

    Args:
        identical: Value of two equal pictures.
    """

    info = _info("psnr", "RGB", "PSNR over all pixels and channels, peak 1", (0.0, math.inf), unit="dB")

    def __init__(self, *, identical: float = math.inf) -> None:
        super().__init__()
        self.identical = identical

    def score(self, preds: Tensor, target: Tensor | None = None, *, hazy: Tensor | None = None) -> Tensor:
        """See :meth:`Metric.score`; (B, 3, H, W) ``preds`` and ``target`` to (B,)."""
        return psnr(preds, self._needed(target, "target"), identical=self.identical)


class PSNRY(PSNR):
    """Peak signal-to-noise ratio of limited-range BT.601 luma.

    Args:
        identical: Value of two pictures of equal luma.
    """

    info = _info(
        "psnr_y",
        "Y of YCbCr, BT.601 limited range (16-235), peak 255",
        "MATLAB rgb2ycbcr; BasicSR calculate_psnr, test_y_channel=True",
        (0.0, math.inf),
        unit="dB",
    )

    def score(self, preds: Tensor, target: Tensor | None = None, *, hazy: Tensor | None = None) -> Tensor:
        """See :meth:`Metric.score`; (B, 3, H, W) ``preds`` and ``target`` to (B,)."""
        return psnr_y(preds, self._needed(target, "target"), identical=self.identical)


def _ssim_info(name: str, convention: str) -> MetricInfo:
    rule = SSIM_CONVENTIONS[convention]
    color_space = "Y of YCbCr, BT.601 limited range (16-235), range 255" if rule.luma else "RGB"
    return _info(name, color_space, f"Wang et al., IEEE TIP 2004; {rule.source}", (-1.0, 1.0))


class SSIM(Metric):
    """Structural similarity, 11x11 Gaussian window inside the picture, RGB."""

    convention: ClassVar[str] = "gaussian"
    info = _ssim_info("ssim", "gaussian")

    def score(self, preds: Tensor, target: Tensor | None = None, *, hazy: Tensor | None = None) -> Tensor:
        """See :meth:`Metric.score`; (B, 3, H, W) ``preds`` and ``target`` to (B,)."""
        return ssim(preds, self._needed(target, "target"), self.convention)


class SSIMBasicSR(SSIM):
    """Structural similarity as BasicSR computes it on RGB; round the pictures to 8 bit first to match it."""

    convention = "basicsr_rgb"
    info = _ssim_info("ssim_basicsr_rgb", "basicsr_rgb")


class SSIMY(SSIM):
    """Structural similarity of limited-range BT.601 luma."""

    convention = "y"
    info = _ssim_info("ssim_y", "y")


class SSIMDehazeFormer(SSIM):
    """Structural similarity after averaging down to about 256 pixels."""

    convention = "dehazeformer"
    info = _ssim_info("ssim_dehazeformer", "dehazeformer")


class SSIMDCMPNet(SSIM):
    """Structural similarity after averaging down to about 256 pixels, zero-padded."""

    convention = "dcmpnet"
    info = _ssim_info("ssim_dcmpnet", "dcmpnet")


class SSIMZeroPadded(SSIM):
    """Structural similarity at full size, zero-padded."""

    convention = "pytorch_ssim"
    info = _ssim_info("ssim_pytorch_ssim", "pytorch_ssim")


class MSSSIM(Metric):
    """Multi-scale structural similarity over five scales."""

    info = _info("ms_ssim", "RGB", "Wang et al., Asilomar 2003", (0.0, 1.0))

    def score(self, preds: Tensor, target: Tensor | None = None, *, hazy: Tensor | None = None) -> Tensor:
        """See :meth:`Metric.score`; (B, 3, H, W) ``preds`` and ``target`` to (B,)."""
        return ms_ssim(preds, self._needed(target, "target"))


class CIEDE2000(Metric):
    """Mean CIEDE2000 colour difference."""

    info = _info(
        "ciede2000",
        "CIELAB (D65) of sRGB",
        "Sharma et al., Color Research and Application 2005",
        (0.0, math.inf),
        higher_is_better=False,
        differentiable=False,
    )

    def score(self, preds: Tensor, target: Tensor | None = None, *, hazy: Tensor | None = None) -> Tensor:
        """See :meth:`Metric.score`; (B, 3, H, W) ``preds`` and ``target`` to (B,)."""
        return ciede2000(preds, self._needed(target, "target"))


class VisibilityIndex(Metric):
    """Likeness of haze and edges, where there is haze."""

    info = _info(
        "vi",
        "RGB, 8 bit",
        "Zhao et al., IEEE TIP 2020, with the constants of the authors' code, without masks",
        (0.0, 1.0),
        differentiable=False,
    )

    def score(self, preds: Tensor, target: Tensor | None = None, *, hazy: Tensor | None = None) -> Tensor:
        """See :meth:`Metric.score`; (B, 3, H, W) ``preds`` and ``target`` to (B,)."""
        return vi(preds, self._needed(target, "target"))


class RealnessIndex(Metric):
    """Likeness of structure and colour, where there is structure."""

    info = _info(
        "ri",
        "RGB, 8 bit",
        "Zhao et al., IEEE TIP 2020, with the constants of the authors' code, without masks",
        (0.0, 1.0),
        differentiable=False,
    )

    def score(self, preds: Tensor, target: Tensor | None = None, *, hazy: Tensor | None = None) -> Tensor:
        """See :meth:`Metric.score`; (B, 3, H, W) ``preds`` and ``target`` to (B,)."""
        return ri(preds, self._needed(target, "target"))


class LPIPS(Metric):
    """Learned perceptual distance (AlexNet, version 0.1).

    Args:
        weights: Path of torchvision's ``alexnet-owt-7be5be79.pth``; by default what the environment variable
            ``UNHAZE_ALEXNET_WEIGHTS`` names.

    Raises:
        WeightsNotFoundError: The file is not there, or is another one.
    """

    info = _info(
        "lpips", "RGB", "Zhang et al., CVPR 2018; lpips 0.1, net alex", (0.0, math.inf), higher_is_better=False
    )

    def __init__(self, *, weights: str | os.PathLike[str] | None = None) -> None:
        super().__init__()
        self.network = load_lpips(weights)

    def score(self, preds: Tensor, target: Tensor | None = None, *, hazy: Tensor | None = None) -> Tensor:
        """See :meth:`Metric.score`; (B, 3, H, W) ``preds`` and ``target`` to (B,)."""
        self.network.to(check_images(preds).device)
        return lpips(preds, self._needed(target, "target"), self.network)
