"""Netpbm: PGM and PPM in binary form with 8 or 16 bit directly, the other forms through Pillow."""

from __future__ import annotations

import re

import numpy as np
from PIL import PpmImagePlugin

from unhaze.errors import UnsupportedImageError
from unhaze.images._picture import Decoded, ImageInfo, Source
from unhaze.images._pillow import decode_simple, open_simple, simple_info

__all__ = ["identify", "read"]

_GAP = rb"(?:\s|#[^\n\r]*+[\n\r])++"  # possessive: what does not match is found out in one pass
_BINARY = re.compile(rb"P([56])" + _GAP + rb"(\d+)" + _GAP + rb"(\d+)" + _GAP + rb"(\d+)\s")
_BITS = re.compile(rb"P(4)" + _GAP + rb"(\d+)" + _GAP + rb"(\d+)\s")  # black and white has no largest value
_HEADER = 4096  # [bytes] with comments


def _parse(source: Source) -> tuple[int, int, int, str, int] | None:
    """Width, height, channels, value type and where the values begin; ``None`` for what Pillow shall decode."""
    found = _BINARY.match(source.start(_HEADER))
    dtype = {b"255": "uint8", b"65535": "uint16"}.get(found[4]) if found else None
    if found is None or dtype is None:
        return None
    return int(found[2]), int(found[3]), 1 if found[1] == b"5" else 3, dtype, found.end()


def identify(source: Source) -> ImageInfo:
    """Size and type from the header."""
    header = _parse(source)
    if header is None:
        return simple_info("ppm", open_simple(source, PpmImagePlugin.PpmImageFile))
    width, height, channels, dtype, _ = header
    return ImageInfo("ppm", width, height, channels, False, dtype)


def read(source: Source, max_pixels: int | None) -> Decoded:
    """Decode a PBM, PGM or PPM."""
    header = _parse(source)
    if header is None:
        return _read_with_pillow(source, max_pixels)
    width, height, channels, dtype, start = header
    source.check_size(width, height, max_pixels)
    stored = np.dtype(dtype).newbyteorder(">")
    count = width * height * channels
    if source.size < start + count * stored.itemsize:
        raise source.truncated()
    values = np.frombuffer(source.data(), stored, count, start).astype(dtype)
    decoded = Decoded(values.reshape((height, width) if channels == 1 else (height, width, channels)))
    _note_tail(source, start + values.nbytes, decoded)
    return decoded


def _read_with_pillow(source: Source, max_pixels: int | None) -> Decoded:
    image = open_simple(source, PpmImagePlugin.PpmImageFile)
    if image.mode not in ("1", "L", "RGB"):
        raise UnsupportedImageError(
            f"{source.name} has an unusual range of values; convert it to a largest value of 255 or 65535 first."
        )
    decoded = decode_simple(source, image, max_pixels)
    header = source.start(_HEADER)
    if found := _BINARY.match(header) or _BITS.match(header):
        width, height = int(found[2]), int(found[3])
        if found[1] == b"4":
            size = (width + 7) // 8 * height
        else:
            size = width * height * (3 if found[1] == b"6" else 1) * (1 if int(found[4]) < 256 else 2)
        _note_tail(source, found.end() + size, decoded)
    return decoded


def _note_tail(source: Source, end: int, decoded: Decoded) -> None:
    """Say what stands behind the picture; the format allows for further ones."""
    tail = source.data()[end:]
    if re.match(rb"P[1-7]\s", tail):
        decoded.notes.append("Only the first picture was kept; another one stands behind it in the file.")
    elif tail.strip(b"\0 \r\n"):
        decoded.notes.append(f"{len(tail)} bytes behind the picture were dropped.")
