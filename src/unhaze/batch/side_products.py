"""Files that go with a restored picture: a before/after picture, and the maps as 16-bit PNG."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from unhaze.images.depth_maps import gray_depth
from unhaze.images.files import Metadata, Picture, encode_image
from unhaze.images.levels import nominal_white
from unhaze.types import DehazeResult

__all__ = ["COMPARE_LIMIT", "compare_picture", "encode_map", "half_of_compare"]

COMPARE_LIMIT = 2400  # longest side of a before/after picture [px]

_GAP = 6  # width of the line between the halves [px]
_LABELLED_FROM = 64  # smallest side of a half that a label leaves something of [px]
_TOP_LEVEL = 65535

# Absent maps are a broken promise of the method, hence assert rather than raise in encode_map.


def half_of_compare(picture: Picture) -> NDArray[np.uint8]:
    """A copy of ``picture`` small enough for one half of a before/after picture; its alpha is left out.

    Returns:
        (h, w, 3) or (h, w) uint8.
    """
    height, width = picture.pixels.shape[:2]
    scale = min(1.0, (COMPARE_LIMIT - _GAP) / (2 * width), COMPARE_LIMIT / height)
    size = (max(1, int(width * scale)), max(1, int(height * scale)))
    small: NDArray[Any] = picture.pixels
    if scale < 1:
        small = cv2.resize(small, size, interpolation=cv2.INTER_AREA)
    if small.dtype == np.uint8:
        return small.copy()
    top = nominal_white(small.dtype) if picture.white is None else picture.white
    levels = np.clip(small / np.float32(top), 0.0, 1.0) * 255
    return np.rint(np.nan_to_num(levels)).astype(np.uint8)


def compare_picture(before: NDArray[np.uint8], after: NDArray[np.uint8], icc: bytes | None) -> bytes:
    """A JPEG that shows both pictures side by side.

    Args:
        before: (h, w, 3) or (h, w), made by :func:`half_of_compare`.
        after: The same shape.
        icc: Colour profile of the pixels.
    """
    height, width = before.shape[:2]
    canvas = np.full((height, 2 * width + _GAP, *before.shape[2:]), 255, np.uint8)
    canvas[:, :width] = before
    canvas[:, width + _GAP :] = after
    if min(height, width) >= _LABELLED_FROM:
        size = max(12, height // 40)
        image = Image.fromarray(canvas)
        draw = ImageDraw.Draw(image)
        how: dict[str, Any] = {"fill": "white", "stroke_fill": "black", "stroke_width": max(1, size // 10)}
        for text, left in (("before", 0), ("after", width + _GAP)):
            draw.text((left + size, size), text, font=ImageFont.load_default(size), **how)
        canvas = np.asarray(image)
    return encode_image(Picture(canvas, None, "jpeg", Metadata(icc=icc)), "jpeg", quality=90)


def encode_map(result: DehazeResult[Any], name: str) -> bytes:
    """A map of a result as grey 16-bit PNG.

    ``transmission`` and ``confidence`` map [0, 1] to [0, 65535]. ``depth`` is as :func:`gray_depth` writes it: far is
    bright, the farthest point white.
    """
    if name == "depth":
        assert result.depth is not None
        return gray_depth(result.depth).data
    levels = getattr(result, name)
    assert levels is not None
    pixels = np.rint(np.clip(levels, 0.0, 1.0) * _TOP_LEVEL).astype(np.uint16)
    return encode_image(Picture(pixels, None, "png"), "png")
