"""The haze field of a picture, for the page: it removes the haze itself, again and again, while a slider moves."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from unhaze.images.color import tone_curve
from unhaze.images.levels import nominal_white

if TYPE_CHECKING:
    from unhaze.restore.dehazer import Dehazer
    from unhaze.restore.haze_field import HazeField

__all__ = ["FIELD_TYPE", "pack_field", "solve_packed"]

FIELD_TYPE = "application/octet-stream"


def solve_packed(dehazer: Dehazer, data: bytes) -> bytes:
    """The field of a picture file, packed.

    Raises:
        ImageError: The picture cannot be read.
        OverBudgetError: It is too large.
    """
    picture = dehazer.read(data)
    white = nominal_white(picture.pixels.dtype) if picture.white is None else picture.white
    if dehazer.white is not None and picture.pixels.dtype != np.uint8:
        white = dehazer.white
    curve = tone_curve(picture.metadata.icc)
    return pack_field(dehazer.solve(picture.pixels, curve, white=white, hidden=picture.hidden()))


def pack_field(field: HazeField) -> bytes:
    """A field as bytes, all little-endian.

    Args:
        field: The haze of a picture of any size; its exposure lift is that of ``keep_exposure=1``.

    Returns:
        Length of the head (uint32); the head, JSON padded with spaces to a multiple of 4 bytes; then float32: slope,
        offset and confidence, (height, width) each, and the airlight, ``lights`` numbers: RGB, or (height, width, 3).
    """
    height, width = field.slope.shape
    airlight = field.airlight.reshape(-1, 3)
    head: dict[str, Any] = {
        "width": width,
        "height": height,
        "lights": airlight.size,
        "lift": field.lift,
        "least": field.least,
        "density": field.density,
        "beyond_sight": field.beyond_sight,
        "confidence": float(field.confidence.mean()),
        "airlight": [float(value) for value in airlight.mean(axis=0)],
        "looks_clear": field.looks_clear,
    }
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 4)
    planes = (field.slope, field.offset, field.confidence, airlight)
    return b"".join(
        [
            len(text).to_bytes(4, "little"),
            text,
            *(np.ascontiguousarray(each, "<f4").tobytes() for each in planes),
        ]
    )
