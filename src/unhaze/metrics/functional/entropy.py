"""Entropy of the grey values: how evenly a picture uses them, without regard to where they stand.

C. E. Shannon, "A mathematical theory of communication", Bell System Technical Journal 27, 1948, of the histogram of
256 grey codes, as MATLAB's ``entropy(rgb2gray(picture))``. Papers on real haze print it; noise and false edges raise it
as much as detail does.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from unhaze.metrics.functional._color import code_values, grey_codes
from unhaze.metrics.functional._common import check_images

__all__ = ["entropy"]


@torch.no_grad()
def entropy(preds: Tensor) -> Tensor:
    """Entropy of the grey histogram [bit]; higher is taken for better.

    Args:
        preds: (B, 3, H, W) RGB in [0, 1], of any size. Scored as the 8-bit picture it rounds to.

    Returns:
        (B,) float64 in [0, 8]; 0 for a picture of one grey.

    Raises:
        ImageValueError: Not such images.

    >>> float(entropy(torch.tensor([0.0, 1.0]).expand(1, 3, 4, 2)))
    1.0
    """
    codes = grey_codes(code_values(check_images(preds))).flatten(1).long()
    shares = torch.stack([torch.bincount(each, minlength=256) for each in codes]).double() / codes.shape[1]
    bits: Tensor = torch.special.entr(shares).sum(dim=1) / math.log(2)
    return bits
