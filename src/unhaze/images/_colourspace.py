"""ICC profiles for colours that a file describes by numbers: CICP (ITU-T H.273) in AVIF, HEIF and PNG; gAMA and cHRM.

A matrix profile holds the primaries adapted to D50 and a tone curve (ICC.1:2022, 8.3; the adaptation is Annex E).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "HDR_TRANSFERS",
    "SRGB",
    "Chromaticities",
    "has_no_profile",
    "is_hdr",
    "is_known",
    "profile_of_cicp",
    "profile_of_gamma",
]

Chromaticities: TypeAlias = tuple[float, float, float, float, float, float, float, float]  # x, y of white, R, G, B

_D65, _C, _E, _DCI = (0.3127, 0.3290), (0.310, 0.316), (1 / 3, 1 / 3), (0.314, 0.351)
_PRIMARIES: dict[int, Chromaticities] = {  # H.273, Table 2
    1: (*_D65, 0.640, 0.330, 0.300, 0.600, 0.150, 0.060),  # BT.709, sRGB
    4: (*_C, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08),  # BT.470 M
    5: (*_D65, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),  # BT.601, 625 lines
    6: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),  # BT.601, 525 lines
    7: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),  # SMPTE 240M
    8: (*_C, 0.681, 0.319, 0.243, 0.692, 0.145, 0.049),  # film
    9: (*_D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),  # BT.2020
    10: (*_E, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0),  # XYZ
    11: (*_DCI, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),  # DCI-P3
    12: (*_D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),  # Display P3
    22: (*_D65, 0.630, 0.340, 0.295, 0.605, 0.155, 0.077),  # EBU 3213
}
SRGB = _PRIMARIES[1]
HDR_TRANSFERS = {16: "PQ", 18: "HLG"}
_UNSPECIFIED = 2
# Those of television count as that of sRGB, as everywhere on still pictures: they are made for dim surroundings.
_LIKE_SRGB = {1, 6, 13, 14, 15, _UNSPECIFIED}
_GAMMA = {4: 2.2, 5: 2.8, 8: 1.0}

_D50 = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_SRGB_CURVE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


def is_hdr(transfer: int) -> bool:
    """Whether values with this transfer function are coded for HDR."""
    return transfer in HDR_TRANSFERS


def is_known(primaries: int, transfer: int) -> bool:
    """Whether a CICP description says which colours the values have, and not those of HDR."""
    return primaries in _PRIMARIES and transfer in {*_LIKE_SRGB, *_GAMMA} - {_UNSPECIFIED}


def has_no_profile(primaries: int, transfer: int) -> bool:
    """Whether a CICP description says something, reserved numbers among it, for which no profile is made."""
    curves = {*_LIKE_SRGB, *_GAMMA, *HDR_TRANSFERS}
    return primaries not in {*_PRIMARIES, _UNSPECIFIED} or transfer not in curves


def profile_of_cicp(primaries: int, transfer: int, *, grey: bool) -> bytes | None:
    """An ICC profile that says what a CICP description says.

    Args:
        primaries: Colour primaries (H.273, Table 2).
        transfer: Transfer characteristics (Table 3), not those of HDR.
        grey: Whether the picture is grey: only the curve counts then.

    Returns:
        The profile; ``None`` where the description says sRGB, nothing, or what no profile is made for.
    """
    primaries = 1 if primaries == _UNSPECIFIED else primaries
    if transfer in _LIKE_SRGB:
        curve: tuple[float, ...] = _SRGB_CURVE
    elif transfer in _GAMMA:
        curve = (_GAMMA[transfer],)
    else:
        return None
    if primaries not in _PRIMARIES or (curve == _SRGB_CURVE and (primaries == 1 or grey)):
        return None
    return _profile(_PRIMARIES[primaries], curve, grey=grey)


def profile_of_gamma(gamma: float, chromaticities: Chromaticities | None, *, grey: bool) -> bytes | None:
    """An ICC profile of a pure power, for the gAMA and cHRM chunks of PNG.

    Args:
        gamma: Exponent from values to light, for instance 2.2.
        chromaticities: Those of white and the primaries; ``None`` for those of sRGB.
        grey: Whether the picture is grey.

    Returns:
        The profile; ``None`` where the numbers make no colour space.
    """
    if not 0.1 < gamma < 10:
        return None
    sound = chromaticities is not None and _is_sound(chromaticities)
    return _profile(chromaticities if chromaticities and sound else SRGB, (gamma,), grey=grey)


def _is_sound(chromaticities: Chromaticities) -> bool:
    """Whether white lies inside a triangle that is no sliver."""
    white, *corners = np.array(chromaticities, np.float64).reshape(4, 2)
    if min(white[1], *(corner[1] for corner in corners)) < 1e-3 or np.max(corners) > 1:
        return False
    triangle = np.vstack([np.transpose(corners), np.ones(3)])
    if abs(np.linalg.det(triangle)) < 0.02:
        return False
    return bool(np.all(np.linalg.solve(triangle, [*white, 1.0]) > 0.01))


@lru_cache(maxsize=16)
def _profile(chromaticities: Chromaticities, curve: tuple[float, ...], *, grey: bool) -> bytes:
    tone = b"para\0\0\0\0" + struct.pack(">HH", 3 if len(curve) == 5 else 0, 0) + _fixed(curve)
    tags = {}
    for name, words in ((b"desc", "unhaze"), (b"cprt", "CC0")):
        text = words.encode("utf-16-be")
        tags[name] = b"mluc\0\0\0\0" + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(text), 28) + text
    tags[b"wtpt"] = b"XYZ \0\0\0\0" + _fixed(_D50)
    if grey:
        tags[b"kTRC"] = tone
    else:
        adaptation, colorants = _adapted(chromaticities)
        tags[b"chad"] = b"sf32\0\0\0\0" + _fixed(adaptation.ravel())
        tags |= {b"%cXYZ" % name: b"XYZ \0\0\0\0" + _fixed(xyz) for name, xyz in zip(b"rgb", colorants.T, strict=True)}
        tags |= {b"%cTRC" % name: tone for name in b"rgb"}
    # header (7.2), tag table (7.3) and data; equal data is stored once
    table, body, places = b"", b"", {}
    for name, data in tags.items():
        if data not in places:
            places[data] = 132 + 12 * len(tags) + len(body)
            body += data + b"\0" * (-len(data) % 4)
        table += name + struct.pack(">II", places[data], len(data))
    size, space = 132 + len(table) + len(body), b"GRAY" if grey else b"RGB "
    header = struct.pack(">I4xI4s4s4s6H4s", size, 0x04300000, b"mntr", space, b"XYZ ", 2000, 1, 1, 0, 0, 0, b"acsp")
    header += bytes(28) + _fixed(_D50)
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def _adapted(chromaticities: Chromaticities) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The adaptation of white to D50, and the adapted primaries as columns."""
    points = np.array(chromaticities, np.float64).reshape(4, 2)
    white, *primaries = (
        np.array([x / y, 1.0, (1 - x - y) / y]) if y else np.array([x, y, 1 - x - y]) for x, y in points
    )
    matrix = np.stack(primaries, axis=1)
    matrix = matrix * np.linalg.solve(matrix, white)
    scale = (_BRADFORD @ _D50) / (_BRADFORD @ white)
    adaptation = np.linalg.solve(_BRADFORD, scale[:, None] * _BRADFORD)
    return adaptation, adaptation @ matrix


def _fixed(values: Iterable[float]) -> bytes:
    """Numbers with 16 bits behind the point (ICC.1:2022, 4.6)."""
    return b"".join(struct.pack(">i", round(float(value) * 65536)) for value in values)
