"""Peak signal-to-noise ratio."""

from __future__ import annotations

import math

from torch import Tensor

from unhaze.metrics.functional._color import limited_range_luma
from unhaze.metrics.functional._common import check_pair

__all__ = ["psnr", "psnr_y"]


def psnr(preds: Tensor, target: Tensor, *, identical: float = math.inf) -> Tensor:
    r"""Peak signal-to-noise ratio over all pixels and the three RGB channels.

    .. math:: \text{PSNR} = -10 \log_{10} \text{MSE}

    Nothing is rounded: whether a result is scored as floating values or as the 8-bit file it is stored in is for the
    protocol to say.

    Args:
        preds: (B, 3, H, W) in [0, 1].
        target: The same shape.
        identical: Value of two equal pictures, whose ratio is infinite; some published code says 100.

    Returns:
        (B,) float64 [dB].

    Raises:
        ImageValueError: Not such images, or the two do not match.

    >>> import torch
    >>> psnr(torch.full((1, 3, 8, 8), 0.5), torch.full((1, 3, 8, 8), 0.6)).round(decimals=3)
    tensor([20.], dtype=torch.float64)
    """
    return _decibel(*check_pair(preds, target), identical)


def psnr_y(preds: Tensor, target: Tensor, *, identical: float = math.inf) -> Tensor:
    """Peak signal-to-noise ratio of the BT.601 luma in limited range.

    Y = 16 + 65.481 R + 128.553 G + 24.966 B spans 16 to 235, but the peak is 255, as in MATLAB's ``rgb2ycbcr`` and in
    BasicSR; the same grey error therefore reads 20 log10(255/219) = 1.32 dB higher than over full-range luma.

    Args:
        preds: (B, 3, H, W) in [0, 1].
        target: The same shape.
        identical: Value of two pictures of equal luma.

    Returns:
        (B,) float64 [dB].

    Raises:
        ImageValueError: Not such images, or the two do not match.
    """
    first, second = check_pair(preds, target)
    return _decibel(limited_range_luma(first), limited_range_luma(second), identical)


def _decibel(first: Tensor, second: Tensor, identical: float) -> Tensor:
    error = (first - second).square().mean(dim=(1, 2, 3))
    equal = error == 0
    return (-10 * error.masked_fill(equal, 1.0).log10()).masked_fill(equal, identical)
