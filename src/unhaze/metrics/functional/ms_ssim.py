"""Multi-scale structural similarity."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from unhaze.metrics.functional._common import check_pair, check_side
from unhaze.metrics.functional.ssim import WINDOW, similarity_terms

__all__ = ["ms_ssim"]

SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang et al. 2003, Sec. 3.2
SMALLEST_SIDE = len(WINDOW) * 2 ** (len(SCALE_WEIGHTS) - 1)


def ms_ssim(preds: Tensor, target: Tensor) -> Tensor:
    """Structural similarity over five scales, on R, G and B; 1 for equal pictures.

    At each scale the similarity is averaged over pixels and channels, then the scales are multiplied with their
    weights as exponents (Eq. 7). A negative average counts as 0. From one scale to the next, 2x2 pixels are averaged
    and an odd last row or column is left out; the window stays inside the picture at every scale.

    Args:
        preds: (B, 3, H, W) in [0, 1], H and W at least 176.
        target: The same shape.

    Returns:
        (B,) float64 in [0, 1].

    Raises:
        ImageValueError: Not such images, the two do not match, or they are too small for five scales.

    Source: Z. Wang, E. P. Simoncelli, A. C. Bovik, "Multiscale structural similarity for image quality assessment",
    Asilomar Conference on Signals, Systems and Computers, 2003.
    """
    first, second = check_pair(preds, target)
    check_side(first, SMALLEST_SIDE, "MS-SSIM")
    scores = []
    for scale in range(len(SCALE_WEIGHTS)):
        if scale:
            first, second = functional.avg_pool2d(first, 2), functional.avg_pool2d(second, 2)
        luminance, similarity = similarity_terms(first, second)
        if scale == len(SCALE_WEIGHTS) - 1:
            similarity = similarity * luminance  # Eq. 7: luminance counts at the coarsest scale only
        scores.append(similarity.mean(dim=(1, 2, 3)))
    means = torch.stack(scores, dim=1)
    positive = means > 0
    # the power has no gradient at 0: take it of 1 there and multiply by 0 afterwards
    product = (means.where(positive, torch.ones_like(means)) ** means.new_tensor(SCALE_WEIGHTS)).prod(dim=1)
    return product * positive.all(dim=1)
