"""What dehazing breaks: detail lost to clipping, and colours that moved, both against the hazy input."""

from __future__ import annotations

import torch
from torch import Tensor

from unhaze.metrics.functional._color import code_values, rgb_to_lab
from unhaze.metrics.functional._common import check_pair

__all__ = ["chroma_shift", "clipped"]


@torch.no_grad()
def clipped(preds: Tensor, hazy: Tensor) -> Tensor:
    """Newly clipped pixels [%].

    A pixel is clipped where any of its channels is 0 or 255 once rounded to 8 bit. Counted are the pixels that are
    clipped in the result and were not in the hazy picture, as a share of all pixels.

    Args:
        preds: (B, 3, H, W) restored, in [0, 1].
        hazy: The same shape.

    Returns:
        (B,) float64 in [0, 100].

    Raises:
        ImageValueError: Not such images, or the two do not match.
    """
    after, before = (_is_clipped(images) for images in check_pair(preds, hazy, "hazy"))
    return (after & ~before).double().mean(dim=(1, 2)) * 100


def _is_clipped(images: Tensor) -> Tensor:
    codes = code_values(images)
    return ((codes == 0) | (codes == 255)).any(dim=1)


@torch.no_grad()
def chroma_shift(preds: Tensor, hazy: Tensor) -> Tensor:
    """Mean CIELAB chroma change: how far colours moved in the (a*, b*) plane, whatever happened to lightness.

    The mean over all pixels of sqrt((a*_restored - a*_hazy)^2 + (b*_restored - b*_hazy)^2), so both more colour and
    another hue count. Removing haze brings colour back, so the best value is not 0; two methods that remove the same
    haze can be compared, and a large value points to a colour cast or to overdone saturation.

    Args:
        preds: (B, 3, H, W) restored, sRGB in [0, 1].
        hazy: The same shape.

    Returns:
        (B,) float64, at least 0, in CIELAB units.

    Raises:
        ImageValueError: Not such images, or the two do not match.
    """
    after, before = (rgb_to_lab(images) for images in check_pair(preds, hazy, "hazy"))
    _, change_a, change_b = (after - before).unbind(1)
    return torch.hypot(change_a, change_b).mean(dim=(1, 2))
