"""Depth maps as pictures: grey 16-bit PNG that can be read back as numbers, and coloured ones for the eye."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from unhaze.images.files import Metadata, Picture, encode_image
from unhaze.types import DepthMap

__all__ = ["DepthPicture", "color_depth", "gray_depth"]

_TOP = 65535
_COLORS = 255


@dataclass(frozen=True, slots=True)
class DepthPicture:
    """A depth map as a file.

    Attributes:
        data: Content of a PNG file.
        scale: Depth of one level: metres for ``"metric"``, else in the unit of the map. ``None`` where levels are not
            proportional to depth.
    """

    data: bytes
    scale: float | None


def gray_depth(depth: DepthMap[NDArray[np.float32]]) -> DepthPicture:
    """Grey 16-bit PNG of a map (H, W); far is bright.

    The text of the file says how many metres or units a level is.

    Metric maps get a scale that is a power of ten (0.001 for up to 65 m); relative maps use all levels; inverse
    relative maps are flipped and stretched.
    """
    farthest, scale = float(depth.map.max()), None
    if depth.kind == "relative":
        scale = (farthest or 1.0) / _TOP
    elif depth.kind == "metric":
        scale = 10.0 ** max(-3, int(np.ceil(np.log10(max(farthest, 1e-9) / _TOP))))
    levels = depth.map / np.float64(scale) if scale else _far_to_near(depth) * _TOP
    pixels = np.rint(np.clip(levels, 0, _TOP)).astype(np.uint16)
    unit = {"metric": "m", "relative": "relative", "inverse_relative": "order only"}[depth.kind]
    text = (("unhaze depth", f"far is bright; unit: {unit}; depth per level: {scale:g}" if scale else "far is bright"),)
    return DepthPicture(encode_image(Picture(pixels, None, "png", Metadata(text=text)), "png"), scale)


def color_depth(depth: DepthMap[NDArray[np.float32]]) -> DepthPicture:
    """8-bit colour PNG of a map (H, W) for the eye: near is warm (red), far is cold (blue)."""
    nearness = np.rint((1 - _far_to_near(depth)) * _COLORS).astype(np.uint8)
    rgb = cv2.cvtColor(cv2.applyColorMap(nearness, cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB)
    text = (("unhaze depth", "near is red, far is blue"),)
    return DepthPicture(encode_image(Picture(rgb, None, "png", Metadata(text=text)), "png"), None)


def _far_to_near(depth: DepthMap[NDArray[np.float32]]) -> NDArray[np.float64]:
    """The map stretched to [0, 1]: 0 is the nearest point, 1 the farthest."""
    values = depth.map.astype(np.float64)
    low, high = values.min(), values.max()
    stretched: NDArray[np.float64] = (values - low) / ((high - low) or 1.0)
    return stretched if depth.far_is_large else 1 - stretched
