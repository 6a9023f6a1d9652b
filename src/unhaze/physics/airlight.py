"""Estimators of the airlight, the colour of the haze, from a single picture.

All of them look at the whole picture at once: an airlight per tile would differ from tile to tile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np

from unhaze.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from unhaze.types import FloatMap

__all__ = ["brightest_dark_pixels", "quad_tree"]


def brightest_dark_pixels(
    image: NDArray[Any], dark: NDArray[Any], fraction: float = 0.001, *, pick: Literal["mean", "brightest"] = "mean"
) -> FloatMap:
    """Airlight from the pixels with the largest dark channel (He et al. 2011, section 4.3).

    The most haze-opaque pixels are those whose dark channel reaches the value that the ``fraction``-th largest has.
    Pixels that tie with it all count, so that the estimate does not depend on the order in which pixels are stored.

    Args:
        image: (H, W, 3) RGB in [0, 1].
        dark: (H, W) dark channel of ``image``, see :func:`~unhaze.physics.priors.dark_channel`.
        fraction: Share of the pixels to consider, in (0, 1]; always at least one pixel.
        pick: What to return of them. ``"brightest"`` is the one of the largest R + G + B, as in the paper; ``"mean"``
            is their mean, which noise and single light sources disturb less.

    Returns:
        (3,) float32 RGB in [0, 1].

    Raises:
        UsageError: ``fraction`` or ``pick`` has no meaning, or the shapes do not match.
    """
    if not 0 < fraction <= 1:
        raise UsageError(f"The fraction of pixels must be in (0, 1], but is {fraction}.")
    if image.shape[:2] != dark.shape:
        raise UsageError(f"Picture {image.shape[:2]} and dark channel {dark.shape} differ in size; they must match.")
    rank = dark.size - max(1, round(fraction * dark.size))
    threshold = np.partition(dark, rank, axis=None)[rank]
    candidates = image[dark >= threshold]  # (N, 3)
    if pick == "mean":
        return np.asarray(candidates.mean(axis=0, dtype=np.float64), np.float32)
    if pick == "brightest":
        return np.array(candidates[candidates.sum(axis=1).argmax()], np.float32)
    raise UsageError(f"There is no way {pick!r} to pick the airlight; choose 'mean' or 'brightest'.")


def quad_tree(image: NDArray[Any], *, smallest: int = 200) -> FloatMap:
    """Airlight by hierarchical search (Kim, Jang, Sim and Kim 2013, section 3.1).

    The picture is cut into four, the part with the largest mean minus standard deviation (bright and even: sky or
    dense haze, not a white wall's edge or a lamp) is kept, and so on until it is small. In the last part the pixel
    nearest to white is taken.

    Args:
        image: (H, W, 3) RGB float32 in [0, 1], any size.
        smallest: Number of pixels from which a part is not cut again; at least 1.

    Returns:
        (3,) float32 RGB in [0, 1].

    Raises:
        UsageError: ``smallest`` is below 1.
    """
    if smallest < 1:
        raise UsageError(f"The smallest part must have at least 1 pixel, but smallest is {smallest}.")
    part = np.ascontiguousarray(image, np.float32)
    while part.shape[0] * part.shape[1] > smallest:
        rows, columns = part.shape[0] // 2, part.shape[1] // 2
        parts = (part[:rows, :columns], part[:rows, columns:], part[rows:, :columns], part[rows:, columns:])
        part = max((each for each in parts if each.size), key=_evenness)  # of two where only one side can be cut
    pixels = part.reshape(-1, 3)
    distance = np.square(1.0 - pixels).sum(axis=1)  # Kim et al. 2013, section 3.1: || I(p) - (255, 255, 255) ||
    return np.array(pixels[distance.argmin()], np.float32)


def _evenness(part: FloatMap) -> float:
    mean, deviation = cv2.meanStdDev(part)
    return float(np.sum(mean) - np.sum(deviation))  # Kim et al. 2013, section 3.1: the score of a region
