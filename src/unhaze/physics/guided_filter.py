"""Edge-aware smoothing and upsampling with a picture as guide.

A guide is grey (H, W) or colour (H, W, 3), float32, nominally in [0, 1].
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from unhaze.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from unhaze.types import FloatMap

__all__ = ["box_mean", "guided_coefficients", "guided_filter", "guided_upsample", "joint_bilateral_upsample"]

# rows of the full picture handled at a time: bounds the memory for intermediate maps of a large picture
_STRIP = 256


def box_mean(x: NDArray[Any], radius: int) -> FloatMap:
    """Mean over the window of (2 radius + 1)² pixels around each pixel.

    At the border the window is clipped and the mean is that of the pixels inside, as in He et al.'s own code. Mirroring
    the picture instead would count the pixels near the border twice and so pull the local statistics towards them.

    Args:
        x: (H, W) or (H, W, C) float, any size, also smaller than the window.
        radius: In pixels, at least 0.

    Returns:
        Float32 of the shape of ``x``.

    Raises:
        UsageError: ``radius`` is negative.
    """
    if radius < 0:
        raise UsageError(f"The radius must be at least 0 pixels, but is {radius}.")
    x = np.ascontiguousarray(x, np.float32)
    height, width = x.shape[:2]
    reach_y, reach_x = min(radius, height - 1), min(radius, width - 1)  # farther pixels do not exist
    size = (2 * reach_x + 1, 2 * reach_y + 1)
    total = cv2.boxFilter(x, -1, size, normalize=False, borderType=cv2.BORDER_CONSTANT).reshape(x.shape)
    # how many pixels of a column, and of a row, lie within reach of each
    rows, columns = (
        np.minimum(places + reach, places[-1]) - np.maximum(places - reach, 0) + 1.0
        for places, reach in ((np.arange(height), reach_y), (np.arange(width), reach_x))
    )
    share = np.asarray(1 / np.outer(rows, columns), np.float32).reshape(height, width, *(1,) * (x.ndim - 2))
    return np.asarray(np.multiply(total, share, out=total), np.float32)


def guided_coefficients(
    guide: NDArray[Any], source: NDArray[Any], radius: int, eps: float
) -> tuple[FloatMap, FloatMap]:
    """Coefficients of the guided filter (He, Sun and Tang 2013, Eqs. 5, 6, 8).

    The filtered map is the linear function q = a · guide + b of the guide, with a and b the means over all windows that
    hold the pixel. As a and b are smooth, they can be computed small and applied to a large guide.

    Args:
        guide: (H, W) grey or (H, W, 3) colour, in [0, 1].
        source: (H, W) map to filter.
        radius: Radius of the windows in pixels, at least 0.
        eps: Regularisation, positive: edges whose variance in the guide is well above ``eps`` are kept.

    Returns:
        ``(a, b)``: a has the shape of ``guide``, b is (H, W); float32.

    Raises:
        UsageError: An argument is out of range, or the shapes do not match.
    """
    _check_guide(guide, source)
    if not eps > 0:
        raise UsageError(f"eps must be positive, but is {eps}; typical values are 1e-4 to 1e-2.")
    guide, source = np.asarray(guide, np.float32), np.asarray(source, np.float32)
    if guide.ndim == 3:
        a, b = _solve_color(guide, source, radius, eps)
        return box_mean(a, radius), box_mean(b, radius)  # Eq. 8
    # E[x²] - E[x]² loses digits where the mean is large, so the statistics are taken about the picture's own mean
    offset = guide.mean(dtype=np.float32)
    centred = guide - offset
    mean_guide, mean_source = box_mean(centred, radius), box_mean(source, radius)
    variance = np.maximum(box_mean(centred * centred, radius) - mean_guide * mean_guide, 0)
    covariance = box_mean(centred * source, radius) - mean_guide * mean_source
    a = np.asarray(covariance / (variance + np.float32(eps)), np.float32)  # Eq. 5
    b = mean_source - a * (mean_guide + offset)  # Eq. 6
    return box_mean(a, radius), box_mean(b, radius)  # Eq. 8


def guided_filter(guide: NDArray[Any], source: NDArray[Any], radius: int, eps: float) -> FloatMap:
    """Smooth ``source`` but keep the edges of ``guide`` (He, Sun and Tang 2013).

    Args:
        guide: (H, W) grey or (H, W, 3) colour, in [0, 1].
        source: (H, W) map to filter.
        radius: Radius of the windows in pixels, at least 0.
        eps: Regularisation, positive, see :func:`guided_coefficients`.

    Returns:
        (H, W) float32. Not clipped: next to strong edges it may leave the range of ``source`` a little.

    Raises:
        UsageError: An argument is out of range, or the shapes do not match.
    """
    a, b = guided_coefficients(guide, source, radius, eps)
    return _apply(a, b, np.asarray(guide, np.float32))


def guided_upsample(
    guide_low: NDArray[Any], source_low: NDArray[Any], guide_full: NDArray[Any], radius: int, eps: float
) -> FloatMap:
    """Bring a small map to the size of a large guide (fast guided filter, He and Sun 2015, Algorithm 2).

    The coefficients are computed at the small size and interpolated bilinearly, pixel areas aligned; the large guide
    then brings its edges.

    Args:
        guide_low: (h, w) grey or (h, w, 3) colour, the guide reduced to the size of the map.
        source_low: (h, w) map.
        guide_full: (H, W) or (H, W, 3), the guide at full size.
        radius: Radius of the windows in pixels of the small map.
        eps: Regularisation, positive, see :func:`guided_coefficients`.

    Returns:
        (H, W) float32.

    Raises:
        UsageError: An argument is out of range, or the shapes do not match.
    """
    _check_pair(guide_low, guide_full)
    a, b = guided_coefficients(guide_low, source_low, radius, eps)
    size = guide_full.shape[1], guide_full.shape[0]
    a_full, b_full = (cv2.resize(each, size, interpolation=cv2.INTER_LINEAR) for each in (a, b))
    return _apply(np.asarray(a_full, np.float32), np.asarray(b_full, np.float32), np.asarray(guide_full, np.float32))


def joint_bilateral_upsample(
    guide_low: NDArray[Any],
    source_low: NDArray[Any],
    guide_full: NDArray[Any],
    radius: int,
    sigma_space: float,
    sigma_range: float,
) -> FloatMap:
    """Bring a small map to the size of a large guide (joint bilateral upsampling, Kopf et al. 2007, Eq. 3).

    Each large pixel is a mean of small pixels around its place, weighted by distance and by likeness of the guides.
    The result stays within the range of ``source_low``.

    Args:
        guide_low: (h, w) grey or (h, w, 3) colour, the guide reduced to the size of the map.
        source_low: (h, w) map.
        guide_full: (H, W) or (H, W, 3), the guide at full size.
        radius: Radius of the window in pixels of the small map, at least 0; 2 sigma_space is plenty.
        sigma_space: Deviation of the weight of distance, in pixels of the small map, positive.
        sigma_range: Deviation of the weight of likeness, in units of the guide, positive.

    Returns:
        (H, W) float32.

    Raises:
        UsageError: An argument is out of range, or the shapes do not match.
    """
    _check_guide(guide_low, source_low)
    _check_pair(guide_low, guide_full)
    if radius < 0 or not sigma_space > 0 or not sigma_range > 0:
        raise UsageError("The radius must be at least 0 and both sigmas positive for joint bilateral upsampling.")
    small = np.concatenate([np.asarray(source_low, np.float32)[None], _planes(guide_low)])  # (1 + C, h, w)
    full = _planes(guide_full)  # (C, H, W)
    result = np.empty(full.shape[1:], np.float32)
    for start in range(0, full.shape[1], _STRIP):
        strip = slice(start, start + _STRIP)
        result[strip] = _bilateral_rows(small, full, strip, radius, sigma_space, sigma_range)
    return result


def _solve_color(guide: FloatMap, source: FloatMap, radius: int, eps: float) -> tuple[FloatMap, FloatMap]:
    """Coefficients of every window for a colour guide, before they are averaged.

    Equations 14 and 15 are numbered as in the authors' code for colour guides.

    The 3 x 3 systems (Sigma + eps U) a = cov are solved by an L D Lᵀ factorisation written out for all windows at once.
    Cofactors would take as long but cancel badly on greyish guides, whose Sigma is nearly singular.
    """
    offset = guide.mean(axis=(0, 1), dtype=np.float32)  # (3,), as for grey
    red, green, blue = cv2.split(guide - offset)
    mean_r, mean_g, mean_b, mean_source = (box_mean(each, radius) for each in (red, green, blue, source))

    def covariance(x: Any, y: Any, mean_x: FloatMap, mean_y: FloatMap) -> FloatMap:
        return box_mean(x * y, radius) - mean_x * mean_y

    floor = np.float32(eps)
    # the pivots of a matrix Sigma + eps U are never below eps: rounding must not bring them there
    d1 = np.maximum(covariance(red, red, mean_r, mean_r), 0) + floor
    l21 = covariance(green, red, mean_g, mean_r) / d1
    l31 = covariance(blue, red, mean_b, mean_r) / d1
    d2 = np.maximum(covariance(green, green, mean_g, mean_g) - l21 * l21 * d1, 0) + floor
    l32 = (covariance(blue, green, mean_b, mean_g) - l31 * l21 * d1) / d2
    d3 = np.maximum(covariance(blue, blue, mean_b, mean_b) - l31 * l31 * d1 - l32 * l32 * d2, 0) + floor

    z1 = covariance(red, source, mean_r, mean_source)
    z2 = covariance(green, source, mean_g, mean_source) - l21 * z1
    z3 = covariance(blue, source, mean_b, mean_source) - l31 * z1 - l32 * z2
    a_b = z3 / d3
    a_g = z2 / d2 - l32 * a_b
    a_r = z1 / d1 - l21 * a_g - l31 * a_b  # Eq. 14
    b = mean_source - a_r * (mean_r + offset[0]) - a_g * (mean_g + offset[1]) - a_b * (mean_b + offset[2])  # Eq. 15
    return np.asarray(cv2.merge([a_r, a_g, a_b]), np.float32).reshape(guide.shape), b


def _apply(a: FloatMap, b: FloatMap, guide: FloatMap) -> FloatMap:
    """The filtered map q = a · guide + b (He, Sun and Tang 2013, Eq. 8), of the shape of ``b``."""
    if guide.ndim == 2:
        return a * guide + b
    result = a[..., 0] * guide[..., 0]
    result += a[..., 1] * guide[..., 1]
    result += a[..., 2] * guide[..., 2]
    result += b
    return result


def _bilateral_rows(
    small: FloatMap, full: FloatMap, strip: slice, radius: int, sigma_space: float, sigma_range: float
) -> FloatMap:
    """The rows ``strip`` of the result; ``small`` is map and guide (1 + C, h, w), ``full`` the guide (C, H, W)."""
    guide = full[:, strip]
    # centre of each pixel, in pixels of the small map along the same side
    places_y, places_x = (
        (np.arange(length) + 0.5) * small_length / length - 0.5
        for length, small_length in zip(full.shape[1:], small.shape[1:], strict=True)
    )
    places_y = places_y[strip]
    total, weights = np.zeros(guide.shape[1:], np.float32), np.zeros(guide.shape[1:], np.float32)
    for step_x in range(-radius, radius + 1):
        columns, near_x = _neighbours(places_x, step_x, small.shape[2], sigma_space)
        wide = small[:, :, columns]  # (1 + C, h, W)
        for step_y in range(-radius, radius + 1):
            rows, near_y = _neighbours(places_y, step_y, small.shape[1], sigma_space)
            likeness = np.zeros(guide.shape[1:], np.float32)  # Gaussian of the difference of the colours
            for plane, other in zip(guide, wide[1:], strict=True):
                difference = plane - other[rows]
                likeness += difference * difference
            likeness *= np.float32(-0.5 / sigma_range**2)
            # the tiny constant leaves a plain distance-weighted mean where no small pixel is alike
            likeness = np.exp(likeness, out=likeness) + np.float32(1e-6)
            weight = np.outer(near_y, near_x) * likeness
            total += weight * wide[0, rows]  # Kopf et al. 2007, Eq. 3
            weights += weight
    return total / weights


def _planes(guide: NDArray[Any]) -> FloatMap:
    """(C, H, W) channels of a guide, grey as one."""
    guide = np.asarray(guide, np.float32)
    return guide[None] if guide.ndim == 2 else np.ascontiguousarray(guide.transpose(2, 0, 1))


def _neighbours(places: NDArray[np.float64], step: int, length: int, sigma: float) -> tuple[NDArray[np.intp], FloatMap]:
    """The small pixel ``step`` away from the nearest one, and its weight by distance: 0 outside the map."""
    wanted = np.rint(places).astype(np.intp) + step
    index = np.clip(wanted, 0, length - 1)
    weight = np.exp(-np.square(wanted - places) / (2 * sigma**2)) * (index == wanted)
    return index, weight.astype(np.float32)


def _check_guide(guide: NDArray[Any], source: NDArray[Any]) -> None:
    if source.ndim != 2 or guide.shape not in (source.shape, (*source.shape, 3)):
        raise UsageError(
            f"A map of shape {source.shape} cannot be filtered with a guide of shape {guide.shape}; "
            "give a map (H, W) and a guide (H, W) or (H, W, 3)."
        )


def _check_pair(guide_low: NDArray[Any], guide_full: NDArray[Any]) -> None:
    if guide_low.shape[2:] != guide_full.shape[2:]:
        raise UsageError("The small and the full guide must both be grey or both be colour.")
