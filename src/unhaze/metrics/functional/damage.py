"""What dehazing breaks, against the hazy input: detail, colours, brightness, and smooth skies."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from unhaze.metrics.functional._color import code_values, rgb_to_lab
from unhaze.metrics.functional._common import check_pair

__all__ = ["chroma_shift", "clipped", "lightness_change", "ring"]

_RING_SIDE = 512  # long side at which rings are looked for [px]
_SMOOTH_WINDOW, _SMOOTH_DEVIATION = 13, 1.5  # [px], [L*]: where the hazy picture is smooth
_SMOOTH_ERODED, _SMOOTH_LEAST = 5, 0.02  # [px], share of the picture
_SLOPE_SIGMA = 5.0  # [px]: finer edges are noise and texture
_SLOPE_KEPT = 3.0  # removing haze may make a slope that is there this much steeper
_RING_PERCENTILE = 99


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
    codes = (code_values(images) for images in check_pair(preds, hazy, "hazy"))
    after, before = (((each == 0) | (each == 255)).any(dim=1) for each in codes)
    return (after & ~before).double().mean(dim=(1, 2)) * 100


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


@torch.no_grad()
def lightness_change(preds: Tensor, hazy: Tensor) -> Tensor:
    """Mean change of CIELAB lightness: negative where the result is darker than the hazy picture.

    Haze is light, so removing it darkens a picture; a picture that lost more than about 15 looks underexposed.

    Args:
        preds: (B, 3, H, W) restored, sRGB in [0, 1].
        hazy: The same shape.

    Returns:
        (B,) float64 in [-100, 100], in units of L*.

    Raises:
        ImageValueError: Not such images, or the two do not match.
    """
    after, before = (rgb_to_lab(images)[:, 0] for images in check_pair(preds, hazy, "hazy"))
    return (after - before).mean(dim=(1, 2))


@torch.no_grad()
def ring(preds: Tensor, hazy: Tensor) -> Tensor:
    """False edges in fog and sky: slopes of brightness where the hazy picture is smooth.

    Both pictures are brought to 512 pixels on the long side. Smooth is where the standard deviation of the hazy
    picture's L* over 13 x 13 pixels is below 1.5, less a margin of two pixels. The slope is the Sobel gradient of L*
    after a Gaussian of sigma 5. A slope of the result is false as far as it exceeds three times that of the hazy
    picture; the value is the 99th percentile of that excess over the smooth pixels, in L* per pixel. Below about .1
    nobody sees anything, above .5 a person sees a dark cloud, a bright blob or a ring.

    Args:
        preds: (B, 3, H, W) restored, sRGB in [0, 1].
        hazy: The same shape.

    Returns:
        (B,) float64, at least 0; 0 where less than 2 % of the hazy picture is smooth.

    Raises:
        ImageValueError: Not such images, or the two do not match.
    """
    after, before = check_pair(preds, hazy, "hazy")
    rings = [_ring(_lightness(one), _lightness(other)) for one, other in zip(after, before, strict=True)]
    return torch.tensor(rings, dtype=torch.float64, device=preds.device)


def _lightness(image: Tensor) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """L* of (3, H, W) at the size at which rings are looked for, (h, w) float64."""
    pixels = image.detach().clamp(0, 1).permute(1, 2, 0).double().cpu().numpy()
    scale = _RING_SIDE / max(pixels.shape[:2])
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    resized = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    lab = rgb_to_lab(torch.from_numpy(np.ascontiguousarray(resized)).permute(2, 0, 1)[None])
    return lab[0, 0].numpy()


def _ring(
    after: np.ndarray[tuple[int, int], np.dtype[np.float64]], before: np.ndarray[tuple[int, int], np.dtype[np.float64]]
) -> float:
    window = (_SMOOTH_WINDOW, _SMOOTH_WINDOW)
    mean = cv2.blur(before, window)
    deviation = np.sqrt(np.maximum(cv2.blur(before * before, window) - mean * mean, 0))
    smooth = cv2.erode((deviation < _SMOOTH_DEVIATION).astype(np.uint8), np.ones((_SMOOTH_ERODED, _SMOOTH_ERODED)))
    if smooth.mean() < _SMOOTH_LEAST:
        return 0.0
    false = np.maximum(0, _slope(after) - _SLOPE_KEPT * _slope(before))
    return float(np.percentile(false[smooth > 0], _RING_PERCENTILE))


def _slope(
    lightness: np.ndarray[tuple[int, int], np.dtype[np.float64]],
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    blurred = cv2.GaussianBlur(lightness, (0, 0), _SLOPE_SIGMA)
    across, down = (cv2.Sobel(blurred, cv2.CV_64F, *axis, scale=1 / 8) for axis in ((1, 0), (0, 1)))
    return np.hypot(across, down)
