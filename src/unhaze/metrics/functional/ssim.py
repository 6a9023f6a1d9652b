"""Structural similarity, under the conventions that dehazing papers and their code actually use.

All share one formula: Z. Wang, A. C. Bovik, H. R. Sheikh, E. P. Simoncelli, "Image quality assessment: from error
visibility to structural similarity", IEEE TIP 13(4), 2004. They differ in what they apply it to, and their values
differ in the second decimal: never compare across conventions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from torch import Tensor
from torch.nn import functional

from unhaze.errors import UnknownNameError
from unhaze.metrics.functional._color import limited_range_luma
from unhaze.metrics.functional._common import check_pair, check_side
from unhaze.metrics.functional._filters import correlate_both, gaussian_taps

__all__ = ["SSIM_CONVENTIONS", "SSIMConvention", "ssim", "ssim_map"]

WINDOW = gaussian_taps(11, 1.5)
C1, C2 = 0.01**2, 0.03**2  # (K1 L)^2 and (K2 L)^2 with dynamic range L = 1


@dataclass(frozen=True, slots=True)
class SSIMConvention:
    """What the SSIM formula is applied to.

    Attributes:
        name: The name that results are labelled with.
        luma: Compare the limited-range BT.601 luma instead of R, G and B.
        pooled: First average down to about 256 pixels on the shorter side.
        zero_padded: Slide the window over the border, with zeros outside, instead of keeping it inside.
        source: The code that computes it so.
    """

    name: str
    luma: bool
    pooled: bool
    zero_padded: bool
    source: str


SSIM_CONVENTIONS: Mapping[str, SSIMConvention] = MappingProxyType(
    {
        convention.name: convention
        for convention in (
            SSIMConvention("gaussian", False, False, False, "pytorch-msssim; scikit-image with gaussian_weights=True"),
            SSIMConvention("basicsr_rgb", False, False, False, "BasicSR calculate_ssim, test_y_channel=False"),
            SSIMConvention("y", True, False, False, "BasicSR calculate_ssim, test_y_channel=True; MATLAB rgb2ycbcr"),
            SSIMConvention("dehazeformer", False, True, False, "DehazeFormer test.py"),
            SSIMConvention("dcmpnet", False, True, True, "DCMPNet test.py"),
            SSIMConvention("pytorch_ssim", False, False, True, "pytorch-ssim, as in DEA-Net and MITNet"),
        )
    }
)


def ssim(preds: Tensor, target: Tensor, convention: str = "gaussian") -> Tensor:
    """Mean structural similarity; 1 for equal pictures.

    Args:
        preds: (B, 3, H, W) in [0, 1].
        target: The same shape.
        convention: ``"gaussian"``: 11x11 Gaussian window (sigma 1.5) inside the picture, mean over R, G, B.
            ``"basicsr_rgb"``: the same formula; BasicSR applies it to pictures rounded to 8 bit, which is left to
            the caller. ``"y"``: the same on limited-range luma. ``"dehazeformer"``: after averaging by
            r = max(1, round(min(H, W) / 256)). ``"dcmpnet"``: as dehazeformer, but zero-padded.
            ``"pytorch_ssim"``: zero-padded at full size.

    Returns:
        (B,) float64 in [-1, 1].

    Raises:
        ImageValueError: Not such images, the two do not match, or they are smaller than the window.
        UnknownNameError: No such convention.

    >>> import torch
    >>> photo = torch.rand(2, 3, 32, 48)
    >>> ssim(photo, photo, "dehazeformer")
    tensor([1., 1.], dtype=torch.float64)
    """
    return ssim_map(preds, target, convention).mean(dim=(1, 2, 3))


def ssim_map(preds: Tensor, target: Tensor, convention: str = "gaussian") -> Tensor:
    """The local similarity whose mean :func:`ssim` is.

    Returns:
        (B, C, h, w) float64: C is 1 for luma, otherwise 3; h and w are those of the compared planes, less 10 where
        the window stays inside.

    Raises:
        ImageValueError: As :func:`ssim`.
        UnknownNameError: No such convention.
    """
    if convention not in SSIM_CONVENTIONS:
        raise UnknownNameError("SSIM convention", convention, SSIM_CONVENTIONS)
    rule = SSIM_CONVENTIONS[convention]
    first, second = (_prepared(images, rule) for images in check_pair(preds, target))
    luminance, contrast_structure = similarity_terms(first, second)
    return luminance * contrast_structure


def _prepared(images: Tensor, rule: SSIMConvention) -> Tensor:
    planes = limited_range_luma(images) if rule.luma else images
    if rule.pooled:
        height, width = planes.shape[-2:]
        ratio = max(1, round(min(height, width) / 256))  # halves round to even, as in the code of the papers
        planes = planes if ratio == 1 else functional.adaptive_avg_pool2d(planes, (height // ratio, width // ratio))
    if rule.zero_padded:
        return functional.pad(planes, (5, 5, 5, 5))
    check_side(planes, len(WINDOW), f"SSIM ({rule.name})")
    return planes


def similarity_terms(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Luminance l and contrast-structure c*s (Eq. 6 and 13 of Wang et al.) where the 11x11 window lies inside."""
    mean1, mean2 = correlate_both(first, WINDOW), correlate_both(second, WINDOW)
    squared1, squared2, product = mean1.square(), mean2.square(), mean1 * mean2
    variances = correlate_both(first.square() + second.square(), WINDOW) - squared1 - squared2
    covariance = correlate_both(first * second, WINDOW) - product
    luminance = (2 * product + C1) / (squared1 + squared2 + C1)
    return luminance, (2 * covariance + C2) / (variances + C2)
