"""Colour spaces that the metrics are defined in; all values float64, sRGB-encoded input in [0, 1]."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["code_values", "grey_codes", "limited_range_luma", "opencv_grey_codes", "rgb_to_lab", "weighted_sum"]

# BT.601 luma as MATLAB's rgb2gray computes it: first row of the inverse of its YIQ matrix
RGB2GRAY = (0.298936021293775, 0.587043074451121, 0.114020904255103)
# BT.601 luma in the 15-bit fixed point of OpenCV's cvtColor
OPENCV_GREY = (9798.0, 19235.0, 3735.0)
# BT.601 limited range, Y = 16 + ..., as in MATLAB's rgb2ycbcr
LIMITED_RANGE_Y = (65.481, 128.553, 24.966)
# IEC 61966-2-1 sRGB primaries to CIE XYZ with white point D65; rows add up to the white point
RGB_TO_XYZ = (
    (0.4124564, 0.3575761, 0.1804375),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339, 0.1191920, 0.9503041),
)
CIE_EPSILON, CIE_KAPPA = 216 / 24389, 24389 / 27


def weighted_sum(images: Tensor, weights: tuple[float, float, float]) -> Tensor:
    """Channels of (B, 3, H, W) times weights, added up: (B, H, W)."""
    red, green, blue = images.unbind(1)
    return red * weights[0] + green * weights[1] + blue * weights[2]


def code_values(images: Tensor) -> Tensor:
    """The 8-bit codes 0..255 of (B, 3, H, W) images, halves rounded up, as float64."""
    return (images.detach().clamp(0, 1) * 255 + 0.5).floor_()


def grey_codes(codes: Tensor) -> Tensor:
    """MATLAB's ``rgb2gray`` of uint8 codes: (B, H, W), rounded to integers 0..255."""
    return (weighted_sum(codes, RGB2GRAY) + 0.5).floor_()


def opencv_grey_codes(codes: Tensor) -> Tensor:
    """OpenCV's ``cvtColor(..., COLOR_RGB2GRAY)`` of uint8 codes: (B, H, W), rounded to integers 0..255."""
    return (weighted_sum(codes, OPENCV_GREY) / 2**15 + 0.5).floor_()


def limited_range_luma(images: Tensor) -> Tensor:
    """BT.601 luma in limited range over 255: (B, 1, H, W) in [16/255, 235/255]."""
    return ((weighted_sum(images, LIMITED_RANGE_Y) + 16) / 255)[:, None]


def rgb_to_lab(images: Tensor) -> Tensor:
    """CIELAB of sRGB images, white point D65, 2 degree observer.

    Returns:
        (B, 3, H, W): L* in [0, 100], a*, b*.

    Source: IEC 61966-2-1 (sRGB); CIE 15 (L*a*b*).
    """
    images = images.clamp(0, 1)
    linear = torch.where(images <= 0.04045, images / 12.92, ((images + 0.055) / 1.055) ** 2.4)
    curves = []
    for row in RGB_TO_XYZ:
        ratio = weighted_sum(linear, row) / sum(row)  # to the white point
        cube_root = ratio.clamp(min=CIE_EPSILON) ** (1 / 3)
        curves.append(torch.where(ratio > CIE_EPSILON, cube_root, (CIE_KAPPA * ratio + 16) / 116))
    fx, fy, fz = curves
    return torch.stack((116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)), dim=1)
