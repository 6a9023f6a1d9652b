"""Visibility index (VI): how alike haze and edges of two pictures are, weighed by where there is haze.

S. Zhao, L. Zhang, S. Huang, Y. Shen, S. Zhao, "Dehazing evaluation: real-world benchmark datasets, criteria, and
baselines", IEEE TIP 29, 2020. Constants and sizes are those of the authors' MATLAB code (xiaofeng94/BeDDE-for-defogging
at ec95608). There, a mask leaves out what differs between the two photographs; here all of the picture counts.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from unhaze.errors import ImageValueError
from unhaze.metrics.functional._color import code_values
from unhaze.metrics.functional._common import check_pair, check_side

__all__ = ["vi"]

SMALLEST_SIDE = 16
PATCH = 15  # of the dark channel [px]
BRIGHTEST = 0.01  # share of pixels that the airlight is the mean of
GRADIENT_CONSTANT = 160.0  # on codes 0 to 255
HAZE_EXPONENT = 0.4
LUMA = (0.299, 0.587, 0.114)
SCHARR = ((3.0, 0.0, -3.0), (10.0, 0.0, -10.0), (3.0, 0.0, -3.0))  # over 16


@torch.no_grad()
def vi(preds: Tensor, target: Tensor) -> Tensor:
    """Visibility index; higher is better, 1 for equal pictures.

    Args:
        preds: (B, 3, H, W) in [0, 1], sides of at least 16 px. Scored as the 8-bit picture it rounds to.
        target: The clear pictures, of the same shape.

    Returns:
        (B,) float64, at most 1.

    Raises:
        ImageValueError: Not such images, or two that hold no haze at all, or nothing else, for which it is not defined.
    """
    first, second = check_pair(preds, target)
    check_side(first, SMALLEST_SIDE, "VI")
    codes, clear_codes = code_values(first), code_values(second)
    found, clear = _halved(_transmission(codes / 255)), _halved(_transmission(clear_codes / 255))
    haze = torch.maximum(1 - found, 1 - clear)
    total = haze.sum(dim=(-2, -1))
    if (total.abs() < 1e-9).any():
        raise ImageValueError("VI is not defined for two pictures without any haze in their dark channels.")
    alike = _similarity(clear, found, clear.mean(dim=(-2, -1), keepdim=True))
    # where a transmission is negative, the code takes the real part of a complex power
    turned = torch.where(alike < 0, math.cos(math.pi * HAZE_EXPONENT), 1.0)
    edges = _similarity(_slope(clear_codes), _slope(codes), GRADIENT_CONSTANT)
    value = (turned * alike.abs() ** HAZE_EXPONENT * edges * haze).sum(dim=(-2, -1)) / total
    if value.isnan().any():
        raise ImageValueError("VI is not defined for two pictures whose dark channels see haze alone.")
    return value


def _similarity(first: Tensor, second: Tensor, constant: Tensor | float) -> Tensor:
    return (2 * first * second + constant) / (first.square() + second.square() + constant)


def _transmission(images: Tensor) -> Tensor:
    """(B, H, W) by the dark channel prior; nothing bounds it below."""
    # column by column, as MATLAB counts pixels: it decides among equals
    dark = _dark_channel(images).mT.flatten(1)
    brightest = dark.sort(dim=1, descending=True, stable=True).indices[:, : int(dark.shape[1] * BRIGHTEST)]
    pixels = images.mT.flatten(2)
    airlight = pixels.gather(2, brightest[:, None].expand(-1, 3, -1)).mean(dim=2)
    return 1 - _dark_channel(images / airlight.clamp(min=1e-12)[..., None, None])


def _dark_channel(images: Tensor) -> Tensor:
    darkest = images.amin(dim=1, keepdim=True)
    return -functional.max_pool2d(-darkest, PATCH, 1, PATCH // 2)[:, 0]


def _halved(planes: Tensor) -> Tensor:
    """Means of 2x2 pixels; what lies beyond an odd side is 0."""
    height, width = planes.shape[-2:]
    return functional.avg_pool2d(functional.pad(planes[:, None], (0, width % 2, 0, height % 2)), 2)[:, 0]


def _slope(codes: Tensor) -> Tensor:
    """Length of the Scharr gradient of the halved luma, zeros around the picture."""
    red, green, blue = codes.unbind(1)
    luma = _halved(red * LUMA[0] + green * LUMA[1] + blue * LUMA[2])[:, None]
    across = luma.new_tensor(SCHARR)[None, None] / 16
    return torch.hypot(*(functional.conv2d(luma, taps, padding=1)[:, 0] for taps in (across, across.mT)))
