"""Which pixels of an array show something, and which value stands for white.

>>> ramp = np.linspace(0, 1700, 4096).astype(np.uint16).reshape(64, 64)
>>> find_white(ramp)
2047.0
>>> ramp[5, 5] = 65535  # a hot pixel decides nothing
>>> find_white(ramp)
2047.0
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["FAINT_ALPHA", "find_white", "hidden_pixels", "nominal_white"]

Mask = NDArray[np.bool_]

FAINT_ALPHA = 1 / 512
"""Float alpha up to this, half a level of 8 bits, shows nothing."""

_ROWS = 256  # rows looked at together
_SAMPLE = 1 << 20  # pixels that are enough to find white [px]
_OUTLIERS = 1e-4  # share of the pixels that may lie above white, hot pixels and glints ..
_FEW_OUTLIERS = 4  # .. and how many of a small picture
_WHITES = (255, 1023, 2047, 4095, 8191, 10000, 16383)  # of 8 to 14 bits, and of reflectances in units of 0.0001
_LARGE_WHITES = (32767, 65535)
_DARKEST_WHITE = 0.1  # floats that stay below have another white than 1
_OVERSHOOT = 1.05  # sharpening brings floats so far above 1
_HIGHEST_FREE_WHITE = 128.0  # larger ones are those of integers
_FAINTEST = 1e-30  # [value] where float32 has no room for working with less


def nominal_white(dtype: np.dtype[Any]) -> float:
    """White of a value type: the largest value of integers, 1 of floats."""
    return float(np.iinfo(dtype).max) if dtype.kind == "u" else 1.0


def hidden_pixels(pixels: NDArray[Any], alpha: NDArray[Any] | None = None, nodata: float | None = None) -> Mask | None:
    """Where a picture shows nothing, so that the colours stored there mean nothing.

    Args:
        pixels: (H, W) or (H, W, 3); NaN and infinite values show nothing.
        alpha: (H, W); 0 shows nothing, nor do floats up to ``FAINT_ALPHA``.
        nodata: A pixel whose channels all have this value shows nothing.

    Returns:
        (H, W), or ``None`` where every pixel shows.
    """
    # NaN shows in both of these, and no array of flags is needed
    strange = pixels.dtype.kind == "f" and not bool(np.isfinite(pixels.min()) and np.isfinite(pixels.max()))
    if alpha is None and nodata is None and not strange:
        return None
    hidden = (
        np.zeros(pixels.shape[:2], np.bool_)
        if alpha is None
        else alpha <= (FAINT_ALPHA if alpha.dtype.kind == "f" else 0)
    )
    for start in range(0, len(pixels), _ROWS):  # in strips: no array of flags for all channels
        strip, flags = pixels[start : start + _ROWS], hidden[start : start + _ROWS]
        channels = () if strip.ndim == 2 else 2  # of a grey picture each flag is one of a pixel already
        if strange:
            flags |= np.any(~np.isfinite(strip), axis=channels)
        if nodata is not None:
            flags |= np.all(strip == pixels.dtype.type(nodata), axis=channels)
    return hidden if hidden.any() else None


def find_white(pixels: NDArray[Any], hidden: Mask | None = None) -> float:
    """The value that stands for white, from the type and the largest values, less a few.

    Pictures of 10 to 14 bits, of reflectances or of 8 bits are often stored in 16 bits, where they would look nearly
    black; floats are often not scaled to 1.

    Args:
        pixels: (H, W) or (H, W, 3) uint8, uint16 or floats.
        hidden: (H, W), pixels that are left out of account.

    Returns:
        255 for uint8. For uint16 65535, or the smallest of 255, 1023, 2047, 4095, 8191, 10000 and 16383 that the
        values reach up to. For floats 1; or what they reach up to, where that is below 0.1, or above 1.05 while most
        pixels lie above 1 too; and above 128 the next larger white of integers. Values above the white of the result
        are taken for hot pixels, glints or lights.
    """
    nominal = nominal_white(pixels.dtype)
    if pixels.dtype == np.uint8:
        return nominal
    largest = _largest_values(pixels, hidden)
    if not largest.size:
        return nominal
    spared = int(largest.size * _OUTLIERS) + min(_FEW_OUTLIERS, largest.size // 64)
    top = float(np.partition(largest, largest.size - 1 - spared)[largest.size - 1 - spared])
    if pixels.dtype.kind == "u":
        # dark 16-bit values may be those of fewer bits stretched to 16: then all are multiples of one number
        step = max(1, int(np.sqrt(pixels.shape[0] * pixels.shape[1] / _SAMPLE)))
        divisor = int(np.gcd.reduce(pixels[::step, ::step], axis=None)) if top <= _WHITES[-1] else 0
        if top > _WHITES[-1] or (divisor > 0 and (divisor % 257 == 0 or divisor % 4 == 0)):
            return nominal
        return float(next(white for white in _WHITES if white >= top)) if top else nominal
    if top < _FAINTEST or _DARKEST_WHITE <= top <= _OVERSHOOT:
        return nominal
    if top <= _HIGHEST_FREE_WHITE:
        # light of a scene: most of it as bright as white or less, and lights above
        is_scene_light = top > 1 and float(np.median(largest)) <= 1
        return nominal if is_scene_light else _rounded_up(top)
    return float(next((white for white in (*_WHITES, *_LARGE_WHITES) if white >= top), _rounded_up(top)))


def _largest_values(pixels: NDArray[Any], hidden: Mask | None) -> NDArray[Any]:
    """The largest channel of up to ``_SAMPLE`` visible pixels, on a grid."""
    step = max(1, int(np.sqrt(pixels.shape[0] * pixels.shape[1] / _SAMPLE)))
    grid = pixels[::step, ::step]
    largest = grid
    if grid.ndim == 3:  # channel by channel: a maximum along so short an axis takes 25 times as long
        largest = grid[..., 0]
        for channel in range(1, grid.shape[2]):
            largest = np.maximum(largest, grid[..., channel])
    shown = np.isfinite(largest) if largest.dtype.kind == "f" else np.ones(largest.shape, np.bool_)
    return np.asarray(largest[shown if hidden is None else shown & ~hidden[::step, ::step]])


def _rounded_up(value: float) -> float:
    """To two digits, so that pictures of a series mostly have the same."""
    unit = 10.0 ** (np.floor(np.log10(value)) - 1)
    return float(np.float32(np.ceil(value / unit * (1 - 1e-6)) * unit))
