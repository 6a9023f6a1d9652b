"""CIEDE2000 colour difference."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from unhaze.metrics.functional._color import rgb_to_lab
from unhaze.metrics.functional._common import check_pair

__all__ = ["ciede2000", "ciede2000_map", "delta_e_2000"]

RADIAN = math.pi / 180
TWENTY_FIVE_TO_THE_7TH = 25.0**7
STRIP_PIXELS = 2**16


def ciede2000(preds: Tensor, target: Tensor) -> Tensor:
    """Mean CIEDE2000 difference over the pixels; about 1 is just noticeable.

    Args:
        preds: (B, 3, H, W) sRGB in [0, 1].
        target: The same shape.

    Returns:
        (B,) float64, 0 for equal pictures.

    Raises:
        ImageValueError: Not such images, or the two do not match.
    """
    return ciede2000_map(preds, target).mean(dim=(1, 2))


@torch.no_grad()
def ciede2000_map(preds: Tensor, target: Tensor) -> Tensor:
    """CIEDE2000 difference of every pixel: (B, H, W) float64.

    Raises:
        ImageValueError: Not such images, or the two do not match.
    """
    pair = check_pair(preds, target)
    rows = max(1, STRIP_PIXELS // preds.shape[3])  # the formula has some fifty temporaries: keep them in the cache
    strips = zip(*(torch.split(images, rows, dim=2) for images in pair), strict=True)
    return torch.cat([delta_e_2000(rgb_to_lab(first), rgb_to_lab(second)) for first, second in strips], dim=1)


def delta_e_2000(lab1: Tensor, lab2: Tensor) -> Tensor:
    """CIEDE2000 between two sets of L*a*b* colours with k_L = k_C = k_H = 1.

    Args:
        lab1: (B, 3, ...), L* in [0, 100].
        lab2: The same shape.

    Returns:
        (B, ...), without the colour axis.

    Source: G. Sharma, W. Wu, E. N. Dalal, "The CIEDE2000 color-difference formula: implementation notes, supplementary
    test data, and mathematical observations", Color Research and Application 30(1), 2005; its equation numbers.
    """
    (L1, a1, b1), (L2, a2, b2) = lab1.unbind(1), lab2.unbind(1)
    stretch = 1.5 - 0.5 * _saturation((torch.hypot(a1, b1) + torch.hypot(a2, b2)) / 2)  # Eq. 2 to 4, 1 + G
    a1, a2 = a1 * stretch, a2 * stretch  # Eq. 5
    C1, C2 = torch.hypot(a1, b1), torch.hypot(a2, b2)  # Eq. 6
    h1, h2 = _hue(a1, b1), _hue(a2, b2)
    colourless = C1 * C2 == 0

    turn = h2 - h1
    turn = (turn - 360.0 * (turn > 180) + 360.0 * (turn < -180)).masked_fill(colourless, 0.0)  # Eq. 10
    delta_L, delta_C = L2 - L1, C2 - C1  # Eq. 8 and 9
    delta_H = 2 * (C1 * C2).sqrt() * torch.sin(turn / 2 * RADIAN)  # Eq. 11

    L, C = (L1 + L2) / 2, (C1 + C2) / 2  # Eq. 12 and 13
    total, across_zero = h1 + h2, (h1 - h2).abs() > 180
    mean = (total + 360.0 * (across_zero & (total < 360)) - 360.0 * (across_zero & (total >= 360))) / 2
    h = torch.where(colourless, total, mean)  # Eq. 14
    cos1, cos2, cos3, cos4 = (
        torch.cos((multiple * h + shift) * RADIAN) for multiple, shift in ((1, -30), (2, 0), (3, 6), (4, -63))
    )
    T = 1 - 0.17 * cos1 + 0.24 * cos2 + 0.32 * cos3 - 0.20 * cos4  # Eq. 15
    S_L = 1 + 0.015 * (L - 50) ** 2 / (20 + (L - 50) ** 2).sqrt()  # Eq. 18
    S_C = 1 + 0.045 * C  # Eq. 19
    S_H = 1 + 0.015 * C * T  # Eq. 20
    rotation = 60 * torch.exp(-(((h - 275) / 25) ** 2))  # Eq. 16, twice delta theta
    R_T = -torch.sin(rotation * RADIAN) * 2 * _saturation(C)  # Eq. 17 and 21
    l, c, s = delta_L / S_L, delta_C / S_C, delta_H / S_H  # noqa: E741
    return (l**2 + c**2 + s**2 + R_T * c * s).clamp(min=0).sqrt()  # Eq. 22


def _saturation(chroma: Tensor) -> Tensor:
    seventh = chroma**7
    return (seventh / (seventh + TWENTY_FIVE_TO_THE_7TH)).sqrt()


def _hue(a: Tensor, b: Tensor) -> Tensor:
    return torch.atan2(b, a) / RADIAN % 360  # Eq. 7 [degree]
