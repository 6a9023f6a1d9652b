"""How far apart two feature maps of one place are."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

__all__ = ["cosine_distance", "relative_distance", "scene_distance"]


def relative_distance(hazy: Tensor, clear: Tensor) -> float:
    """Mean length of the difference over the mean length of the clear features; means are over positions.

    The ratio of means, not the mean of ratios: positions at which a rectifier is silent have no length to divide by.

    Args:
        hazy: (1, C, h, w) features of the hazy picture.
        clear: The same shape, of its clear twin.

    Returns:
        0 for equal features; any factor common to both cancels.
    """
    part = _length(hazy - clear)
    whole = _length(clear)
    if whole > 0:
        return part / whole
    return 0.0 if part == 0 else math.inf


def cosine_distance(hazy: Tensor, clear: Tensor) -> float:
    """1 - cosine of the angle between the vectors of a position, mean over positions.

    Args:
        hazy: (1, C, h, w) features of the hazy picture.
        clear: The same shape, of its clear twin.

    Returns:
        In [0, 2]. A vector of zeros is at distance 0 from another and 1 from all else. NaN for one channel: a number
        has a sign but no direction.
    """
    if hazy.shape[1] < 2:
        return math.nan
    lengths = torch.stack((hazy.norm(dim=1), clear.norm(dim=1))).double()
    cosines = (hazy * clear).sum(1).double() / lengths.prod(0).clamp(min=1e-300)
    cosines = torch.where((lengths == 0).all(0), 1.0, cosines)
    return float(1 - cosines.clamp(-1, 1).mean())


def scene_distance(hazy: Tensor, clear: Tensor, other: Tensor) -> float:
    """How far haze moves features, in units of how far another scene would.

    Unlike the other two this allows comparisons between representations: a large part that all pictures have in common
    makes features look steady by the other two, and cancels here.

    Args:
        hazy: (1, C, h, w) features of the hazy picture.
        clear: The same shape, of its clear twin.
        other: (1, C, h', w') features of another clear picture; resampled to (h, w).

    Returns:
        0 for equal features, 1 where haze moves them as far as another scene does. NaN where the other scene has the
        same features.
    """
    if other.shape[-2:] != clear.shape[-2:]:
        other = F.interpolate(other, size=clear.shape[-2:], mode="bilinear", align_corners=False)
    moved, apart = _length(hazy - clear), _length(other - clear)
    return moved / apart if apart > 0 else math.nan


def _length(features: Tensor) -> float:
    """Mean over positions of the Euclidean length."""
    return float(features.norm(dim=1).double().mean())
