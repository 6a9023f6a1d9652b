"""Netpbm: PGM and PPM in binary form with 8 or 16 bit directly, the values of the other forms through Pillow.

The headers are read here, and comments are taken out here: Pillow reads the ones byte by byte, and moves all that
follows for each of the others.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from itertools import islice

import numpy as np
from PIL import ImageFile, PpmImagePlugin

from unhaze.errors import UnsupportedImageError
from unhaze.images._picture import Decoded, ImageInfo, Source
from unhaze.images._pillow import decode_simple, open_simple, simple_info

__all__ = ["identify", "read"]

_COMMENT = rb"#[^\n\r]*+"  # possessive here and below: what does not match is found out in one pass
_NUMBER = rb"(?:\s|" + _COMMENT + rb"[\n\r])++(\d{1,10})"
_HEADER = re.compile(rb"P(?:([14])" + _NUMBER * 2 + rb"|([2356])" + _NUMBER * 3 + rb")\s")
_LONGEST_HEADER = 1 << 20  # [bytes] with comments
_PIECE = 1 << 20  # [bytes] of text that is freed of comments at a time


@dataclass(frozen=True, slots=True)
class _Header:
    kind: bytes
    width: int
    height: int
    most: int  # the largest value
    start: int  # of the values

    @property
    def dtype(self) -> str | None:
        """Value type where the values are pixels as they stand; ``None`` for what Pillow decodes."""
        return {255: "uint8", 65535: "uint16"}.get(self.most) if self.kind in b"56" else None

    @property
    def plain(self) -> bytes:
        """The same header without comments."""
        return b"P%b %d %d%b\n" % (
            self.kind,
            self.width,
            self.height,
            b"" if self.kind in b"14" else b" %d" % self.most,
        )


def _parse(source: Source) -> _Header:
    found = _HEADER.match(source.start(_LONGEST_HEADER))
    if found is None:
        raise source.damaged(
            f"its header cannot be read, is cut off, or is longer than {_LONGEST_HEADER >> 20} MB with its comments"
        )
    kind, *numbers = (group for group in found.groups() if group is not None)
    width, height, most = (*map(int, numbers), 1)[:3]
    return _Header(kind, width, height, most, found.end())


def identify(source: Source) -> ImageInfo:
    """Size and type from the header."""
    header = _parse(source)
    if header.dtype is None:
        return simple_info("ppm", open_simple(source, PpmImagePlugin.PpmImageFile, io.BytesIO(header.plain)))
    return ImageInfo("ppm", header.width, header.height, 1 if header.kind == b"5" else 3, False, header.dtype)


def read(source: Source, max_pixels: int | None) -> Decoded:
    """Decode a PBM, PGM or PPM."""
    header = _parse(source)
    width, height, dtype, start = header.width, header.height, header.dtype, header.start
    source.check_size(width, height, max_pixels)
    if dtype is None:
        return _read_with_pillow(source, header, max_pixels)
    stored = np.dtype(dtype).newbyteorder(">")
    shape = (height, width) if header.kind == b"5" else (height, width, 3)
    count = width * height * (1 if header.kind == b"5" else 3)
    if source.size < start + count * stored.itemsize:
        raise source.truncated()
    decoded = Decoded(np.frombuffer(source.data(), stored, count, start).astype(dtype).reshape(shape))
    decoded.notes += source.note_on_tail(start + count * stored.itemsize)
    return decoded


def _read_with_pillow(source: Source, header: _Header, max_pixels: int | None) -> Decoded:
    is_text = header.kind in b"123"
    file = None
    if is_text and source.data().find(b"#", header.start) >= 0:
        file = io.BytesIO(header.plain + _without_comments(source.data(), header.start))
    image = open_simple(source, PpmImagePlugin.PpmImageFile, file)
    if image.mode not in ("1", "L", "RGB"):
        raise UnsupportedImageError(
            f"{source.name} has an unusual range of values; convert it to a largest value of 255 or 65535 first."
        )
    end = _end_for_pillow(source, header, image)
    decoded = decode_simple(source, image, max_pixels)
    decoded.notes += source.note_on_tail(end)
    if end == source.size and header.kind in b"23":
        decoded.notes.append("No blank follows the last number of the file, which may have lost digits.")
    return decoded


def _without_comments(data: bytes, start: int) -> bytearray:
    """The text from ``start`` on; a comment ends its line, and with it a number."""
    kept = bytearray()
    while start < len(data):
        newline = re.compile(rb"[\n\r]").search(data, start + _PIECE)  # a piece ends with a line
        end = newline.end() if newline else len(data)
        kept += re.sub(_COMMENT, b"\n", data[start:end])
        start = end
    return kept


def _end_for_pillow(source: Source, header: _Header, image: ImageFile.ImageFile) -> int:
    """Where the values end that Pillow reads, which need not be those of all the file."""
    count = header.width * header.height * len(image.getbands())
    if header.kind == b"4":
        return header.start + -(-header.width // 8) * header.height
    if header.kind in b"56":
        return header.start + count * (2 if header.most > 255 else 1)
    digit, value = (b"01", b"[01]") if header.kind == b"1" else (rb"\d", rb"\d+")
    numbers = re.compile(b"(?:[^%b#]|%b)*+%b" % (digit, _COMMENT, value)).finditer(source.data(), header.start)
    last = next(islice(numbers, count - 1, None), None)
    return last.end() if last else source.size
