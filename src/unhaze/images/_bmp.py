"""BMP: Pillow decodes, OpenCV encodes (it stores transparency so that other programs see it).

Pillow knows a few ways to lay colours out in 16 or 32 bits, the header any ("Bitmap Header Types", Microsoft): bit
fields are decoded here.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import BmpImagePlugin

from unhaze.errors import UnsupportedImageError
from unhaze.images import _opencv
from unhaze.images._arrays import grey_to_rgb
from unhaze.images._picture import Decoded, Encoding, ImageInfo, Metadata, Picture, Pixels, Source
from unhaze.images._pillow import decode_simple, open_simple, simple_info

__all__ = ["encode", "identify", "notes", "read"]


_METRE = 1 / 0.0254  # inches
_RGB, _RLE8, _RLE4, _BITFIELDS, _JPEG, _PNG, _ALPHA_BITFIELDS = range(7)
_OTHERS = {_JPEG: "JPEG", _PNG: "PNG"}
_BYTES = {0: 0, **{0xFF << 8 * i: i for i in range(4)}}
_DEPTHS = {1, 4, 8, 16, 24, 32}


@dataclass(frozen=True, slots=True)
class _BitFields:
    """A picture of 16 or 32 bits a pixel, and the bits of red, green, blue and alpha."""

    width: int
    height: int
    upside_down: bool
    bits: int
    masks: tuple[int, int, int, int]
    start: int
    dpi: tuple[float, float] | None

    @property
    def row(self) -> int:
        """Bytes a row, whole words of 4."""
        return (self.width * self.bits // 8 + 3) // 4 * 4


def _parse(source: Source) -> _BitFields | None:
    """The header of a picture with bit fields; ``None`` for what Pillow decodes.

    Raises:
        UnsupportedImageError: The pixels are coded in a way that nobody decodes.
    """
    data = source.start(14 + 124)
    start, header = struct.unpack_from("<II", data.ljust(54, b"\0"), 10)
    if 0 < start < 14 + header:
        raise source.damaged("its pixels are said to begin within its header")
    if header < 40 or len(data) < 54:
        return None
    width, height, _, bits, compression, _, across, down = struct.unpack_from("<iiHHIIii", data, 18)
    if compression in _OTHERS or compression > _ALPHA_BITFIELDS or bits not in _DEPTHS:
        what = f"holds a {_OTHERS[compression]}" if compression in _OTHERS else "is a BMP of a rare kind"
        raise UnsupportedImageError(f"{source.name} {what}, which is not read; convert it to PNG first.")
    if compression not in (_BITFIELDS, _ALPHA_BITFIELDS):
        return None
    masks = struct.unpack_from("<4I", data.ljust(70, b"\0"), 54)
    if header < 56 and compression == _BITFIELDS:
        masks = (*masks[:3], 0)
    # the bits of a mask stand side by side
    if bits not in (16, 32) or not all(masks[:3]) or any(mask & (mask + (mask & -mask)) for mask in masks):
        raise source.damaged("its bit fields make no sense")
    if width <= 0 or height == 0:
        raise source.damaged(f"its header claims {width} x {abs(height)} pixels")
    dpi = (across / _METRE, down / _METRE) if across > 0 and down > 0 else None
    return _BitFields(width, abs(height), height > 0, bits, masks, start, dpi)


def identify(source: Source) -> ImageInfo:
    """Size and type from the header."""
    header = _parse(source)
    if header is None:
        return simple_info("bmp", open_simple(source, BmpImagePlugin.BmpImageFile))
    return ImageInfo("bmp", header.width, header.height, 3, bool(header.masks[3]), "uint8")


def read(source: Source, max_pixels: int | None) -> Decoded:
    """Decode a BMP."""
    header = _parse(source)
    if header is None:
        decoded = decode_simple(source, open_simple(source, BmpImagePlugin.BmpImageFile), max_pixels)
    else:
        decoded = _decode_bit_fields(source, header, max_pixels)
    data = source.start(14 + 124)
    at_profile, length = struct.unpack_from("<II", data.ljust(138, b"\0"), 14 + 112)
    profile = None  # the fifth version of the header can point to one
    if len(data) == 138 and data[14:18] == b"\x7c\0\0\0" and data[70:74] == b"DEBM":
        profile = source.read_at(14 + at_profile, min(length, source.size))
        profile = profile if len(profile) == length > 128 else None
    decoded.metadata = replace(decoded.metadata, icc=profile)
    data = data.ljust(138, b"\0")
    start, header_bytes = struct.unpack_from("<II", data, 10)
    if header_bytes < 40:  # OS/2
        width, height, _, bits = struct.unpack_from("<4H", data, 18)
        compression = size = 0
    else:
        width, height, _, bits, compression, size = struct.unpack_from("<iiHHII", data, 18)
    if compression in (0, _BITFIELDS, _ALPHA_BITFIELDS):
        size = (width * bits + 31) // 32 * 4 * abs(height)
    if size:  # compressed pixels may not say theirs
        end = max(start + size, 14 + at_profile + length if profile else 0)
        short = source.size < end  # by filling bytes alone: the pixels are there
        decoded.notes += (
            ["The BMP has lost its last bytes; no pixel needs them."] if short else source.note_on_tail(end)
        )
    return decoded


def _decode_bit_fields(source: Source, header: _BitFields, max_pixels: int | None) -> Decoded:
    source.check_size(header.width, header.height, max_pixels)
    if source.size < header.start + header.row * header.height:
        raise source.truncated()
    words = np.frombuffer(source.data(), np.uint8, header.row * header.height, header.start)
    rows = words.reshape(header.height, header.row)[:: -1 if header.upside_down else 1]
    pixels = np.empty((header.height, header.width, 3), np.uint8)
    alpha = np.empty((header.height, header.width), np.uint8) if header.masks[3] else None
    if all(mask in _BYTES for mask in header.masks) and header.bits == 32:  # each field is a byte: no arithmetic
        values = rows.reshape(header.height, header.width, 4)
        pixels[...] = values[..., [_BYTES[mask] for mask in header.masks[:3]]]
        if alpha is not None:
            alpha[...] = values[..., _BYTES[header.masks[3]]]
        rows = rows[:0]
    for y, row in enumerate(rows):
        values = row.view(f"<u{header.bits // 8}")[: header.width].astype(np.uint64)
        for channel, mask in enumerate(header.masks[:3]):
            pixels[y, :, channel] = _field(values, mask)
        if alpha is not None:
            alpha[y] = _field(values, header.masks[3])
    notes = []
    if any(mask.bit_count() > 8 for mask in header.masks):
        notes.append("The values of more than 8 bits per colour were reduced to 8.")
    return Decoded(pixels, alpha, metadata=Metadata(dpi=header.dpi), notes=notes)


def _field(values: np.ndarray[Any, np.dtype[np.uint64]], mask: int) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """One field of each word, stretched to 8 bits."""
    low = mask & -mask
    top = mask // low
    return ((values & np.uint64(mask)) // np.uint64(low) * np.uint64(255) + np.uint64(top // 2)) // np.uint64(top)


def notes(picture: Picture, metadata: Metadata) -> list[str]:
    """What storing as BMP loses."""
    lost = any((metadata.exif, metadata.xmp, metadata.photoshop, metadata.text, metadata.comment))
    lines = ["All metadata was dropped; BMP has no place for it."] if lost else []
    if metadata.icc:
        lines.append("The colour profile was dropped; BMP has no place for it, so colours may look different.")
    return lines


def encode(pixels: Pixels, alpha: Pixels | None, encoding: Encoding, metadata: Metadata, quality: int | None) -> bytes:
    """Encode uint8 pixels; ``quality`` has no meaning here."""
    grey = pixels.ndim == 2 and alpha is None
    stored = pixels if grey else _opencv.merge_bgr(grey_to_rgb(pixels), alpha)
    encoded = bytearray(_opencv.encode(".bmp", stored))
    if metadata.dpi:
        struct.pack_into("<ii", encoded, 38, *(min(round(value * _METRE), 0x7FFFFFFF) for value in metadata.dpi))
    return bytes(encoded)
