"""Where on earth the pixels of a turned GeoTIFF lie (OGC GeoTIFF 1.1, sections 7.1 and B.6).

The tags speak of the raster as it is stored; GDAL takes no notice of its orientation. Where the pixels are turned
upright, columns and rows change, and the tags with them, so that each pixel stays at its place on earth.
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from unhaze.images._exif import Directory, Entry

__all__ = ["turn_georeference"]

_SCALE, _TIE_POINTS, _TRANSFORMATION, _KEYS, _RPC = 33550, 33922, 34264, 34735, 50844
_PLACES = (_SCALE, _TIE_POINTS, _TRANSFORMATION)
_RASTER_TYPE, _PIXEL_IS_POINT = 1025, 2
_DOUBLE = 12


def turn_georeference(tags: Directory, orientation: int, width: int, height: int) -> list[str]:
    """Make the georeference that of the upright picture, in place; and notes on what cannot be turned.

    Args:
        tags: Directory of the picture.
        orientation: 2 to 8 (TIFF 6.0, Orientation), which is about to be applied to the pixels.
        width: Columns of the raster as stored [px].
        height: Rows of the raster as stored [px].
    """
    if orientation not in range(2, 9):
        return []
    entry = tags.entries.get(_KEYS)
    if entry is not None and entry.type == 3:
        keys = struct.unpack(f"{tags.order}{entry.count}H", entry.value)
        # whole numbers are the middles of pixels, not their corners
        if any(keys[i] == _RASTER_TYPE and keys[i + 3] == _PIXEL_IS_POINT for i in range(4, len(keys) - 3, 4)):
            width, height = width - 1, height - 1
    with np.errstate(all="ignore"):  # of numbers that are not finite, or are so no longer
        _turn_places(tags, _turn(orientation, width, height))
    notes, entries = [], tags.entries
    if not all(np.isfinite(_doubles(tags, tag)).all() for tag in _PLACES):
        for tag in _PLACES:
            entries.pop(tag, None)
        notes.append("The georeference is not finite and was left out.")
    if _RPC in entries:
        del entries[_RPC]
        notes.append(
            "The rational polynomials (RPC) of the georeference were dropped; they hold for the picture unturned."
        )
    return notes


def _turn_places(tags: Directory, turn: NDArray[np.float64]) -> None:
    """Turn scale, tie points and matrix, in place."""
    entries, scale, points = tags.entries, _doubles(tags, _SCALE), _doubles(tags, _TIE_POINTS)
    model = _doubles(tags, _TRANSFORMATION)
    if model.size != 16 and scale.size == 3 and points.size == 6:
        scales = scale * (1, -1, 1)
        matrix = np.diag([*scales, 1.0])
        matrix[:3, 3] = points[3:] - scales * points[:3]
        model = matrix.ravel()
        del entries[_SCALE], entries[_TIE_POINTS]  # scales have no sign and know no turn
        points = points[:0]
    if model.size == 16:
        back = np.linalg.inv(turn)
        whole = np.eye(4)
        whole[:2, :2], whole[:2, 3] = back[:2, :2], back[:2, 2]
        _set(tags, _TRANSFORMATION, model.reshape(4, 4) @ whole)
    if points.size and points.size % 6 == 0:
        points = points.reshape(-1, 6).copy()
        points[:, :2] = points[:, :2] @ turn[:2, :2].T + turn[:2, 2]
        _set(tags, _TIE_POINTS, points)


def _turn(orientation: int, right: float, bottom: float) -> NDArray[np.float64]:
    """From column and row as stored to those of the upright picture."""
    mirrored_x, mirrored_y, swapped = {
        2: (1, 0, 0), 3: (1, 1, 0), 4: (0, 1, 0), 5: (0, 0, 1), 6: (0, 1, 1), 7: (1, 1, 1), 8: (1, 0, 1),
    }[orientation]  # fmt: skip
    mirror = np.array(
        [[1 - 2 * mirrored_x, 0, mirrored_x * right], [0, 1 - 2 * mirrored_y, mirrored_y * bottom], [0, 0, 1]],
        np.float64,
    )
    return mirror[[1, 0, 2]] if swapped else mirror


def _doubles(tags: Directory, tag: int) -> NDArray[np.float64]:
    entry = tags.entries.get(tag)
    return np.frombuffer(entry.value if entry and entry.type == _DOUBLE else b"", tags.order + "f8").astype(np.float64)


def _set(tags: Directory, tag: int, values: NDArray[np.float64]) -> None:
    tags.entries[tag] = Entry(_DOUBLE, values.size, values.astype(tags.order + "f8").tobytes())
