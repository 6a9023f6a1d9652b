"""The pixel aspect of Matroska, WebM and AVI files: FFmpeg writes it from a field that PyAV gives no way to set.

It is put where there is room, so that no other part of the file moves: in Matroska the name of the track is made longer
beforehand, in AVI there is room for an index.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from fractions import Fraction
from math import gcd
from pathlib import Path

__all__ = ["ROOM", "write_pixel_aspect"]

ROOM = " " * 48
"""What the name of the track ends with until the aspect is written."""

_HEAD = 1 << 24  # bytes in which the tracks begin and end
_SEGMENT, _TRACKS, _TRACK, _NAME, _VIDEO = 0x18538067, 0x1654AE6B, 0xAE, 0x536E, 0xE0
_WIDTH, _HEIGHT, _DISPLAY_WIDTH, _DISPLAY_HEIGHT, _DISPLAY_UNIT = 0xB0, 0xBA, 0x54B0, 0x54BA, 0x54B2
_CRC, _VOID = 0xBF, 0xEC
_PIXELS, _RATIO = 0, 3  # units of the display size
_SHORT = 127  # sizes below it take one byte


def write_pixel_aspect(path: Path, kind: str, aspect: Fraction) -> None:
    """Say in the file how wide a pixel is relative to its height, if its kind is one of the three.

    In Matroska it is that of the track whose name ends in :data:`ROOM`, in AVI that of the first video stream.
    """
    if kind in ("matroska", "webm"):
        _to_matroska(path, aspect)
    elif kind == "avi":
        _to_avi(path, aspect)


def _to_avi(path: Path, aspect: Fraction) -> None:
    """Source: OpenDML AVI File Format Extensions 1.02, section 5.0 (video properties header)."""
    with path.open("r+b") as file:
        data = file.read(_HEAD)
        start = data.find(b"strh\x38\0\0\0vids")
        room = data.find(b"JUNK", start)
        if start < 0 or room < 0 or 0 <= data.find(b"LIST", start) < room:  # it is the index of a large file
            return
        (size,) = struct.unpack_from("<I", data, room + 4)
        width, height = struct.unpack_from("<2I", data, data.find(b"strf", start) + 12)
        shape = (Fraction(width, height) * aspect).limit_denominator(1000)
        field = (height, width, height, width, 0, 0, 0, 0)
        words = (0, 0, 0, width, height, shape.numerator << 16 | shape.denominator, width, height, 1, *field)
        header = struct.pack("<4sI17I", b"vprp", 4 * len(words), *words)
        if size < len(header) or shape.numerator >= 1 << 16:
            return
        file.seek(room)
        file.write(header + struct.pack("<4sI", b"JUNK", size - len(header)))


def _to_matroska(path: Path, aspect: Fraction) -> None:
    """Source: RFC 9559, sections 5.1.4.1.28 and 4.1; RFC 8794, section 11.3 (CRC-32 and Void)."""
    with path.open("r+b") as file:
        data = bytearray(file.read(_HEAD))
        for kind, body, end in _inside(data, 0, len(data)):
            if kind != _SEGMENT:
                continue
            for inner, first, last in _inside(data, body, min(end, len(data))):
                if inner == _TRACKS and last <= len(data) and _rewrite(data, first, last, aspect):
                    file.seek(first)
                    file.write(data[first:last])
                    return


def _rewrite(data: bytearray, first: int, last: int, aspect: Fraction) -> bool:
    """Change the tracks, which lie between two places; whether the one with the name is among them."""
    for kind, body, end in _inside(data, first, last):
        track = [(each, bytes(data[a:b])) for each, a, b in _inside(data, body, end)] if kind == _TRACK else []
        parts = dict(track)
        if not parts.get(_NAME, b"").endswith(ROOM.encode()) or _VIDEO not in parts:
            continue
        name = parts[_NAME].removesuffix(ROOM.encode())
        new = b"".join(_element(each, value) for each, value in track if each not in (_NAME, _VIDEO, _VOID))
        new += _element(_NAME, name) if name else b""
        new += _element(_VIDEO, _with_display_size(parts[_VIDEO], aspect))
        spare = end - body - len(new) - len(_element(_VOID, b""))
        if not 0 <= spare < _SHORT:
            return False
        data[body:end] = new + _element(_VOID, bytes(spare))
        check, start, stop = next(_inside(data, first, last))
        if check == _CRC:
            data[start:stop] = zlib.crc32(data[stop:last]).to_bytes(4, "little")
        return True
    return False


def _with_display_size(video: bytes, aspect: Fraction) -> bytes:
    parts = {each: video[a:b] for each, a, b in _inside(video, 0, len(video))}
    width, height = (int.from_bytes(parts[each], "big") for each in (_WIDTH, _HEIGHT))
    shown, unit = (width * aspect, height), _PIXELS
    if shown[0].denominator != 1:
        across, down = width * aspect.numerator, height * aspect.denominator
        shown, unit = (Fraction(across // gcd(across, down)), down // gcd(across, down)), _RATIO
    parts |= {_DISPLAY_WIDTH: int(shown[0]).to_bytes(4, "big"), _DISPLAY_HEIGHT: shown[1].to_bytes(4, "big")}
    parts[_DISPLAY_UNIT] = bytes([unit])
    return b"".join(_element(each, value) for each, value in parts.items() if each != _VOID)


def _inside(data: bytes | bytearray, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Number, begin and end of the content of each element between two places."""
    while start < end and data[start]:
        size_at = start + 9 - data[start].bit_length()
        if size_at >= end or not data[size_at]:
            return
        body = size_at + 9 - data[size_at].bit_length()
        size = int.from_bytes(data[size_at:body], "big") & ((1 << 7 * (body - size_at)) - 1)
        yield int.from_bytes(data[start:size_at], "big"), body, body + size
        start = body + size


def _element(kind: int, content: bytes) -> bytes:
    number = kind.to_bytes((kind.bit_length() + 7) // 8, "big")
    length = 1 if len(content) < _SHORT else 4
    return number + (len(content) | 1 << 7 * length).to_bytes(length, "big") + content
