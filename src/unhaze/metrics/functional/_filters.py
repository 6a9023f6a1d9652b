"""Filters that more than one metric uses, in whatever dtype and on whatever device they are given.

A filter is a sum of shifted copies: in float64 that is many times faster than a convolution on a CPU, and its order of
additions does not depend on the size of the batch or on the device.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

__all__ = [
    "LocalContrast",
    "blocks",
    "correlate",
    "correlate_both",
    "gaussian_taps",
    "halved",
    "local_contrast",
    "mirrored",
]

# bicubic kernel (a = -0.5) stretched by 2, at its distances 0.25, 0.75, ... from the centre: MATLAB's imresize(x, 0.5)
HALVING_TAPS = tuple(tap / 256 for tap in (-3, -9, 29, 111, 111, 29, -9, -3))
SNAP = 1e-8  # |MSCN| below this is the rounding noise of a flat area, whose sign must not count


class LocalContrast(NamedTuple):
    """Mean subtracted, contrast normalised (MSCN) coefficients of a plane, and what they are made of."""

    mean: Tensor
    deviation: Tensor
    normalised: Tensor


def gaussian_taps(size: int, sigma: float) -> tuple[float, ...]:
    """A Gaussian of ``size`` taps that sum to 1."""
    weights = [math.exp(-((i - (size - 1) / 2) ** 2) / (2 * sigma**2)) for i in range(size)]
    return tuple(weight / math.fsum(weights) for weight in weights)


MSCN_TAPS = gaussian_taps(7, 7 / 6)


def correlate(planes: Tensor, taps: Sequence[float], dim: int) -> Tensor:
    """Correlation along one axis, only where all taps lie inside: that axis gets ``len(taps) - 1`` shorter."""
    length = planes.shape[dim] - len(taps) + 1
    result = planes.narrow(dim, 0, length) * taps[0]
    for offset, tap in enumerate(taps[1:], start=1):
        result.add_(planes.narrow(dim, offset, length), alpha=tap)
    return result


def correlate_both(planes: Tensor, taps: Sequence[float]) -> Tensor:
    """Correlation down and across: both axes get ``len(taps) - 1`` shorter."""
    return correlate(correlate(planes, taps, -2), taps, -1)


def local_contrast(grey: Tensor, border: str = "replicate") -> LocalContrast:
    """MSCN coefficients with a 7x7 Gaussian window, sigma = 7/6.

    Coefficients below 1e-8 are set to 0: in a flat area they are rounding noise, and NIQE and FADE would treat the two
    signs of that noise differently.

    Args:
        grey: (B, H, W) float64 in [0, 255].
        border: What lies around the picture: ``"replicate"``, or zeros for ``"constant"``.

    Source: A. Mittal, R. Soundararajan, A. C. Bovik, "Making a completely blind image quality analyzer", IEEE Signal
    Processing Letters 20(3), 2013, Eq. 1 to 3.
    """
    padded = functional.pad(grey[:, None], (3, 3, 3, 3), mode=border)[:, 0]
    mean = correlate_both(padded, MSCN_TAPS)  # Eq. 2
    deviation = (correlate_both(padded.square(), MSCN_TAPS) - mean.square()).abs_().sqrt_()  # Eq. 3
    normalised = (grey - mean) / (deviation + 1)  # Eq. 1
    return LocalContrast(mean, deviation, normalised.masked_fill_(normalised.abs() < SNAP, 0.0))


def blocks(plane: Tensor, size: int) -> Tensor:
    """Cut (..., H, W) into non-overlapping (..., H/size * W/size, size, size) blocks, row by row."""
    rows, columns = plane.shape[-2] // size, plane.shape[-1] // size
    tiles = plane.reshape(*plane.shape[:-2], rows, size, columns, size)
    return tiles.transpose(-3, -2).flatten(-4, -3)


def mirrored(plane: Tensor, dim: int, before: int, after: int) -> Tensor:
    """Extend an axis by its mirror image, edge included, as often as it takes (MATLAB and NumPy: "symmetric")."""
    length = plane.shape[dim]
    index = torch.arange(-before, length + after, device=plane.device) % (2 * length)
    return plane.index_select(dim, torch.where(index < length, index, 2 * length - 1 - index))


def halved(plane: Tensor) -> Tensor:
    """(..., H, W) at half the size, odd sides rounded up: MATLAB's ``imresize(plane, 0.5)``."""
    for dim in (-2, -1):
        rows = correlate(mirrored(plane, dim % plane.ndim, 3, 4), HALVING_TAPS, dim)
        plane = rows.index_select(dim, torch.arange(0, rows.shape[dim], 2, device=rows.device))
    return plane
