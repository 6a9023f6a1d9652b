"""Tone curves of colour profiles, so that dehazing sees the same numbers for the same brightness in every profile.

Dehazing expects values encoded with the curve of sRGB. A picture in another space keeps its primaries and its profile;
only the curve of each channel is exchanged for that of sRGB before, and back after. Profiles whose curve is that of
sRGB (Display P3 and most camera profiles) need nothing; linear ones, gamma 1.8 (ProPhoto) and 2.2 (Adobe RGB) do.

The tag formats are those of ICC.1:2022 (``curv``: 10.6, ``para``: 10.18). sRGB: IEC 61966-2-1.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unhaze.physics.color import linear_to_srgb

__all__ = ["ToneCurve", "tone_curve"]

FloatArray = NDArray[np.float32]

_SAMPLES = 65536  # one for each value of a 16-bit picture
_NEAR = 2 / 255  # curves that differ by less, measured in sRGB values, are taken as equal
_DIP = 2e-3  # rounded parameters make some curves fall a little where their two pieces meet
_ROWS = 256  # the largest strip that is worked on at a time


@dataclass(frozen=True, slots=True, eq=False)
class ToneCurve:
    """The way between a file's values and those with sRGB's tone curve, channel by channel.

    Attributes:
        forward: (C, 65536) float32; sRGB-curved value in [0, 1] of each of 65536 evenly spaced file values in [0, 1].
            C is 1 (one curve for all channels, or grey) or 3.
        backward: (C, 65536) float32, the inverse: file value of the squares of 65536 evenly spaced numbers in [0, 1].
            Squares, because the inverse of a power is steep near black.
    """

    forward: FloatArray
    backward: FloatArray

    def to_srgb(self, values: NDArray[Any]) -> FloatArray:
        """Values with sRGB's tone curve and the primaries of the file.

        Args:
            values: (H, W, 3) or (H, W), as in the file: float in [0, 1], uint8 or uint16. Floats outside are clipped.

        Returns:
            float32 array in [0, 1] of the same shape.
        """
        return _apply(self.forward, values)

    def from_srgb(self, values: NDArray[Any]) -> FloatArray:
        """The inverse of :meth:`to_srgb`; (H, W, 3) or (H, W) float32 in [0, 1], and so the result."""
        values = values if values.dtype.kind == "f" else values / np.float32(np.iinfo(values.dtype).max)
        return _apply(self.backward, values, spacing=np.sqrt)


def _apply(tables: FloatArray, values: NDArray[Any], spacing: Callable[..., Any] = np.asarray) -> FloatArray:
    result = np.empty(values.shape, np.float32)
    if values.dtype.kind == "u":
        step = (_SAMPLES - 1) // np.iinfo(values.dtype).max  # 257 for uint8, 1 for uint16
        tables = np.ascontiguousarray(tables[:, ::step])
    for row in range(0, len(values), _ROWS):  # in strips: indices take 8 bytes a value
        strip, target = values[row : row + _ROWS], result[row : row + _ROWS]
        for channel, table in enumerate(tables):
            channels: Any = ... if len(tables) == 1 else (..., channel)
            file_values, looked_up = strip[channels], target[channels]
            if values.dtype.kind == "u":
                looked_up[...] = np.take(table, file_values)
                continue
            position = spacing(np.clip(file_values, 0.0, 1.0)).astype(np.float32) * np.float32(_SAMPLES - 1)
            below = np.minimum(position.astype(np.int32), _SAMPLES - 2)
            weight = position - below
            low = table[below]
            looked_up[...] = low + weight * (table[below + 1] - low)
    return result


@lru_cache(maxsize=8)
def tone_curve(icc: bytes | None) -> ToneCurve | None:
    """The tone curve of a profile, where it differs from that of sRGB.

    Args:
        icc: An ICC profile.

    Returns:
        ``None`` if there is no profile, if its curves are nearly those of sRGB, or if it has none for each channel
        (profiles with a three-dimensional table).
    """
    curves = _curves(icc) if icc else None
    if curves is None:
        return None
    grid = np.linspace(0.0, 1.0, _SAMPLES)
    forward = np.stack([linear_to_srgb(curve) for curve in curves])
    if np.abs(forward - grid).max() < _NEAR:
        return None
    rising = np.maximum.accumulate(forward, axis=1)
    if (rising - forward).max() > _DIP or (forward[:, -1] - forward[:, 0] < 0.5).any():
        return None  # without an inverse
    # where a curve is flat, its first value stands for all
    steps = [np.concatenate([[True], np.diff(curve) > 0]) for curve in rising]
    backward = np.stack([np.interp(grid**2, curve[up], grid[up]) for curve, up in zip(rising, steps, strict=True)])
    return ToneCurve(forward.astype(np.float32), backward.astype(np.float32))


def _curves(icc: bytes) -> NDArray[Any] | None:
    """(C, 65536) light of each file value; C is 1 where all channels have one curve."""
    names = {b"GRAY": (b"kTRC",), b"RGB ": (b"rTRC", b"gTRC", b"bTRC")}.get(icc[16:20])
    count = min(int.from_bytes(icc[128:132], "big"), 100)  # table of the content of each tag (7.3)
    rows = (icc[132 + 12 * i : 144 + 12 * i] for i in range(count))
    entries = (struct.unpack(">4sII", row) for row in rows if len(row) == 12)
    tags = {name: icc[offset : offset + size] for name, offset, size in entries}
    if names is None or any(name not in tags for name in names) or b"A2B0" in tags:
        return None
    distinct = list(dict.fromkeys(tags[name] for name in names))
    if len(distinct) > 1:
        distinct = [tags[name] for name in names]
    try:
        curves = [_evaluate(tag) for tag in distinct]
    except (struct.error, ValueError, IndexError):
        return None
    return np.stack(curves) if all(np.isfinite(curve).all() for curve in curves) else None


def _evaluate(tag: bytes) -> NDArray[Any]:
    """Light in [0, 1] of 65536 evenly spaced values in [0, 1]."""
    x = np.linspace(0.0, 1.0, _SAMPLES)
    if tag[:4] == b"curv":
        (count,) = struct.unpack_from(">I", tag, 8)
        if count == 0:
            return x
        points = np.frombuffer(tag, ">u2", count, 12)
        if count == 1:
            return np.asarray(x ** (float(points[0]) / 256))
        return np.asarray(np.interp(x, np.linspace(0.0, 1.0, count), points / 65535.0))
    if tag[:4] == b"para":
        (kind,) = struct.unpack_from(">H", tag, 8)
        return _parametric(kind, np.frombuffer(tag, ">i4", (1, 3, 4, 5, 7)[kind], 12) / 65536.0, x)
    raise ValueError(f"no curve: {tag[:4]!r}")


def _parametric(kind: int, parameters: NDArray[Any], x: NDArray[Any]) -> NDArray[Any]:
    """Table 68: a power above a bound, a line (in kinds 1 and 2 a constant) below."""
    g, a, b, c, d, e, f = np.pad(parameters, (0, 7 - len(parameters)))
    if g <= 0:
        raise ValueError(f"no curve: its power is {g}")
    match kind:
        case 0:
            y = x**g
        case 1:
            y = np.maximum(a * x + b, 0.0) ** g
        case 2:
            y = np.maximum(a * x + b, 0.0) ** g + c
        case 3:
            y = np.where(x >= d, np.maximum(a * x + b, 0.0) ** g, c * x)
        case _:
            y = np.where(x >= d, np.maximum(a * x + b, 0.0) ** g + e, c * x + f)
    return np.asarray(np.clip(y, 0.0, 1.0))
