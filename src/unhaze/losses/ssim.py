"""Structural similarity as a loss.

Z. Wang, A. C. Bovik, H. R. Sheikh, E. P. Simoncelli, "Image quality assessment: from error visibility to structural
similarity", IEEE TIP 13(4), 2004. The metric (``unhaze.metrics``) computes in float64 and refuses values outside
[0, 1]; a loss must be fast and must take what a network gives, so the formula is here once more, on convolutions.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from unhaze.errors import ImageValueError

__all__ = ["ssim_loss"]

SIZE, SIGMA = 11, 1.5
C1, C2 = 0.01**2, 0.03**2  # dynamic range 1


def ssim_loss(preds: Tensor, target: Tensor, *, zero_padded: bool = False) -> Tensor:
    """1 - SSIM with an 11x11 Gaussian window (sigma 1.5), mean over pixels, channels and pictures.

    Args:
        preds: (B, C, H, W), values in [0, 1] or near.
        target: The same shape.
        zero_padded: Slide the window over the border, with zeros outside (pytorch-ssim: CoA), instead of keeping it
            inside (pytorch-msssim: SGDN).

    Raises:
        ImageValueError: The window does not fit into the pictures.

    >>> round(float(ssim_loss(torch.ones(1, 3, 16, 16), torch.ones(1, 3, 16, 16))), 6)
    0.0
    """
    if not zero_padded and min(preds.shape[-2:]) < SIZE:
        size = f"{preds.shape[-1]}x{preds.shape[-2]} px"
        raise ImageValueError(f"SSIM needs pictures of at least {SIZE} px on each side, not {size}; take larger crops.")
    x, y = preds.float(), target.float()
    planes = torch.cat((x, y, x * x + y * y, x * y), 1)
    mean_x, mean_y, squares, product = _window(planes, SIZE // 2 if zero_padded else 0).chunk(4, 1)
    means, both = mean_x * mean_y, mean_x.square() + mean_y.square()
    luminance = (2 * means + C1) / (both + C1)  # Eq. 6
    structure = (2 * (product - means) + C2) / (squares - both + C2)  # Eq. 9 and 10
    return 1 - (luminance * structure).mean()  # Eq. 13


def _window(planes: Tensor, padding: int) -> Tensor:
    """Gaussian means of (B, C, H, W), along one axis and then along the other."""
    channels = planes.shape[1]
    taps = _taps().to(planes).expand(channels, 1, 1, SIZE)
    rows = F.conv2d(planes, taps, padding=(0, padding), groups=channels)
    return F.conv2d(rows, taps.transpose(2, 3), padding=(padding, 0), groups=channels)


@lru_cache(maxsize=1)
def _taps() -> Tensor:
    weights = [math.exp(-((i - SIZE // 2) ** 2) / (2 * SIGMA**2)) for i in range(SIZE)]
    return torch.tensor([weight / math.fsum(weights) for weight in weights])
