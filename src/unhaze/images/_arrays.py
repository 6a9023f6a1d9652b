"""Orientation, alpha and number types of pixel arrays."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from unhaze.images._picture import Pixels
from unhaze.images.levels import FAINT_ALPHA

__all__ = [
    "grey_to_rgb",
    "merge_alpha",
    "premultiply",
    "split_channels",
    "to_uint8",
    "to_uint16",
    "unpremultiply",
    "upright",
]


_STRIP_PIXELS = 1 << 18


def split_channels(stored: Pixels, *, grey: bool) -> tuple[Pixels, Pixels | None]:
    """RGB or grey pixels and alpha of (H, W), (H, W, 2), (H, W, 3) or (H, W, 4) channels in the order of RGBA.

    Args:
        stored: The channels.
        grey: Whether the picture is grey; of three equal channels the first is taken.
    """
    if stored.ndim == 2:
        return stored, None
    alpha = np.ascontiguousarray(stored[..., -1]) if stored.shape[2] in (2, 4) else None
    return np.ascontiguousarray(stored[..., 0] if grey else stored[..., :3]), alpha


def merge_alpha(pixels: Pixels, alpha: Pixels | None) -> Pixels:
    """RGBA or grey with alpha, from pixels and alpha."""
    return pixels if alpha is None else np.dstack([pixels, alpha])


def upright(stored: Pixels, orientation: int) -> Pixels:
    """Apply an EXIF orientation, 1 to 8 (EXIF 3.0, tag 274), so that the top of the scene is in row 0."""
    match orientation:
        case 2:
            return cv2.flip(stored, 1)
        case 3:
            return cv2.rotate(stored, cv2.ROTATE_180)
        case 4:
            return cv2.flip(stored, 0)
        case 5:
            return cv2.transpose(stored)
        case 6:
            return cv2.rotate(stored, cv2.ROTATE_90_CLOCKWISE)
        case 7:
            return cv2.flip(cv2.transpose(stored), -1)
        case 8:
            return cv2.rotate(stored, cv2.ROTATE_90_COUNTERCLOCKWISE)
        case _:
            return stored


def to_uint8(values: Pixels, *, white: float | None = None) -> Pixels:
    """Round to 8 bit, from [0, white]; white is 65535 for uint16 and 1 for floats if not given. NaN becomes 0."""
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.uint16:  # rounds without a float copy of the picture
        return cv2.convertScaleAbs(values, alpha=1 / 257 if white is None else 255 / white)
    return _float_to(values, 255, np.uint8, white)


def to_uint16(values: Pixels, *, white: float | None = None) -> Pixels:
    """Round floats from [0, white], white being 1 if not given, to 16 bit; integers stay. NaN becomes 0."""
    return _float_to(values, 65535, np.uint16, white) if values.dtype.kind == "f" else values


def _float_to(values: Pixels, top: int, dtype: type[np.unsignedinteger[Any]], white: float | None) -> Pixels:
    result = np.empty(values.shape, dtype)
    scale = np.float32(top) / np.float32(1 if white is None else white)
    for row in range(0, len(values), 256):  # in strips: the float copy stays small
        strip = np.clip(values[row : row + 256], 0.0, 1.0 if white is None else np.float32(white)) * scale
        strip[np.isnan(strip)] = 0
        result[row : row + 256] = np.rint(strip)
    return result


def unpremultiply(pixels: Pixels, alpha: Pixels) -> tuple[Pixels, list[str]]:
    """Colours as they are without alpha, and a note on those that no alpha gives.

    Integers come back exactly through :func:`premultiply`, but for colours brighter than their alpha: they become
    white. Floats have room for those.
    """
    colours, too_bright = _scale_by_alpha(pixels, alpha, divide=True)
    lost = f"{too_bright} pixels are brighter than their alpha allows; they were darkened to what it does."
    return colours, [lost] if too_bright else []


def premultiply(pixels: Pixels, alpha: Pixels) -> Pixels:
    """Colours multiplied by alpha."""
    return _scale_by_alpha(pixels, alpha, divide=False)[0]


def _scale_by_alpha(pixels: Pixels, alpha: Pixels, *, divide: bool) -> tuple[Pixels, int]:
    integer = pixels.dtype.kind == "u"
    top = float(np.iinfo(pixels.dtype).max) if integer else 1.0
    result, clipped = np.empty_like(pixels), 0
    rows = max(
        1, _STRIP_PIXELS // pixels.shape[1]
    )  # what is float64 for a moment stays small, however wide the picture
    for row in range(0, len(pixels), rows):
        weight = alpha[row : row + rows].astype(np.float64) / top
        weight = weight[..., None] if pixels.ndim == 3 else weight
        strip = pixels[row : row + rows]
        shown = weight > (0 if integer else FAINT_ALPHA)  # below, noise would be divided by next to nothing
        scale = np.divide if divide else np.multiply
        with np.errstate(invalid="ignore"):  # infinite colours and weights give NaN, which are counted in a note
            scaled = scale(strip, weight, out=strip.astype(np.float64), where=shown)
        if integer:
            scaled = np.rint(scaled, out=scaled)
            above = scaled > top
            clipped += int(np.count_nonzero(above.any(axis=2) if above.ndim == 3 else above))
            np.minimum(scaled, top, out=scaled)
        with np.errstate(over="ignore"):  # as is what is beyond float32
            result[row : row + rows] = scaled
    return result, clipped


def grey_to_rgb(pixels: Pixels) -> Pixels:
    """Three equal channels of a grey picture; colour pictures stay."""
    return np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels
