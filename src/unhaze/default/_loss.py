"""The loss of the default's training: what the dehazer would make of an estimate, beside the truth.

It is taken on the restored picture, after the transmission has gone through the same guided filter and the same
inversion that the dehazer applies at full resolution. In addition transmission, airlight, gain and, where it is known,
depth are taught directly, so that haze and depth teach each other.

    J = (I - A) / t + A                               He et al. 2011, Eq. 22
    t = up(a) luma(I) + up(b), a and b guided by I    He and Sun 2015, Algorithm 2

Where hardly any light comes through there is no scene to restore, and the target is the haze itself, smooth: with
t' = max(t, least) the target is A + (J - A) t / t'. What looks broken in a picture is a slope in fog or sky that
neither the scene nor the picture has; the loss names it (``ring``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from unhaze.default.constants import GUIDE_EPS, GUIDE_RADIUS, LEAST_TRANSMISSION
from unhaze.default.network import FieldOutput

__all__ = ["Batch", "LossConfig", "losses", "restore"]

_SMOOTHING = 5  # window of the means whose slopes are compared [px of half the view]
_DENSEST = 0.04  # transmission up to which densities are told apart
_STEEPER = 3.0  # than the picture itself, up to which a slope in fog is no false edge


@dataclass(frozen=True, slots=True)
class LossConfig:
    """Weights of the terms; 0 leaves one out."""

    restored: float = 2.0
    decibel: float = 0.05
    gradient: float = 0.5
    ring: float = 8.0
    tint: float = 1.0
    transmission: float = 1.0
    optical_depth: float = 0.1
    airlight: float = 2.0
    gain: float = 0.2
    depth: float = 0.2
    confidence: float = 0.02


class Batch(NamedTuple):
    """Samples as tensors; pictures (B, 3, H, W) in [0, 1], maps (B, 1, H, W), flags (B, 1, 1, 1) of 0 and 1."""

    hazy: Tensor
    clear: Tensor
    transmission: Tensor
    airlight: Tensor  # (B, 3, g, g)
    gain: Tensor  # (B,)
    depth: Tensor
    depth_known: Tensor
    in_srgb: Tensor


def restore(output: FieldOutput, hazy: Tensor) -> tuple[Tensor, Tensor]:
    """What the dehazer does with an estimate, the gain apart.

    Args:
        output: Of the network.
        hazy: (B, 3, h, w), the picture at the size of the transmission.

    Returns:
        Restored picture (B, 3, h, w), not clipped; transmission (B, 1, h, w) after the guided filter.
    """
    luma = _luminance(hazy)
    radius = max(1, round(GUIDE_RADIUS * max(hazy.shape[-2:])))
    slope, offset = _guided_coefficients(luma, torch.exp(-output.optical_depth), radius)
    transmission = (slope * luma + offset).clamp(LEAST_TRANSMISSION, 1)
    return (hazy - output.airlight) / transmission + output.airlight, transmission  # He et al. 2011, Eq. 22


def losses(output: FieldOutput, batch: Batch) -> tuple[dict[str, Tensor], Tensor]:
    """Terms of the loss by the names of :class:`LossConfig`, and the restored pictures.

    All are taken at half the size of the view, that of the predicted maps, where they cost a quarter.
    """
    hazy, clear, true_transmission = (F.avg_pool2d(each, 2) for each in (batch.hazy, batch.clear, batch.transmission))
    restored, transmission = restore(output, hazy)
    true_light = F.interpolate(batch.airlight, size=hazy.shape[-2:], mode="bilinear", align_corners=True)
    useful = true_transmission.clamp(min=LEAST_TRANSMISSION)
    target = true_light + (clear - true_light) * (true_transmission / useful)
    error = restored - target
    squared = error.clamp(-1, 1).square().mean(dim=(1, 2, 3))
    # densities beyond sight change no picture, but are what a fog alarm tells apart
    optical_error = output.optical_depth + true_transmission.clamp(min=_DENSEST).log()
    # of logarithms of depth, less its mean: the scale is unknown (Eigen et al. 2014, Eq. 1)
    depth_error = output.log_depth - F.avg_pool2d(batch.depth, 2).clamp(min=1e-3).log()
    depth_error = depth_error - depth_error.mean(dim=(1, 2, 3), keepdim=True)
    closeness = torch.exp(-10 * error.detach().abs().mean(dim=1, keepdim=True))
    terms = {
        "restored": error.abs().mean(),
        # mean PSNR in units of 10 dB; beyond 40 dB nobody sees a difference
        "decibel": torch.log10(squared + 1e-4).mean(),
        "gradient": torch.cat([error.diff(dim=2).flatten(), error.diff(dim=3).flatten()]).abs().mean(),
        "ring": _false_edges(restored, target, hazy),
        "tint": _false_tint(restored, target, hazy),
        "transmission": _mean((transmission - useful).abs(), batch.in_srgb),
        "optical_depth": _mean(optical_error.abs(), batch.in_srgb),
        # the colour of the haze matters, and shows, where there is haze
        "airlight": ((output.airlight - true_light).abs() * (1 - true_transmission)).mean(),
        "gain": F.smooth_l1_loss(output.gain, batch.gain, beta=0.5),
        "depth": _mean(depth_error.abs(), batch.depth_known),
        "confidence": F.binary_cross_entropy_with_logits(output.confidence, closeness),
    }
    return terms, restored


def _luminance(image: Tensor) -> Tensor:
    """(B, 1, h, w) of (B, 3, h, w) by BT.601."""
    return image.mul(image.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)


def _guided_coefficients(guide: Tensor, source: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """He, Sun and Tang 2013, Eqs. 5, 6 and 8."""
    count = _box_sum(torch.ones_like(guide[:1]), radius)

    def mean(x: Tensor) -> Tensor:
        return _box_sum(x, radius) / count

    mean_guide, mean_source = mean(guide), mean(source)
    variance = (mean(guide * guide) - mean_guide * mean_guide).clamp(min=0)
    slope = (mean(guide * source) - mean_guide * mean_source) / (variance + GUIDE_EPS)  # Eq. 5
    offset = mean_source - slope * mean_guide  # Eq. 6
    return mean(slope), mean(offset)  # Eq. 8


def _box_sum(x: Tensor, radius: int) -> Tensor:
    """Sum over the window of (2 radius + 1)² pixels, clipped at the borders, by differences of running sums."""
    for dim in (2, 3):
        length = x.shape[dim]
        sums = F.pad(x.cumsum(dim), (1, 0) if dim == 3 else (0, 0, 1, 0))
        upper = torch.arange(length, device=x.device).add_(radius + 1).clamp_(max=length)
        lower = torch.arange(length, device=x.device).sub_(radius).clamp_(min=0)
        x = sums.index_select(dim, upper) - sums.index_select(dim, lower)
    return x


def _slopes(x: Tensor) -> Tensor:
    """Largest difference of the smoothed brightness to the next pixel to the right and below, (B, 1, h', w')."""
    smooth = F.avg_pool2d(_luminance(x), _SMOOTHING, 1)
    right, below = smooth.diff(dim=3)[..., :-1, :], smooth.diff(dim=2)[..., :-1]
    return torch.maximum(right.abs(), below.abs())


def _false_edges(restored: Tensor, target: Tensor, hazy: Tensor) -> Tensor:
    """Mean excess of the slopes of smoothed brightness over those of scene and picture."""
    allowed = torch.maximum(_slopes(target), _STEEPER * _slopes(hazy))
    return (_slopes(restored) - allowed).clamp(min=0).mean()


def _false_tint(restored: Tensor, target: Tensor, hazy: Tensor) -> Tensor:
    """Mean excess of the smoothed colour differences over those of scene and picture."""

    def colorfulness(x: Tensor) -> Tensor:
        smooth = F.avg_pool2d(x, _SMOOTHING, 1)
        return (smooth - _luminance(smooth)).abs().amax(dim=1)

    allowed = torch.maximum(colorfulness(target), colorfulness(hazy)) + 0.01
    return (colorfulness(restored) - allowed).clamp(min=0).mean()


def _mean(x: Tensor, share: Tensor) -> Tensor:
    """Mean of ``x`` over the samples that count."""
    return (x * share).mean(dim=(1, 2, 3)).sum() / share.sum().clamp(min=1)
